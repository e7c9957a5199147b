//! The order of versions (UAPI group, Version Format Specification), which boot loaders sort by.

use std::cmp::Ordering;

/// Compares two versions: digits by their value, letters by their bytes, and `~` before everything.
#[must_use]
pub fn compare_versions(one: &str, two: &str) -> Ordering {
    let (mut one, mut two) = (one.as_bytes(), two.as_bytes());
    loop {
        (one, two) = (skip_invalid(one), skip_invalid(two));
        if let Some(order) = marked(&mut one, &mut two, b'~', Ordering::Less) {
            return order;
        }
        if one.is_empty() || two.is_empty() {
            return one.len().min(1).cmp(&two.len().min(1));
        }
        for mark in *b"-^." {
            if let Some(order) = marked(&mut one, &mut two, mark, Ordering::Less) {
                return order;
            }
        }
        let is_number = starts_with(one, u8::is_ascii_digit) || starts_with(two, u8::is_ascii_digit);
        let is_part = if is_number { u8::is_ascii_digit } else { u8::is_ascii_alphabetic };
        let ((head_one, rest_one), (head_two, rest_two)) = (part(one, is_part), part(two, is_part));
        let order = if is_number { numbers(head_one, head_two) } else { head_one.cmp(head_two) };
        if order != Ordering::Equal {
            return order;
        }
        (one, two) = (rest_one, rest_two);
    }
}

fn skip_invalid(text: &[u8]) -> &[u8] {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    text.iter().position(is_valid).map_or(&[], |start| &text[start..])
}

/// Compares whether each text begins with a mark, and passes over it if both do.
fn marked(one: &mut &[u8], two: &mut &[u8], mark: u8, with: Ordering) -> Option<Ordering> {
    match (one.split_first(), two.split_first()) {
        (Some((a, rest_one)), Some((b, rest_two))) if *a == mark && *b == mark => {
            (*one, *two) = (rest_one, rest_two);
            None
        }
        (Some((a, _)), _) if *a == mark => Some(with),
        (_, Some((b, _))) if *b == mark => Some(with.reverse()),
        _ => None,
    }
}

fn starts_with(text: &[u8], is_part: fn(&u8) -> bool) -> bool {
    text.first().is_some_and(is_part)
}

fn part(text: &[u8], is_part: fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len()))
}

/// Compares digits by their value. No digits are less than `0`.
fn numbers(one: &[u8], two: &[u8]) -> Ordering {
    let value = |digits: &[u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let (short_one, short_two) = (&one[value(one)..], &two[value(two)..]);
    let empty = one.is_empty().cmp(&two.is_empty()).reverse();
    empty.then(short_one.len().cmp(&short_two.len())).then(short_one.cmp(short_two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_specification_are_in_order() {
        // The example of the specification, and what systemd's own test has.
        for list in [
            &["122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1"][..],
            &["123-1.1", "123^post1", "123.a-1", "123.1-1"],
            &["123a-1", "124-1"],
            &["", "a", "0", "1", "9", "10"],
            &["~1", "", "1"],
            &["5.10", "5.10.1", "6.1-a", "6.1-9", "6.1-10"],
        ] {
            for (at, one) in list.iter().enumerate() {
                for (other, two) in list.iter().enumerate() {
                    assert_eq!(compare_versions(one, two), at.cmp(&other), "{one} {two}");
                }
            }
        }
        for (one, two) in [("007", "7"), ("1_2", "1 2"), ("a§b", "a§b"), ("", "§")] {
            assert_eq!(compare_versions(one, two), Ordering::Equal, "{one} {two}");
        }
    }
}
