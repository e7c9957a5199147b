//! Patterns that exclude paths from a scan.
//!
//! The language is that of `.gitignore`. Patterns are matched against the path below the root of the scan, as bytes:
//!
//! - `*` and `?` match within a name, `**` also across slashes, `[a-z]` one of a set, `{a,b}` either; a backslash
//!   escapes the next character;
//! - a pattern without a slash, or with one only at its end, matches the last name of a path at any depth; with a
//!   slash elsewhere it matches the whole path, and a leading slash means just that;
//! - a trailing slash restricts it to directories;
//! - the last pattern that matches decides, a path that no pattern matches is included;
//! - an excluded directory is not entered, so nothing below it can be included again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{Candidate, GlobMatcher};

use crate::glob::compile_glob;

/// A list of patterns in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    list: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    matcher: GlobMatcher,
    directories_only: bool,
    exclude: bool,
}

/// The text is not a valid pattern.
#[derive(Debug, thiserror::Error)]
#[error("invalid pattern {pattern:?}: {reason}")]
pub struct InvalidPattern {
    pattern: String,
    reason: String,
}

impl Patterns {
    /// Adds a pattern of paths to exclude.
    ///
    /// # Errors
    ///
    /// The text is not a valid pattern.
    pub fn exclude(&mut self, pattern: &str) -> Result<(), InvalidPattern> {
        self.add(pattern, true)
    }

    /// Adds a pattern of paths to include, even if an earlier pattern excludes them.
    ///
    /// # Errors
    ///
    /// The text is not a valid pattern.
    pub fn include(&mut self, pattern: &str) -> Result<(), InvalidPattern> {
        self.add(pattern, false)
    }

    fn add(&mut self, pattern: &str, exclude: bool) -> Result<(), InvalidPattern> {
        let invalid = |reason: String| InvalidPattern { pattern: pattern.to_owned(), reason };
        let (glob, directories_only) = match pattern.strip_suffix('/') {
            Some(glob) => (glob, true),
            None => (pattern, false),
        };
        if glob.is_empty() {
            return Err(invalid("it can match nothing".to_owned()));
        }
        let glob = match glob.strip_prefix('/') {
            Some(anchored) => anchored.to_owned(),
            None if glob.contains('/') => glob.to_owned(),
            None => format!("**/{glob}"),
        };
        let matcher = compile_glob(&glob).map_err(invalid)?;
        self.list.push(Pattern { matcher, directories_only, exclude });
        Ok(())
    }

    /// Returns true if there are no patterns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns true if the path, relative to the root of the scan, is excluded.
    #[must_use]
    pub fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        let candidate = Candidate::new(Path::new(OsStr::from_bytes(path)));
        let last = self
            .list
            .iter()
            .rev()
            .find(|p| (is_directory || !p.directories_only) && p.matcher.is_match_candidate(&candidate));
        last.is_some_and(|p| p.exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Patterns {
        let mut patterns = Patterns::default();
        for pattern in list {
            match pattern.strip_prefix('!') {
                Some(pattern) => patterns.include(pattern).unwrap(),
                None => patterns.exclude(pattern).unwrap(),
            }
        }
        patterns
    }

    #[test]
    fn each_rule_of_the_language() {
        let cases: &[(&[&str], &str, bool, bool)] = &[
            (&[], "a", false, false),
            (&["*.o"], "a.o", false, true),
            (&["*.o"], "deep/down/a.o", false, true),
            (&["*.o"], "a.o.c", false, false),
            (&["/a"], "a", false, true),
            (&["/a"], "b/a", false, false),
            (&["b/a"], "b/a", false, true),
            (&["b/a"], "c/b/a", false, false),
            (&["b/*"], "b/c/d", false, false),
            (&["b/**"], "b/c/d", false, true),
            (&["b/**"], "b", true, false),
            (&["**/x/y"], "x/y", false, true),
            (&["**/x/y"], "1/2/x/y", false, true),
            (&["cache/"], "cache", false, false),
            (&["cache/"], "var/cache", true, true),
            (&["?"], "a", false, true),
            (&["?"], "ab", false, false),
            (&["[a-c]x"], "bx", false, true),
            (&["[!a-c]x"], "bx", false, false),
            (&["{a,b}.c"], "b.c", false, true),
            (&["\\*"], "*", false, true),
            (&["\\*"], "a", false, false),
            (&["*", "!keep"], "keep", false, false),
            (&["*", "!keep"], "other", false, true),
            (&["!keep", "*"], "keep", false, true),
            (&["*.d", "!etc/*.d"], "etc/x.d", true, false),
            (&[".*"], ".hidden", false, true),
            (&["*"], ".hidden", false, true),
        ];
        for (list, path, is_directory, excluded) in cases {
            let found = patterns(list).excludes(path.as_bytes(), *is_directory);
            assert_eq!(found, *excluded, "{list:?} on {path:?}");
        }
    }

    #[test]
    fn names_that_are_not_text_are_matched_as_bytes() {
        assert!(patterns(&["*.bin"]).excludes(b"d/\xff\xfe.bin", false));
        assert!(patterns(&["?.bin"]).excludes(b"\xff.bin", false));
        assert!(!patterns(&["*.bin"]).excludes(b"\xff.txt", false));
    }

    #[test]
    fn invalid_patterns_are_refused() {
        for bad in ["", "/", "[", "{a", "a\\"] {
            assert!(Patterns::default().exclude(bad).is_err(), "{bad:?}");
        }
    }
}
