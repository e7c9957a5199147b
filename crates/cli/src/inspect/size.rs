//! Formats and parses sizes with units.

/// Unit letters; each unit is 1024 times the one before.
const UNITS: [char; 6] = ['k', 'M', 'G', 'T', 'P', 'E'];

/// Format of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeFormat {
    /// A number of bytes.
    Bytes,
    /// A number in the largest unit in which it is at least 1, rounded up: `1.2M`.
    Human,
}

impl SizeFormat {
    /// Returns the format that a `--human-readable` option selects.
    pub(crate) fn human(human: bool) -> Self {
        if human { SizeFormat::Human } else { SizeFormat::Bytes }
    }

    /// Formats a number of bytes.
    pub(crate) fn show(self, size: u64) -> String {
        match self {
            SizeFormat::Human => human(size),
            SizeFormat::Bytes => size.to_string(),
        }
    }
}

/// Formats a size with a unit, rounded up as in ls and du.
pub(crate) fn human(size: u64) -> String {
    let (mut unit, mut shift) = (None, 0);
    for next in UNITS {
        if size >> shift < 1024 {
            break;
        }
        shift += 10;
        unit = Some(next);
    }
    let Some(unit) = unit else { return size.to_string() };
    let tenths = (u128::from(size) * 10).div_ceil(1 << shift);
    if tenths < 100 {
        return format!("{}.{}{unit}", tenths / 10, tenths % 10);
    }
    format!("{}{unit}", u128::from(size).div_ceil(1 << shift))
}

/// Parses a size with or without a unit: `10`, `64k`, `2M`.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (digits, shift) = match text.chars().next_back()? {
        'c' | 'B' => (&text[..text.len() - 1], 0),
        unit if unit.is_ascii_alphabetic() => {
            let index = UNITS.iter().position(|known| known.eq_ignore_ascii_case(&unit))?;
            (&text[..text.len() - 1], 10 * (index as u32 + 1))
        }
        _ => (text, 0),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_sizes_have_at_most_four_digits_and_round_up() {
        for (size, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0k"),
            (1025, "1.1k"),
            (10 << 10, "10k"),
            ((10 << 10) + 1, "11k"),
            (1 << 30, "1.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(human(size), text);
        }
    }

    #[test]
    fn sizes_with_units_are_parsed() {
        for (text, size) in
            [("0", Some(0)), ("10", Some(10)), ("7c", Some(7)), ("2k", Some(2048)), ("1G", Some(1 << 30))]
        {
            assert_eq!(parse(text), size, "{text}");
        }
        for text in ["", "k", "+1", "-1", "1x", "1.5k", "16E", "99999999999999999999", "1ß"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
