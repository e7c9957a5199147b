//! The text of an entry: lines of a key and a value.

/// Largest entry file that is read. The boot loader needs no more than a command line and some paths.
pub const ENTRY_MAX: usize = 65536;
/// Most lines with a key.
const LINES_MAX: usize = 256;

/// The reason why a text is not an entry that is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryTextError {
    /// The file is too large.
    #[error("an entry has at most {ENTRY_MAX} bytes")]
    TooLarge,
    /// There are too many lines.
    #[error("an entry has at most {LINES_MAX} lines with a key")]
    TooManyLines,
    /// The file is not text.
    #[error("an entry is UTF-8 text")]
    NotText,
}

/// Keys and values of an entry, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootEntryText {
    lines: Vec<(String, String)>,
}

impl BootEntryText {
    /// Reads an entry. Comments, empty lines, and keys without a value are left out, as by systemd-boot.
    ///
    /// # Errors
    ///
    /// If the text is too large, has too many lines, or is not UTF-8.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryTextError> {
        if bytes.len() > ENTRY_MAX {
            return Err(EntryTextError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| EntryTextError::NotText)?;
        let mut lines = Vec::new();
        for line in text.split(['\n', '\r', '\0']).map(|line| line.trim_matches([' ', '\t'])) {
            let Some((key, value)) = line.split_once([' ', '\t']).filter(|_| !line.starts_with('#')) else { continue };
            if lines.len() == LINES_MAX {
                return Err(EntryTextError::TooManyLines);
            }
            let value = value.trim_start_matches([' ', '\t']);
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            lines.push((key.to_owned(), quoted.unwrap_or(value).to_owned()));
        }
        Ok(Self { lines })
    }

    /// Returns the last value of a key, which is the one that counts.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.lines.iter().rfind(|(found, _)| found == key)?;
        Some(&found.1)
    }

    /// Returns all values of a key.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(move |(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// Returns the command line of the kernel: the values of all lines `options`.
    #[must_use]
    pub fn options(&self) -> String {
        self.all("options").collect::<Vec<_>>().join(" ")
    }

    /// Returns the paths of the files that the boot loader reads for the entry, below the partition.
    pub fn files(&self) -> impl Iterator<Item = String> {
        let is_file = |key: &str| matches!(key, "linux" | "initrd" | "efi" | "uki" | "devicetree");
        let files = self.lines.iter().filter(move |(key, _)| is_file(key));
        files.map(|(_, path)| path.replace('\\', "/").trim_matches('/').to_owned())
    }

    /// Replaces all lines of a key by one, in the place of the first, or at the end.
    pub fn set(&mut self, key: &str, value: &str) {
        let at = self.lines.iter().position(|(found, _)| found == key).unwrap_or(self.lines.len());
        self.lines.retain(|(found, _)| found != key);
        self.lines.insert(at.min(self.lines.len()), (key.to_owned(), one_line(value)));
    }

    /// Adds a line.
    pub fn push(&mut self, key: &str, value: &str) {
        self.lines.push((key.to_owned(), one_line(value)));
    }

    /// Removes all lines of a key.
    pub fn remove(&mut self, key: &str) {
        self.lines.retain(|(found, _)| found != key);
    }
}

impl std::fmt::Display for BootEntryText {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        self.lines.iter().try_for_each(|(key, value)| writeln!(out, "{key:width$} {value}"))
    }
}

/// Replaces control characters by spaces, so that a value stays on its line, and removes spaces at both ends.
#[must_use]
pub fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    spaced.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_by_systemd_boot() {
        let text = "# comment\n\n  title\t Debian 13 \r\nversion 7\nempty\noptions rw  a=\"b c\"\noptions \"quiet\"\n\
                    linux \\a\\vmlinuz\ninitrd /a/one\ninitrd b/two/\n#options x\nversion 8";
        let entry = BootEntryText::parse(text.as_bytes()).unwrap();
        assert_eq!(entry.get("title"), Some("Debian 13"));
        assert_eq!(entry.get("version"), Some("8"));
        assert_eq!(entry.get("empty"), None);
        assert_eq!(entry.options(), "rw  a=\"b c\" quiet");
        assert_eq!(entry.files().collect::<Vec<_>>(), ["a/vmlinuz", "a/one", "b/two"]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut entry = BootEntryText::default();
        entry.push("title", "a\nlinux /evil\u{1b}[2J");
        entry.push("initrd", "/a");
        entry.push("initrd", "/b");
        entry.push("version", "1");
        let text = entry.to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains('\u{1b}'));
        assert_eq!(BootEntryText::parse(text.as_bytes()).unwrap(), entry);
        entry.set("initrd", "/c");
        entry.set("options", "rw");
        entry.remove("version");
        assert_eq!(entry.to_string(), "title   a linux /evil [2J\ninitrd  /c\noptions rw\n");
    }

    #[test]
    fn what_is_too_large_or_no_text_is_refused() {
        assert!(BootEntryText::parse(&vec![b'#'; ENTRY_MAX]).is_ok());
        assert_eq!(BootEntryText::parse(&vec![b'#'; ENTRY_MAX + 1]), Err(EntryTextError::TooLarge));
        assert!(BootEntryText::parse("k v\n".repeat(256).as_bytes()).is_ok());
        assert_eq!(BootEntryText::parse("k v\n".repeat(257).as_bytes()), Err(EntryTextError::TooManyLines));
        assert_eq!(BootEntryText::parse(b"title \xff"), Err(EntryTextError::NotText));
    }
}
