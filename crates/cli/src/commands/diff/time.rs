//! Times as people read them.

use std::fmt::Write as _;

use composefs_image::tree::Timestamp;

/// A time as a date of UTC, where it has one of four digits; else as in a dump.
pub(super) fn time(time: Timestamp) -> String {
    // The year 0 and the end of the year 9999.
    const DATES: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;
    if !DATES.contains(&time.sec) || time.nsec >= 1_000_000_000 {
        return format!("{}.{}", time.sec, time.nsec);
    }
    let (days, second) = (time.sec.div_euclid(86400), time.sec.rem_euclid(86400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    if time.nsec != 0 {
        let _ = write!(text, ".{:09}", time.nsec);
    }
    text + "Z"
}

/// Year, month and day of a day since 1970, by eras of 400 years that begin in March.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_where_there_is_one() {
        let at = |sec, nsec| time(Timestamp { sec, nsec });
        assert_eq!(at(0, 0), "1970-01-01 00:00:00Z");
        assert_eq!(at(951_782_400, 5), "2000-02-29 00:00:00.000000005Z");
        assert_eq!(at(1_700_000_000, 0), "2023-11-14 22:13:20Z");
        assert_eq!(at(-1, 0), "1969-12-31 23:59:59Z");
        assert_eq!(at(-62_167_219_200, 0), "0000-01-01 00:00:00Z");
        assert_eq!(at(253_402_300_799, 0), "9999-12-31 23:59:59Z");
        assert_eq!(at(253_402_300_800, 0), "253402300800.0");
        assert_eq!(at(i64::MIN, 0), "-9223372036854775808.0");
        assert_eq!(at(0, u32::MAX), "0.4294967295");
    }
}
