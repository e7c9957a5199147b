//! The composefs mounts that can be seen here: those of the mount namespace, by `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use libcomposefs_image::Digest;

use crate::plan::SOURCE;

/// A composefs mount of the list of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountEntry {
    /// Number of the mount, which the kernel gives to another one after this has ended.
    pub id: Option<u64>,
    /// Directory that it is mounted at.
    pub target: PathBuf,
    /// The image, if the mount says which it is.
    pub digest: Option<Digest>,
    /// The options of the overlay, as the kernel shows them.
    pub options: String,
}

/// Lists the composefs mounts, in the order they were made.
///
/// # Errors
///
/// If the list cannot be read.
pub fn mounts() -> io::Result<Vec<MountEntry>> {
    Ok(entries(&std::fs::read("/proc/self/mountinfo")?))
}

pub(crate) fn entries(mountinfo: &[u8]) -> Vec<MountEntry> {
    let composefs = lines(mountinfo).filter(Line::is_composefs);
    composefs
        .map(|line| MountEntry {
            id: line.id,
            digest: line.digest(),
            options: String::from_utf8_lossy(line.options).into_owned(),
            target: line.target,
        })
        .collect()
}

/// A line is `id parent dev root mountpoint options [fields...] - fs source options`
/// (`Documentation/filesystems/proc.rst`, section 3.5).
#[derive(Debug)]
pub(crate) struct Line<'m> {
    /// Number of the mount; `statx` has it too.
    pub(crate) id: Option<u64>,
    pub(crate) target: PathBuf,
    pub(crate) file_system: &'m [u8],
    pub(crate) source: Vec<u8>,
    options: &'m [u8],
}

impl Line<'_> {
    /// Returns true if this program or the C tools mounted it.
    pub(crate) fn is_composefs(&self) -> bool {
        (self.file_system == b"overlay" || self.is_fuse())
            && (self.source == SOURCE.as_bytes() || self.source.starts_with(b"composefs:"))
    }

    /// Returns true for a mount that a process of this program serves.
    pub(crate) fn is_fuse(&self) -> bool {
        self.file_system == b"fuse.composefs"
    }

    fn digest(&self) -> Option<Digest> {
        Digest::from_hex(self.source.strip_prefix(b"composefs:")?).ok()
    }
}

/// The mounts: one that is listed later covers others at the same path.
pub(crate) fn lines(mountinfo: &[u8]) -> impl Iterator<Item = Line<'_>> {
    mountinfo.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = fields.next().and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        let target = PathBuf::from(OsString::from_vec(unquote(fields.nth(3)?)));
        fields.find(|&field| field == b"-")?;
        let (file_system, source) = (fields.next()?, unquote(fields.next()?));
        Some(Line { id, target, file_system, source, options: fields.next().unwrap_or_default() })
    })
}

/// Turns `\040` and its like back into the bytes they stand for.
fn unquote(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal =
            after.first_chunk::<3>().filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        if let Some(digits) = octal {
            let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            plain.push(value as u8);
            rest = &after[3..];
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composefs_mounts_are_found() {
        let hex = "ab".repeat(32);
        let text = format!(
            "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
             45 27 0:40 / /a\\040b ro,relatime - overlay composefs ro,metacopy=on\n\
             49 27 0:44 / /fuse ro - fuse.composefs composefs ro\n50 27 0:45 / /not - fuse.other composefs ro\n\
             46 27 0:41 / /twice ro - overlay composefs:{hex} ro\n\
             47 46 0:42 / /twice rw - tmpfs tmp rw\n48 27 0:43 / /other rw - overlay overlay rw\n"
        );
        let entry = |id, target: &str, digest, options: &str| {
            let (target, options) = (target.into(), options.into());
            MountEntry { id: Some(id), target, digest, options }
        };
        let digest = Digest::from_hex(&hex).ok();
        let expected = [
            entry(45, "/a b", None, "ro,metacopy=on"),
            entry(49, "/fuse", None, "ro"),
            entry(46, "/twice", digest, "ro"),
        ];
        assert_eq!(entries(text.as_bytes()), expected);
        let topmost = lines(text.as_bytes()).filter(|line| line.target.as_os_str() == "/twice").last().unwrap();
        assert!(!topmost.is_composefs());
    }

    #[test]
    fn quoting_is_undone() {
        assert_eq!(unquote(br"/a\040b\134\011"), b"/a b\\\t");
        assert_eq!(unquote(br"a\04"), br"a\04");
    }
}
