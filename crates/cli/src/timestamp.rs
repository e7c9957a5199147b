//! Formats and parses times as ISO 8601, always in UTC: output does not depend on the time zone of the machine.

use libcomposefs_image::tree::Timestamp;

const DAY: i64 = 86_400;
/// Days from 1 March of the year 0 to 1970-01-01. Years start in March here, so that a leap day is the last day of its
/// year.
const EPOCH: i64 = 719_468;
/// Number of days in 400 years.
const ERA: i64 = 146_097;

/// Formats a time to the second: `2024-02-29T12:00:00Z`.
pub(crate) fn seconds(sec: i64) -> String {
    format!("{}Z", date_and_time(sec))
}

/// Formats a time to the nanosecond. A nanosecond count of a second or more, which dumps can contain, is printed as it
/// is.
pub(crate) fn exact(time: Timestamp) -> String {
    format!("{}.{:09}Z", date_and_time(time.sec), time.nsec)
}

/// Formats a time, omitting the nanoseconds if they are zero.
pub(crate) fn shown(time: Timestamp) -> String {
    if time.nsec == 0 { seconds(time.sec) } else { exact(time) }
}

fn date_and_time(sec: i64) -> String {
    let (day, second) = (sec.div_euclid(DAY), sec.rem_euclid(DAY));
    let (year, month, day) = date(day);
    let sign = if year < 0 { "-" } else { "" };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{sign}{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}", year.unsigned_abs())
}

/// Converts a number of days since 1970-01-01 to year, month and day.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + EPOCH;
    let (era, day) = (day.div_euclid(ERA), day.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / (ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year + 400 * era + i64::from(month <= 2), month, day)
}

/// Parses `@SECONDS`, `2024-02-29`, or `2024-02-29T12:00[:00][Z]` (a space may replace the `T`) to seconds since 1970.
pub(crate) fn parse(text: &str) -> Option<i64> {
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse().ok();
    }
    let (date, time) = match text.find(['T', ' ']) {
        Some(at) => (&text[..at], text[at + 1..].trim_end_matches('Z')),
        None => (text, "00:00"),
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let (hour, minute, second) = match numbers(time, ':')?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let is_valid = year <= 9999 && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    let days = days(year, month, day);
    // Rejects days that do not exist, such as 30 February: they convert back to another date.
    (is_valid && self::date(days) == (year, month, day)).then_some(days * DAY + hour * 3600 + minute * 60 + second)
}

/// Converts a date in the years 0 to 9999 to days since 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let month = if month > 2 { month - 3 } else { month + 9 };
    era * ERA + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - EPOCH
}

fn numbers(text: &str, divider: char) -> Option<Vec<i64>> {
    let number = |part: &str| {
        let is_number = (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|_| is_number)
    };
    text.split(divider).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_formatted_and_parsed() {
        for (sec, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_208_000, "2024-02-29T12:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(seconds(sec), text);
            assert_eq!(parse(text), Some(sec));
        }
        assert_eq!(seconds(-62_167_219_201), "-0001-12-31T23:59:59Z");
        let at = |nsec| Timestamp { sec: 0, nsec };
        assert_eq!(exact(at(5)), "1970-01-01T00:00:00.000000005Z");
        assert_eq!([shown(at(5)), shown(at(0))], [exact(at(5)), seconds(0)]);
        assert_eq!(shown(at(u32::MAX)), "1970-01-01T00:00:00.4294967295Z");
        // Images can contain any value.
        assert!(seconds(i64::MIN).starts_with("-292277022657-") && seconds(i64::MAX).starts_with("292277026596-"));
    }

    #[test]
    fn every_day_converts_back_to_itself() {
        for day in -200_000..200_000 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn only_the_documented_forms_are_parsed() {
        assert_eq!(parse("@-5"), Some(-5));
        assert_eq!(parse("1970-01-02"), Some(86_400));
        assert_eq!(parse("1970-01-01 00:01"), Some(60));
        for text in
            ["", "1970", "1970-02-30", "1970-13-01", "1970-01-01T24:00", "1970-01-01T1", "x-y-z", "@x", "1-1-1T"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
