//! Searches for digests in a file of another format, at any offset, in memory that does not grow with the file.

use std::io::{self, Read};

/// Number of bytes to read at a time.
const WINDOW: u64 = 1 << 20;

/// Returns whether `is_wanted` accepts any `len` consecutive bytes of the input. It is called from the start to the
/// first match.
pub(super) fn any_window(
    input: &mut impl Read,
    len: usize,
    mut is_wanted: impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    let mut bytes = Vec::new();
    loop {
        // The last bytes may be the start of a window.
        let kept = bytes.len().min(len.saturating_sub(1));
        bytes.drain(..bytes.len() - kept);
        if input.take(WINDOW).read_to_end(&mut bytes)? == 0 {
            return Ok(false);
        }
        if bytes.windows(len).any(&mut is_wanted) {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_is_shown_once() {
        let piece = usize::try_from(WINDOW).unwrap();
        for len in [0, 1, 31, 32, 33, piece - 1, piece, piece + 1, 2 * piece + 40] {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 31 / 7) as u8).collect();
            let mut shown = 0;
            let mut windows = bytes.windows(32);
            let show = |window: &[u8]| {
                assert_eq!(Some(window), windows.next(), "{shown} of {len}");
                shown += 1;
                false
            };
            assert!(!any_window(&mut &bytes[..], 32, show).unwrap());
            assert_eq!(shown, (len + 1).saturating_sub(32));
        }
        let mut bytes = vec![0; 3 * piece];
        bytes[piece - 5] = 1;
        assert!(any_window(&mut &bytes[..], 32, |window| window[31] == 1).unwrap());
        assert!(any_window(&mut &bytes[..], 32, |window| window[0] == 1).unwrap());
        assert!(!any_window(&mut &bytes[..], 32, |window| window[0] == 2).unwrap());
    }
}
