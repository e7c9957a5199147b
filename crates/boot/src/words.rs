//! The words of the kernel command line that a boot depends on.

use libcomposefs_image::Digest;
use libcomposefs_image::kernel_words::{DIGEST_FORMATS, kernel_words, optional_digest, word_digest};

use crate::config::MountChoice;

/// An image that the command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootImage {
    /// fs-verity digest of the image.
    pub digest: Digest,
    /// Set by `?`: the image may be mounted without fs-verity, unless its repository demands it. After a word without
    /// `?` it has no effect: else removing the image of that word from the disk would be a way to weaken the boot.
    pub is_verity_optional: bool,
    /// The word, as it stands on the command line.
    pub word: String,
}

/// Action after a refused boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The machine is switched off.
    PowerOff,
    /// The machine boots again, so that a boot loader with counters chooses an older entry.
    Reboot,
    /// The initramfs continues with its emergency target.
    Emergency,
}

/// The words that a boot depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelWords {
    /// The images, in the order of the command line. The first one that exists is booted.
    pub images: Vec<BootImage>,
    /// Name of the image, if the line has `composefs.name` and no digest: the newest signed image of it is booted.
    pub name: Option<String>,
    /// Words with a format that this program does not know, while another word names an image.
    pub skipped: Vec<String>,
    /// Words that begin with `composefs.` and are unknown or have an unknown value. They have no effect.
    pub unknown: Vec<String>,
    /// Value of `composefs.etc`, which counts only where the command line is not sealed.
    pub etc: Option<MountChoice>,
    /// Value of `composefs.var`, which counts only where the command line is not sealed.
    pub var: Option<MountChoice>,
    /// True if the line has `rw` or `ro`, without which systemd tries to remount the root.
    pub has_root_mode: bool,
    /// True if `systemd.volatile` is `state` or `overlay`: systemd itself makes `/var`.
    pub is_volatile: bool,
    /// True if a word without `?` names an image, also one of an unknown format.
    has_strict: bool,
}

/// Reasons why the command line cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordError {
    /// No word names an image.
    #[error("no composefs= or composefs.digest= on the kernel command line")]
    NoImage,
    /// A digest has the wrong length or other characters.
    #[error("{word}: not a digest of {expected} lower-case hex digits")]
    Digest {
        /// The word with this digest.
        word: String,
        /// Number of hex digits expected.
        expected: &'static str,
    },
    /// All words have a format that this program does not know.
    #[error("{word}: unknown format; known are v1-sha256-12, v1-sha512-12, v2-sha256-12 and v2-sha512-12")]
    Format {
        /// The first of these words.
        word: String,
    },
    /// A name has characters that no name of an image to boot has.
    #[error("{word}: a name has 1 to 255 letters, digits and signs other than *, \\ and quotation marks")]
    Name {
        /// The word with this name.
        word: String,
    },
    /// This build of the program has no boot by name.
    #[error("composefs.name={name}: this build of composefs-setup-root cannot boot by name")]
    NoNames {
        /// The name.
        name: String,
    },
    /// The value of `composefs.etc` or `composefs.var` is unknown.
    #[error("{word}: expected none, bind, overlay or transient")]
    Choice {
        /// The word with this value.
        word: String,
    },
}

impl KernelWords {
    /// Reads a command line.
    ///
    /// # Errors
    ///
    /// If a word is wrong, or no word names an image. A wrong digest is an error even if another word is right.
    pub fn parse(line: &str) -> Result<Self, WordError> {
        let mut found = Self::default();
        for word in kernel_words(line) {
            found.take(word)?;
        }
        if !found.images.is_empty() {
            // A digest takes precedence.
            found.unknown.extend(found.name.take().map(|name| format!("composefs.name={name} beside a digest")));
        }
        match (found.images.is_empty() && found.name.is_none(), found.skipped.first()) {
            (true, Some(word)) => Err(WordError::Format { word: word.clone() }),
            (true, None) => Err(WordError::NoImage),
            (false, _) => Ok(found),
        }
    }

    /// Returns true if the line asks for ostree alone: then this program has nothing to do.
    #[must_use]
    pub fn is_of_ostree(line: &str) -> bool {
        let has = |key: &str| kernel_words(line).any(|word| word.starts_with(key));
        has("ostree=") && !has("composefs=") && !has("composefs.digest=") && !has("composefs.name=")
    }

