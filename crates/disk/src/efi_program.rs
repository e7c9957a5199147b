//! EFI programs: unified kernel images and boot loaders. Their headers are read, their code is not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;

use crate::architecture::Architecture;
use crate::entries::named_digests;
use crate::error::DiskError;

/// Longest section that is read: of a command line, or of an `os-release`.
const TEXT_MAX: u32 = 65536;
/// Most sections of a program.
const SECTIONS_MAX: u16 = 96;
/// Longest name of a file in the directory of a boot loader.
const NAME_MAX: usize = 128;

/// An EFI program, open for reading.
#[derive(Debug)]
pub struct EfiProgram {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) size: u64,
    headers: EfiHeaders,
}

impl EfiProgram {
    /// Opens a file and reads its headers.
    ///
    /// # Errors
    ///
    /// [`DiskError::Read`]; [`DiskError::Efi`] for a file that is no EFI program, or whose name does not end in `.efi`.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let read = |source| DiskError::Read { path: path.to_owned(), source };
        let wrong = |reason: &str| DiskError::Efi { path: path.to_owned(), reason: reason.to_owned() };
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_plain(name)).ok_or_else(|| {
            wrong("the name of an EFI program has ASCII letters, digits, '.', '_', '+' and '-', and ends in .efi")
        })?;
        let file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(wrong("it is not a regular file"));
        }
        let headers = EfiHeaders::of(&file).map_err(read)?;
        let headers = headers.ok_or_else(|| wrong("it is no EFI program for x86_64 or aarch64"))?;
        let (path, name, size) = (path.to_owned(), name.to_owned(), metadata.len());
        Ok(Self { file, path, name, size, headers })
    }

    /// Returns the processor that the program is for.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.headers.architecture
    }

    /// Returns what the headers say.
    #[must_use]
    pub fn headers(&self) -> &EfiHeaders {
        &self.headers
    }

    /// Returns the open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the length of the file when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Checks that the command line of a unified kernel image, if it has one, names an image.
    pub(crate) fn expect_image(&self, digest: &Digest) -> Result<(), DiskError> {
        let Some(line) = &self.headers.command_line else { return Ok(()) };
        if named_digests(line).iter().any(|named| named.digest == *digest) {
            return Ok(());
        }
        let hex = digest.to_hex();
        let reason = format!("its command line has no word composefs={hex}: no other image is on the disk");
        Err(DiskError::Efi { path: self.path.clone(), reason })
    }
}

/// A name that FAT takes as it is. `+` counts the attempts to boot.
fn is_plain(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-');
    let stem = name.len().checked_sub(4).and_then(|end| name.split_at_checked(end));
    stem.is_some_and(|(stem, end)| !stem.is_empty() && end.eq_ignore_ascii_case(".efi"))
        && name.len() <= NAME_MAX
        && !name.starts_with('.')
        && name.bytes().all(is_allowed)
}

/// What the headers of an EFI program say, and the texts in the sections of a unified kernel image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EfiHeaders {
    /// The processor that the program is for.
    pub architecture: Architecture,
    /// The command line (`.cmdline`), if the program has one.
    pub command_line: Option<String>,
    /// The text of `os-release` (`.osrel`), if the program has it.
    pub os_release: Option<String>,
}

impl EfiHeaders {
    /// Reads the headers of a file; `None` for another file, or another processor.
    ///
    /// # Errors
    ///
    /// Reading failed.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        Self::read(&|bytes, offset| file.read_exact_at(bytes, offset))
    }

    /// Reads the headers of a program in memory; `None` for other bytes, or another processor.
    #[must_use]
    pub fn of_bytes(program: &[u8]) -> Option<Self> {
        let read = |bytes: &mut [u8], offset: u64| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = start.checked_add(bytes.len()).and_then(|end| program.get(start..end));
            bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        Self::read(&read).ok().flatten()
    }

    fn read(read_at: &ReadProgramAt<'_>) -> io::Result<Option<Self>> {
        match Self::read_program(read_at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read,
        }
    }

    /// Reads a program (PE32+).
    fn read_program(read_at: &ReadProgramAt<'_>) -> io::Result<Option<Self>> {
        let dos: [u8; 64] = at(read_at, 0)?;
        let start = u64::from(u32::from_le_bytes([dos[60], dos[61], dos[62], dos[63]]));
        let head: [u8; 24] = at(read_at, start)?;
        if !dos.starts_with(b"MZ") || !head.starts_with(b"PE\0\0") {
            return Ok(None);
        }
        let field = |offset: usize| u16::from_le_bytes([head[offset], head[offset + 1]]);
        let Some(architecture) = Architecture::from_machine(field(4)) else { return Ok(None) };
        let sections = start + 24 + u64::from(field(20));
        let mut headers = Self { architecture, command_line: None, os_release: None };
        for number in 0..field(6).min(SECTIONS_MAX) {
            let section: [u8; 40] = at(read_at, sections + 40 * u64::from(number))?;
            // With several profiles, the first section of a name is that of the program itself.
            let text = match &section[..8] {
                b".cmdline" => &mut headers.command_line,
                b".osrel\0\0" => &mut headers.os_release,
                _ => continue,
            };
            if text.is_none() {
                *text = Some(section_text(read_at, &section)?);
            }
        }
        Ok(Some(headers))
    }
}

