//! EFI programs: unified kernel images and boot loaders. Their headers are read, their code is not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;

use crate::architecture::Architecture;
use crate::error::DiskError;

/// Longest command line that is read.
const COMMAND_LINE_MAX: u32 = 65536;
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
    pub(crate) architecture: Architecture,
    command_line: Option<String>,
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
        let headers = match Headers::read(&file) {
            Ok(headers) => headers,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(read(error)),
        };
        let headers = headers.ok_or_else(|| wrong("it is no EFI program for x86_64 or aarch64"))?;
        let Headers { architecture, command_line } = headers;
        let (path, name, size) = (path.to_owned(), name.to_owned(), metadata.len());
        Ok(Self { file, path, name, size, architecture, command_line })
    }

    /// Returns the processor that the program is for.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Checks that the command line of a unified kernel image, if it has one, names an image.
    pub(crate) fn expect_image(&self, digest: &Digest) -> Result<(), DiskError> {
        let Some(line) = &self.command_line else { return Ok(()) };
        let hex = digest.to_hex();
        let is_named = |word: &str| {
            let value = word.strip_prefix("composefs=").or_else(|| word.strip_prefix("composefs.digest="));
            value.is_some_and(|value| value.rsplit([':', '?']).next() == Some(&*hex))
        };
        if line.split_ascii_whitespace().any(is_named) {
            return Ok(());
        }
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

struct Headers {
    architecture: Architecture,
    command_line: Option<String>,
}

impl Headers {
    /// Reads the headers of a program (PE32+); `None` for another file, or another processor.
    fn read(file: &File) -> io::Result<Option<Self>> {
        let dos: [u8; 64] = at(file, 0)?;
        let start = u64::from(u32::from_le_bytes([dos[60], dos[61], dos[62], dos[63]]));
        let head: [u8; 24] = at(file, start)?;
        if !dos.starts_with(b"MZ") || !head.starts_with(b"PE\0\0") {
            return Ok(None);
        }
        let field = |offset: usize| u16::from_le_bytes([head[offset], head[offset + 1]]);
        let Some(architecture) = Architecture::from_machine(field(4)) else { return Ok(None) };
        let sections = start + 24 + u64::from(field(20));
        let mut command_line = None;
        for number in 0..field(6).min(SECTIONS_MAX) {
            let section: [u8; 40] = at(file, sections + 40 * u64::from(number))?;
            if &section[..8] != b".cmdline" {
                continue;
            }
            let word = |at: usize| u32::from_le_bytes([section[at], section[at + 1], section[at + 2], section[at + 3]]);
            let mut text = vec![0; word(8).min(word(16)).min(COMMAND_LINE_MAX) as usize];
            file.read_exact_at(&mut text, word(20).into())?;
            command_line = Some(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned());
        }
        Ok(Some(Self { architecture, command_line }))
    }
}

fn at<const N: usize>(file: &File, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program without code.
    fn program(machine: u16, line: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[60] = 64;
        bytes[64..68].copy_from_slice(b"PE\0\0");
        bytes[68..70].copy_from_slice(&machine.to_le_bytes());
        if let Some(line) = line {
            bytes[70] = 1;
            bytes[88..96].copy_from_slice(b".cmdline");
            for at in [96, 104] {
                bytes[at..at + 4].copy_from_slice(&(line.len() as u32).to_le_bytes());
            }
            bytes[108..112].copy_from_slice(&512_u32.to_le_bytes());
            bytes.extend_from_slice(line.as_bytes());
        }
        bytes
    }

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
