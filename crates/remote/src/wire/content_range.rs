//! Parses `Content-Range`.

/// What an answer to a request for bytes has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    /// Offset after the last byte.
    pub(crate) end: u64,
    pub(crate) total: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes FIRST-LAST/TOTAL`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.trim().split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        let end = last.checked_add(1)?;
        (first < end && total.is_none_or(|total| end <= total)).then_some(Self { first, end, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let range = |first, end, total| Some(ContentRange { first, end, total });
        assert_eq!(ContentRange::parse("bytes 0-0/1"), range(0, 1, Some(1)));
        assert_eq!(ContentRange::parse("bytes 5-9/*"), range(5, 10, None));
        for bad in ["bytes 1-0/5", "bytes 0-5/5", "bytes */5", "0-1/2", "bytes 0-18446744073709551615/*", "bytes -1/2"]
        {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
    }
}
