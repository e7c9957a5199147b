//! Compiling shell patterns, within limits.

use globset::{GlobBuilder, GlobMatcher};

/// The longest pattern, in bytes: no path is longer.
const MAX_LEN: usize = 4096;
/// The deepest nesting of `{a,b}`. The regex engine panics at 250 levels of the expression built from them.
const MAX_NESTING: usize = 32;

/// Compiles a pattern in which `*` and `?` do not match a slash, `**` does, and a backslash escapes the next
/// character.
///
/// # Errors
///
/// A message that says why the pattern is invalid.
pub fn compile_glob(pattern: &str) -> Result<GlobMatcher, String> {
    if pattern.len() > MAX_LEN {
        return Err(format!("it has {} bytes, at most {MAX_LEN} are allowed", pattern.len()));
    }
    if nesting(pattern) > MAX_NESTING {
        return Err(format!("its braces are nested more than {MAX_NESTING} deep"));
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

/// Returns the deepest nesting of braces.
fn nesting(pattern: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = pattern.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_braces_are_bounded() {
        let nested = |depth: usize| format!("{}a{}", "{".repeat(depth), "}".repeat(depth));
        assert!(compile_glob(&nested(32)).unwrap().is_match("a"));
        for depth in [33, 200, 2000] {
            assert!(compile_glob(&nested(depth)).unwrap_err().contains("more than 32 deep"), "{depth}");
        }
        // Braces that are not nested, and escaped ones.
        assert!(compile_glob(&"{a,b}".repeat(800)).is_ok());
        assert!(compile_glob(&"\\{".repeat(2000)).unwrap().is_match("{".repeat(2000)));
    }

    /// The longest pattern of each kind compiles: the engine accepts all of them.
    #[test]
    fn length_is_bounded() {
        for piece in ["a", "?", "*a", "**/", "[!a-z]", "{?,*}", "[a-zA-Z0-9]*", "\u{10ffff}"] {
            let longest = piece.repeat(MAX_LEN / piece.len());
            assert!(compile_glob(&longest).is_ok(), "{piece}");
            assert!(compile_glob(&piece.repeat(MAX_LEN / piece.len() + 1)).unwrap_err().contains("at most 4096"));
        }
    }
}