    fn take(&mut self, word: &str) -> Result<(), WordError> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "rw" | "ro" if word == key => self.has_root_mode = true,
            "systemd.volatile" => self.is_volatile = matches!(value, "state" | "overlay"),
            "composefs" => {
                let (value, is_optional) = optional_digest(value);
                self.add(image(word, value, None, is_optional)?);
            }
            "composefs.digest" => {
                let (value, is_optional) = optional_digest(value);
                let (format, hex) = value.split_once(':').unwrap_or((value, ""));
                match DIGEST_FORMATS.iter().find(|(known, _)| *known == format) {
                    Some((_, len)) => self.add(image(word, hex, Some(*len), is_optional)?),
                    None => {
                        self.has_strict |= !is_optional;
                        self.skipped.push(word.to_owned());
                    }
                }
            }
            "composefs.name" if !is_bootable_name(value) => return Err(WordError::Name { word: word.to_owned() }),
            // The first one counts: others may have been appended to a signed command line.
            "composefs.name" if self.name.is_none() => self.name = Some(value.to_owned()),
            "composefs.etc" => self.etc = Some(choice(word, value)?),
            "composefs.var" => self.var = Some(choice(word, value)?),
            "composefs.refused" if Refused::named(value).is_some() => {}
            _ if key.starts_with("composefs.") => self.unknown.push(word.to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, image: BootImage) {
        let is_verity_optional = image.is_verity_optional && !self.has_strict;
        self.has_strict |= !is_verity_optional;
        self.images.push(BootImage { is_verity_optional, ..image });
    }
}

impl Refused {
    /// Returns what the line demands after a refusal. The line may be wrong in all other words; an unknown value is
    /// the same as none.
    #[must_use]
    pub fn of(line: &str) -> Option<Self> {
        Self::named(kernel_value(line, "composefs.refused")?)
    }

    /// Returns the action with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "poweroff" => Some(Refused::PowerOff),
            "reboot" => Some(Refused::Reboot),
            "emergency" => Some(Refused::Emergency),
            _ => None,
        }
    }
}

/// Returns the value of the last word with this key, such as `root`.
#[must_use]
pub fn kernel_value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    kernel_words(line).filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).last()
}

/// Such a name needs no escape in a message or in JSON.
fn is_bootable_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'\\' | b'"' | b'\'');
    (1..=255).contains(&name.len()) && name.bytes().all(is_plain)
}

fn choice(word: &str, value: &str) -> Result<MountChoice, WordError> {
    MountChoice::of(value).ok_or_else(|| WordError::Choice { word: word.to_owned() })
}

