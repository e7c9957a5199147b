//! Formats names for output: raw bytes, or with control characters escaped.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::output;

/// Format of names in output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameFormat {
    /// The bytes of the name, unchanged.
    Raw,
    /// `\n`, `\t`, `\r`, `\\`, and `\xHH` for other non-graphic characters and invalid UTF-8.
    Escaped,
}

/// Options for the format of names and the end of lines.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct NameArgs {
    /// Escape non-graphic characters in names (\n, \t, \r, \\, \xHH); always done on a terminal
    #[arg(short = 'b', long)]
    escape: bool,

    /// End lines with NUL, and escape nothing
    #[arg(short = '0', long, conflicts_with_all = ["escape", "json"])]
    null: bool,
}

impl NameArgs {
    /// Returns the format that the options select, given whether standard output is a terminal.
    pub(crate) fn names(self) -> NameFormat {
        if self.escape || !self.null && output::is_terminal() { NameFormat::Escaped } else { NameFormat::Raw }
    }

    /// Returns the writer for lines with names. Lines that end with NUL are for programs, so they are written unchanged
    /// even to a terminal.
    pub(crate) fn out(self) -> Box<dyn io::Write> {
        if self.null { Box::new(output::data()) } else { Box::new(output::text()) }
    }

    /// Returns the byte that ends a line.
    pub(crate) fn line_end(self) -> u8 {
        if self.null { 0 } else { b'\n' }
    }
}

impl NameFormat {
    /// Appends a name, a path or a symlink target.
    pub(crate) fn push(self, name: &[u8], line: &mut Vec<u8>) {
        match self {
            NameFormat::Raw => line.extend_from_slice(name),
            NameFormat::Escaped => push_escaped(name, line),
        }
    }

    /// Returns a formatted name.
    pub(crate) fn show(self, name: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(name.len());
        self.push(name, &mut shown);
        shown
    }

    /// Returns a formatted name as text for a message.
    pub(crate) fn text(self, name: &[u8]) -> String {
        String::from_utf8_lossy(&self.show(name)).into_owned()
    }
}

fn push_escaped(name: &[u8], line: &mut Vec<u8>) {
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).as_bytes();
            match c {
                '\\' => line.extend_from_slice(b"\\\\"),
                '\n' => line.extend_from_slice(b"\\n"),
                '\r' => line.extend_from_slice(b"\\r"),
                '\t' => line.extend_from_slice(b"\\t"),
                c if output::is_obeyed(c) => push_hex(bytes, line),
                _ => line.extend_from_slice(bytes),
            }
        }
        push_hex(chunk.invalid(), line);
    }
}

/// Quotes a path for a shell. Control characters and invalid UTF-8 are written as in `$'...'`, which bash, zsh and
/// POSIX 2024 support.
pub(crate) fn shell_word(path: &Path) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    match path.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if !text.chars().any(output::is_obeyed) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => format!("$'{}'", NameFormat::Escaped.text(path.as_os_str().as_bytes()).replace('\'', "\\'")),
    }
}

fn push_hex(bytes: &[u8], line: &mut Vec<u8>) {
    for byte in bytes {
        line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn shell_reads_the_quoted_word_as_the_path() {
        for (path, want) in [
            (&b"a/b-c.img"[..], "a/b-c.img"),
            (b"a b", "'a b'"),
            (b"it's", "'it'\\''s'"),
            (b"", "''"),
            (b"a\x1b'\\\n\xff", "$'a\\x1b\\'\\\\\\n\\xff'"),
        ] {
            let word = shell_word(Path::new(OsStr::from_bytes(path)));
            assert_eq!(word, want);
            let told = std::process::Command::new("bash").arg("-c").arg(format!("printf %s {word}")).output().unwrap();
            assert_eq!(told.stdout, path);
        }
    }

    #[test]
    fn non_graphic_characters_are_escaped() {
        let shown = |name: &[u8]| String::from_utf8(NameFormat::Escaped.show(name)).unwrap();
        for (name, expected) in [
            (&b"plain name"[..], "plain name"),
            ("größe".as_bytes(), "größe"),
            (b"a\nb\tc\rd\\e", "a\\nb\\tc\\rd\\\\e"),
            (b"\x1b[2J\x7f\x00", "\\x1b[2J\\x7f\\x00"),
            (b"a\xff\xc3", "a\\xff\\xc3"),
            ("\u{9b}31m".as_bytes(), "\\xc2\\x9b31m"),
            ("gpj.\u{202e}exe".as_bytes(), "gpj.\\xe2\\x80\\xaeexe"),
        ] {
            assert_eq!(shown(name), expected);
            assert_eq!(NameFormat::Raw.show(name), name);
        }
    }
}
