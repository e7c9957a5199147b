//! Reads configuration files: bounded, and as text.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The longest configuration file that is read.
const LONGEST: u64 = 1 << 20;

/// Returns the text of a file; `None` if it does not exist.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {LONGEST} bytes")));
    }
    Ok(Some(text))
}

/// Reports whether a file does not exist: a part of its path may be a file.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
