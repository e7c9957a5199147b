//! Words that a program understands itself are taken out of an option text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::OptionError;
use crate::escape::{unescape, unquote, words};

/// An option text in two parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenWords {
    /// The keys that were asked for with their values, in the order of the text.
    pub taken: Vec<(&'static str, OsString)>,
    /// The other words, as they stand.
    pub rest: OsString,
}

/// Takes the words with these keys out of an option text. Each of them must have a value.
///
/// # Errors
///
/// One of the words has no value, or one that is not ended.
pub fn take_words(text: &OsStr, keys: &[&'static str]) -> Result<TakenWords, OptionError> {
    let (mut taken, mut rest) = (Vec::new(), Vec::new());
    for word in words(text.as_bytes()) {
        let key_len = word.iter().position(|byte| *byte == b'=').unwrap_or(word.len());
        let (key, value) = word.split_at(key_len);
        let Some(key) = keys.iter().copied().find(|known| known.as_bytes() == key) else {
            rest.push(word);
            continue;
        };
        let Some(value) = value.get(1..) else { return Err(OptionError::NoValue(key.to_owned())) };
        let Some(value) = unquote(value) else { return Err(OptionError::OpenQuote(key.to_owned())) };
        taken.push((key, OsString::from_vec(unescape(value))));
    }
    Ok(TakenWords { taken, rest: OsString::from_vec(rest.join(&b',')) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_words_stay_as_they_are() {
        let take = |text: &str| take_words(text.as_ref(), &["lazy", "repo"]);
        let TakenWords { taken, rest } =
            take(r#"rw,lazy=http://a:1/b\,c,x="d,e",repo="f,g",lazy2=h,a=lazy=i"#).unwrap();
        assert_eq!(taken, [("lazy", "http://a:1/b,c".into()), ("repo", "f,g".into())]);
        assert_eq!(rest, r#"rw,x="d,e",lazy2=h,a=lazy=i"#);
        assert_eq!(take("ro").unwrap(), TakenWords { taken: Vec::new(), rest: "ro".into() });
        assert!(matches!(take("ro,lazy"), Err(OptionError::NoValue(key)) if key == "lazy"));
        assert!(matches!(take("repo=\"a,b"), Err(OptionError::OpenQuote(key)) if key == "repo"));
    }
}
