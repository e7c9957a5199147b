//! Numbers in headers: octal digits, or base-256 with a sign.

/// Reads a number of a header: octal digits with leading spaces, ended by NUL, a space or the end of the field; or,
/// with the highest bit set, a big-endian two's complement number whose sign is the next bit. An empty field is 0.
pub(super) fn header_number(field: &[u8]) -> Option<i128> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Fields have at most 12 bytes, so that the value has at most 95 bits.
        let sign = if first & 0x40 != 0 { -1 } else { 0 };
        let low = i128::from(first & 0x3f) | (sign << 6);
        return Some(field[1..].iter().fold(low, |value, byte| (value << 8) | i128::from(*byte)));
    }
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    // Twelve digits have 36 bits.
    let mut value = 0u64;
    for byte in &field[start..] {
        match byte {
            b'0'..=b'7' => value = value << 3 | u64::from(byte - b'0'),
            0 | b' ' => break,
            _ => return None,
        }
    }
    Some(i128::from(value))
}

/// Reads a decimal number of a PAX record.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Reads a time of a PAX record: decimal seconds, with an optional fraction that is cut to nanoseconds. Returns the
/// seconds, rounded down, and the nanoseconds after them.
pub(super) fn pax_time(text: &[u8]) -> Option<(i64, u32)> {
    let (is_negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = point.map_or((text, &text[..0]), |at| (&text[..at], &text[at + 1..]));
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| u32::from(fraction.get(at).map_or(0, |byte| byte - b'0'));
    let nanos = (0..9).fold(0, |value, at| value * 10 + digit(at));
    Some(match (is_negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_numbers() {
        assert_eq!(header_number(b"0000644\0"), Some(0o644));
        assert_eq!(header_number(b"  644 \0\0"), Some(0o644));
        assert_eq!(header_number(b"00000001"), Some(1));
        assert_eq!(header_number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(header_number(b"        "), Some(0));
        assert_eq!(header_number(b"12x4567\0"), None);
        assert_eq!(header_number(b"0000008\0"), None);
        assert_eq!(header_number(b"-000001\0"), None);
        assert_eq!(header_number(&[0x80, 0, 0, 0, 0, 0, 1, 2]), Some(258));
        assert_eq!(header_number(&[0xff; 12]), Some(-1));
        assert_eq!(
            header_number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x9c]),
            Some(-100)
        );
        assert_eq!(header_number(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some((1 << 62) - 1));
    }

    #[test]
    fn times_are_cut_and_rounded_down() {
        assert_eq!(pax_time(b"1234567890"), Some((1_234_567_890, 0)));
        assert_eq!(pax_time(b"1234567890.5"), Some((1_234_567_890, 500_000_000)));
        assert_eq!(pax_time(b"1234567890.1234567899"), Some((1_234_567_890, 123_456_789)));
        assert_eq!(pax_time(b"5."), Some((5, 0)));
        assert_eq!(pax_time(b"-100"), Some((-100, 0)));
        assert_eq!(pax_time(b"-100.25"), Some((-101, 750_000_000)));
        assert_eq!(pax_time(b"-0.5"), Some((-1, 500_000_000)));
        for wrong in [&b""[..], b"-", b".5", b"1e9", b"1.x", b"99999999999999999999", b"--1", b"+1"] {
            assert_eq!(pax_time(wrong), None, "{wrong:?}");
        }
    }
}
