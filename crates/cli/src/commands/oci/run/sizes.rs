//! Parses the values of `--memory` and `--cpus`.

/// Microseconds of CPU time in a period that one CPU has.
const ONE_CPU: u64 = 100_000;
/// Digits after the decimal point that make a difference.
const PLACES: usize = 5;

/// Parses a number of bytes with an optional unit: `b`, `k`, `m`, `g`, in powers of 1024.
pub(super) fn parse_memory(text: &str) -> Result<u64, String> {
    let refused = || "expected a size, such as 512m or 2g".to_owned();
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = match lower.char_indices().find(|(_, character)| !character.is_ascii_digit()) {
        Some((at, _)) => lower.split_at(at),
        None => (lower.as_str(), ""),
    };
    let factor: u64 = match unit {
        "" | "b" => 1,
        "k" | "kb" | "ki" | "kib" => 1 << 10,
        "m" | "mb" | "mi" | "mib" => 1 << 20,
        "g" | "gb" | "gi" | "gib" => 1 << 30,
        _ => return Err(refused()),
    };
    digits.parse().ok().and_then(|number: u64| number.checked_mul(factor)).ok_or_else(refused)
}

/// Parses a decimal number of CPUs and returns the CPU time in microseconds for each period of 100 ms.
pub(super) fn parse_cpus(text: &str) -> Result<u64, String> {
    let refused = || "expected a number of CPUs, such as 2 or 0.5".to_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
        return Err(refused());
    }
    let places: String = fraction.chars().chain(std::iter::repeat('0')).take(PLACES).collect();
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| refused())? };
    let part: u64 = places.parse().map_err(|_| refused())?;
    whole.checked_mul(ONE_CPU).and_then(|quota| quota.checked_add(part)).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_or_refused() {
        for (text, bytes) in [("1", 1), ("7b", 7), ("64m", 64 << 20), ("2G", 2 << 30), ("1kb", 1024)] {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1.5g", "1x", "18446744073709551615k", "ä"] {
            assert!(parse_memory(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_of_cpus_are_parsed_or_refused() {
        for (text, quota) in [("1", 100_000), ("1.5", 150_000), (".25", 25_000), ("0.000019", 1), ("2.", 200_000)] {
            assert_eq!(parse_cpus(text), Ok(quota), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "1.5.5", "18446744073709551615"] {
            assert!(parse_cpus(text).is_err(), "{text:?}");
        }
    }
}
