//! Names of entry files, which have the counter of attempts: `NAME+LEFT-DONE.conf`.

/// Attempts to boot an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootCounter {
    /// Attempts that are left. With none the entry is bad, and the boot loader starts it only if it is chosen.
    pub left: u64,
    /// Attempts so far that were not followed by `systemd-bless-boot`.
    pub done: u64,
}

/// The name of a file in `loader/entries` or `EFI/Linux`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFileName {
    /// The name without counter and ending.
    pub stem: String,
    /// The counter of attempts. Without one the entry is good.
    pub counter: Option<BootCounter>,
    /// The ending with its dot, such as `.conf`.
    pub ending: String,
}

impl EntryFileName {
    /// Reads a name. A counter that is not written as systemd-boot reads it belongs to the stem.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let (rest, ending) = name.rfind('.').map_or((name, ""), |dot| name.split_at(dot));
        let found = rest.rsplit_once('+').and_then(|(stem, counter)| Some((stem, BootCounter::parse(counter)?)));
        match found {
            Some((stem, counter)) => Self { stem: stem.into(), counter: Some(counter), ending: ending.into() },
            None => Self { stem: rest.into(), counter: None, ending: ending.into() },
        }
    }

    /// Returns the name without the counter, by which boot loader and `bootctl` know the entry.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}{}", self.stem, self.ending)
    }

    /// Returns true if no attempt is left.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.counter.is_some_and(|counter| counter.left == 0)
    }
}

impl std::fmt::Display for EntryFileName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stem, counter, ending } = self;
        match counter {
            None => write!(out, "{stem}{ending}"),
            Some(BootCounter { left, done: 0 }) => write!(out, "{stem}+{left}{ending}"),
            Some(BootCounter { left, done }) => write!(out, "{stem}+{left}-{done}{ending}"),
        }
    }
}

impl BootCounter {
    fn parse(text: &str) -> Option<Self> {
        let (left, done) = text.split_once('-').unwrap_or((text, "0"));
        Some(Self { left: number(left)?, done: number(done)? })
    }
}

/// Reads digits and nothing else: `parse` alone accepts a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The stem of an entry that `composefs boot install` has made: `composefs-GENERATION-LABEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnEntryName {
    /// Number of the entry: the newest one has the highest.
    pub generation: u64,
    /// First hex digits of the image's digest, for people.
    pub label: String,
}

/// Hex digits of the digest in the name of an entry.
const LABEL_LEN: usize = 16;
/// First part of the names of our entries.
const OWN: &str = "composefs-";

impl OwnEntryName {
    /// Makes the name of an entry for the image with this digest, in hex digits.
    #[must_use]
    pub fn new(generation: u64, hex: &str) -> Self {
        Self { generation, label: hex.chars().take(LABEL_LEN).collect() }
    }

    /// Reads the name of an entry file; `None` for entries of others.
    #[must_use]
    pub fn of(name: &EntryFileName) -> Option<Self> {
        let (generation, label) = name.stem.strip_prefix(OWN)?.split_once('-')?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_ours = name.ending == ".conf" && label.len() == LABEL_LEN && label.bytes().all(is_hex);
        let own = Self { generation: number(generation).filter(|_| is_ours)?, label: label.to_owned() };
        // `007` would be another file with the number of `7`.
        (own.stem() == name.stem).then_some(own)
    }

    fn stem(&self) -> String {
        format!("{OWN}{}-{}", self.generation, self.label)
    }

    /// Returns the name of the file.
    #[must_use]
    pub fn file_name(&self, counter: Option<BootCounter>) -> EntryFileName {
        EntryFileName { stem: self.stem(), counter, ending: ".conf".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_systemd_boot_does() {
        let counter = |name: &str| EntryFileName::parse(name).counter.map(|counter| (counter.left, counter.done));
        assert_eq!(counter("a+3.conf"), Some((3, 0)));
        assert_eq!(counter("a+0-3.efi"), Some((0, 3)));
        assert_eq!(counter("a+1+2-1.conf"), Some((2, 1)));
        for none in ["a.conf", "a+.conf", "a+x.conf", "a+1-.conf", "a+-1.conf", "a+1-2-3.conf", "a++1", "", "+", "."] {
            let name = EntryFileName::parse(none);
            assert!(name.counter.is_none() || none == "a++1", "{none}");
            assert_eq!(name.to_string(), none);
        }
        assert_eq!(counter("a+99999999999999999999999.conf"), None);
    }

    #[test]
    fn names_are_written_as_they_are_read() {
        for name in ["a.conf", "a+3.conf", "a+2-1.conf", "a+0-3.efi", "a b", "+3", "é+1.conf"] {
            assert_eq!(EntryFileName::parse(name).to_string(), name);
        }
        assert_eq!(EntryFileName::parse("a+2-1.conf").id(), "a.conf");
        assert!(EntryFileName::parse("a+0-1.conf").is_failed() && !EntryFileName::parse("a+1.conf").is_failed());
        assert!(!EntryFileName::parse("a.conf").is_failed());
    }

    #[test]
    fn only_names_that_we_make_are_ours() {
        let own = |name: &str| OwnEntryName::of(&EntryFileName::parse(name)).map(|own| own.generation);
        assert_eq!(own("composefs-7-0123456789abcdef.conf"), Some(7));
        assert_eq!(own("composefs-7-0123456789abcdef+3-1.conf"), Some(7));
        for other in [
            "composefs-07-0123456789abcdef.conf",
            "composefs-7-0123456789ABCDEF.conf",
            "composefs-7-0123456789abcde.conf",
            "composefs-7-0123456789abcdef.efi",
            "composefs-+7-0123456789abcdef.conf",
            "composefs--0123456789abcdef.conf",
            "composefs-1.conf",
            "bootc_debian-13-1.conf",
            "composefs-99999999999999999999-0123456789abcdef.conf",
        ] {
            assert_eq!(own(other), None, "{other}");
        }
        let made = OwnEntryName::new(7, &"ab".repeat(32)).file_name(Some(BootCounter { left: 3, done: 0 }));
        assert_eq!(made.to_string(), "composefs-7-abababababababab+3.conf");
        assert_eq!(OwnEntryName::of(&made).unwrap().generation, 7);
    }
}