type ReadProgramAt<'a> = dyn Fn(&mut [u8], u64) -> io::Result<()> + 'a;

fn section_text(read_at: &ReadProgramAt<'_>, section: &[u8; 40]) -> io::Result<String> {
    let word = |at: usize| u32::from_le_bytes([section[at], section[at + 1], section[at + 2], section[at + 3]]);
    let mut text = vec![0; word(8).min(word(16)).min(TEXT_MAX) as usize];
    read_at(&mut text, word(20).into())?;
    Ok(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
}

fn at<const N: usize>(read_at: &ReadProgramAt<'_>, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    read_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use libcomposefs_testkit::efi::efi_program as program;

    use super::*;

    fn opened(name: &str, bytes: &[u8]) -> Result<EfiProgram, DiskError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        EfiProgram::open(&path)
    }

    #[test]
    fn the_processor_is_that_of_the_header() {
        let of = |machine| opened("a.efi", &program(machine, None)).map(|found| found.architecture());
        assert_eq!(of(0x8664).unwrap(), Architecture::X86_64);
        assert_eq!(of(0xaa64).unwrap(), Architecture::Aarch64);
        assert!(of(0x14c).unwrap_err().to_string().ends_with("it is no EFI program for x86_64 or aarch64"));
        assert!(opened("a.efi", b"MZ").is_err());
        assert!(opened("a.efi", &[0; 600]).is_err());
    }

    #[test]
    fn bytes_are_read_as_a_file_is() {
        let bytes = program(0x8664, Some("rw quiet\0"));
        let headers = EfiHeaders::of_bytes(&bytes).unwrap();
        assert_eq!(headers.command_line.as_deref(), Some("rw quiet"));
        assert_eq!(&headers, opened("a.efi", &bytes).unwrap().headers());
        // The section ends after the file, or is somewhere else.
        assert_eq!(EfiHeaders::of_bytes(&bytes[..bytes.len() - 1]), None);
        let mut far = bytes.clone();
        far[108..112].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(EfiHeaders::of_bytes(&far), None);
        let mut named = bytes;
        named[88..96].copy_from_slice(b".osrel\0\0");
        let headers = EfiHeaders::of_bytes(&named).unwrap();
        assert_eq!((headers.command_line, headers.os_release.as_deref()), (None, Some("rw quiet")));
    }

    #[test]
    fn names_are_those_that_fat_takes() {
        let bytes = program(0x8664, None);
        for name in ["a.efi", "composefs-1+3.efi", "A_1.2.EFI"] {
            opened(name, &bytes).unwrap();
        }
        for name in ["a.ef", ".efi", "a b.efi", "é.efi", &format!("{}.efi", "a".repeat(125))] {
            assert!(opened(name, &bytes).unwrap_err().to_string().contains("ends in .efi"), "{name}");
        }
    }

    #[test]
    fn the_command_line_names_the_image() {
        let digest = Digest::from_hex("ab".repeat(32)).unwrap();
        let hex = digest.to_hex();
        let check = |line: &str| opened("a.efi", &program(0x8664, Some(line))).unwrap().expect_image(&digest);
        for line in [
            format!("rw composefs={hex}"),
            format!("composefs=?{hex} rw"),
            format!("composefs.digest=v2-sha256-12:{hex}\0\0"),
        ] {
            check(&line).unwrap();
        }
        for line in [String::new(), format!("composefs={}", "cd".repeat(32)), format!("other={hex}")] {
            assert!(check(&line).unwrap_err().to_string().contains("its command line has no word composefs="));
        }
        opened("a.efi", &program(0x8664, None)).unwrap().expect_image(&digest).unwrap();
    }
}