fn image(word: &str, hex: &str, len: Option<usize>, is_verity_optional: bool) -> Result<BootImage, WordError> {
    let expected = match len {
        Some(64) => "64",
        Some(_) => "128",
        None => "64 or 128",
    };
    let digest = word_digest(hex, len).ok_or_else(|| WordError::Digest { word: word.to_owned(), expected })?;
    Ok(BootImage { digest, is_verity_optional, word: word.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn images_keep_the_order_of_the_line() {
        let line = format!("quiet rw composefs.digest=?v1-sha512-12:{A}{A} composefs=?{B} composefs={A}\n");
        let words = KernelWords::parse(&line).unwrap();
        let found: Vec<_> = words.images.iter().map(|i| (i.digest.to_hex(), i.is_verity_optional)).collect();
        assert_eq!(found, [(format!("{A}{A}"), true), (B.to_owned(), true), (A.to_owned(), false)]);
        assert!(words.has_root_mode && !words.is_volatile && words.skipped.is_empty());
    }

    #[test]
    fn a_wrong_digest_is_an_error_beside_a_right_one() {
        for bad in [
            "composefs=abc".to_owned(),
            "composefs=".to_owned(),
            "composefs".to_owned(),
            format!("composefs={}", A.to_uppercase()),
            format!("composefs=\"{A}\""),
            format!("composefs={A}{A}a"),
            format!("composefs.digest=v1-sha256-12:{A}{A}"),
            format!("composefs.digest=v2-sha512-12:{A}"),
            "composefs.digest=v1-sha256-12".to_owned(),
        ] {
            let parsed = KernelWords::parse(&format!("composefs={B} {bad}"));
            assert!(matches!(parsed, Err(WordError::Digest { ref word, .. }) if *word == bad), "{bad}: {parsed:?}");
        }
    }

    #[test]
    fn an_unknown_format_is_passed_over_if_another_word_remains() {
        let unknown = format!("composefs.digest=v3-sha256-12:{A}");
        let words = KernelWords::parse(&format!("{unknown} composefs.digest=?v1-sha256-12:{B}")).unwrap();
        assert_eq!((words.skipped, words.images.len()), (vec![unknown.clone()], 1));
        assert_eq!(KernelWords::parse(&unknown), Err(WordError::Format { word: unknown }));
    }

    #[test]
    fn a_digest_takes_precedence_over_a_name() {
        let parse = |line: &str| KernelWords::parse(line);
        let named = parse("rw composefs.name=debian/13 composefs.name=evil").unwrap();
        assert_eq!((named.name.as_deref(), named.images.len()), (Some("debian/13"), 0));
        assert_eq!(named.unknown, ["composefs.name=evil"]);
        for line in
            [format!("composefs.name=debian/13 composefs={A}"), format!("composefs={A} composefs.name=debian/13")]
        {
            let both = parse(&line).unwrap();
            assert_eq!((both.name, both.images.len(), both.unknown.len()), (None, 1, 1));
        }
        for bad in ["", "a*", "\"a\"", "a\\b", "d\u{e9}", &"a".repeat(256)] {
            let line = format!("composefs.name={bad}");
            assert_eq!(parse(&line), Err(WordError::Name { word: line.clone() }));
        }
        assert!(!KernelWords::is_of_ostree("ostree=/x composefs.name=a"));
        let unknown = parse(&format!("composefs.digest=v3-x:{A} composefs.name=a")).unwrap();
        assert_eq!((unknown.name.as_deref(), unknown.skipped.len()), (Some("a"), 1));
    }

    #[test]
    fn lines_are_split_as_by_the_kernel() {
        let line = format!("a=\"x composefs={A}\" composefs={B}");
        let words = KernelWords::parse(&line).unwrap();
        assert_eq!(words.images.len(), 1);
        assert_eq!(words.images[0].digest.to_hex(), B);
    }

    #[test]
    fn a_question_mark_after_a_strict_word_has_no_effect() {
        let optional = |line: &str| -> Vec<bool> {
            KernelWords::parse(line).unwrap().images.iter().map(|image| image.is_verity_optional).collect()
        };
        assert_eq!(optional(&format!("composefs=?{A} composefs=?{B}")), [true, true]);
        assert_eq!(optional(&format!("composefs=?{A} composefs={B} composefs=?{A}")), [true, false, false]);
        // A strict word counts even if this program does not know its format.
        let line = format!("composefs.digest=v3-sha256-12:{B} composefs=?{A}");
        assert_eq!(optional(&line), [false]);
        assert_eq!(optional(&line.replace("v3", "?v3")), [true]);
    }

    #[test]
    fn unknown_words_are_found() {
        let unknown = |line: &str| KernelWords::parse(&format!("composefs={A} {line}")).unwrap().unknown;
        let line = "composefs.etc=none composefs.refused=reboot composefs.refused=shell composefs.vra=none x.y";
        assert_eq!(unknown(line), ["composefs.refused=shell", "composefs.vra=none"]);
        assert!(unknown("composefs.refused=poweroff composefs.var=bind").is_empty());
    }

    #[test]
    fn what_follows_a_refusal_is_known_even_if_the_line_is_wrong() {
        assert_eq!(Refused::of("composefs=abc composefs.refused=reboot"), Some(Refused::Reboot));
        assert_eq!(Refused::of("composefs.refused=reboot composefs.refused=poweroff"), Some(Refused::PowerOff));
        assert_eq!(Refused::of("composefs.refused=shell"), None);
        assert_eq!(Refused::of("xcomposefs.refused=reboot"), None);
        assert_eq!(kernel_value("root=/dev/vda root=/dev/vdb rootfstype=ext4", "root"), Some("/dev/vdb"));
        assert_eq!(kernel_value("rootx=1", "root"), None);
    }

    #[test]
    fn other_words() {
        let parse = |more: &str| KernelWords::parse(&format!("composefs={A} {more}"));
        assert_eq!(parse("composefs.etc=transient composefs.var=none").unwrap().etc, Some(MountChoice::Transient));
        assert!(matches!(parse("composefs.var=disk"), Err(WordError::Choice { .. })));
        assert!(parse("systemd.volatile=state").unwrap().is_volatile);
        assert!(!parse("systemd.volatile=no rw=1").unwrap().has_root_mode);
        assert_eq!(KernelWords::parse("root=/dev/vda rw"), Err(WordError::NoImage));
        assert!(KernelWords::is_of_ostree("ostree=/ostree/boot rw"));
        assert!(!KernelWords::is_of_ostree(&format!("ostree=/x composefs={A}")));
    }
}
