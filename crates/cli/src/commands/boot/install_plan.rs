//! What an installation writes to the partition, decided before anything is written.

use anyhow::bail;
use libcomposefs_disk::entries::{
    BootCounter, BootEntryText, EntryFileName, OwnEntryName, named_digests, options_with_image,
};
use libcomposefs_image::Digest;
use sha2::{Digest as _, Sha256};

use super::esp::EspDirectory;
use super::found::{BootEntry, ENTRIES};
use super::image_files::ImageFiles;
use super::kernel::{BootProgram, HashingWriter};
use super::publish::KERNELS;
use crate::error_text::with_remedy;
use crate::json::hex;

/// Longest command line that the kernel takes on x86-64 and 64-bit ARM (`COMMAND_LINE_SIZE`), without its final zero.
const COMMAND_LINE_MAX: usize = 2047;
/// Words that every entry has: a panic boots again.
const PANIC: &str = "panic=10";
/// Word for entries whose attempts are counted: a refused boot is one that failed, and boots again.
const REFUSED: &str = "composefs.refused=reboot";
/// Sort key of our entries.
pub(super) const SORT_KEY: &str = "composefs";
/// Most new directories: two of the entries, and two of the kernel.
const DIRECTORIES: u64 = 4;

/// What the entry says besides its files.
pub(super) struct EntryWish<'a> {
    pub(super) generation: u64,
    pub(super) digest: Digest,
    /// Version of the image's format.
    pub(super) format_version: u32,
    /// Name of the image, for people.
    pub(super) name: &'a str,
    pub(super) tries: Option<u64>,
    pub(super) is_verity_optional: bool,
    /// Words of the command line.
    pub(super) words: String,
}

/// What is written.
pub(super) struct InstallPlan {
    pub(super) name: EntryFileName,
    pub(super) text: BootEntryText,
    /// Directory of the files.
    pub(super) directory: String,
    /// For each file of the program, its SHA-256, and whether the partition has it.
    pub(super) files: Vec<([u8; 32], bool)>,
    /// Bytes that the partition must have free.
    pub(super) needed: u64,
}

impl InstallPlan {
    pub(super) fn new(
        wish: &EntryWish<'_>,
        program: &BootProgram,
        image: &ImageFiles<'_, '_>,
        esp: &EspDirectory,
    ) -> anyhow::Result<Self> {
        let hashes = program.files.iter().map(|file| file.sha256(image)).collect::<Result<Vec<_>, _>>()?;
        let key = hashes.iter().fold(Sha256::new(), |all, hash| all.chain_update(hash)).finalize();
        let directory = format!("{KERNELS}/{}", hex(&key));
        let counter = wish.tries.map(|left| BootCounter { left, done: 0 });
        let name = OwnEntryName::new(wish.generation, &wish.digest.to_hex()).file_name(counter);
        let text = entry_text(wish, program, &directory)?;
        let is_there = |(at, hash): (usize, &[u8; 32])| {
            let path = format!("{directory}/{}", program.files[at].name);
            (*hash, has_content(esp, &path, hash))
        };
        let files: Vec<_> = hashes.iter().enumerate().map(is_there).collect();
        let new = program.files.iter().zip(&files).filter(|(_, (_, is_there))| !is_there).map(|(file, _)| file.size);
        let needed = esp.space()?.needed(new.chain([text.to_string().len() as u64]), DIRECTORIES);
        Ok(Self { name, text, directory, files, needed })
    }

    /// Returns the path of the entry, below the partition.
    pub(super) fn path(&self) -> String {
        format!("{ENTRIES}/{}", self.name)
    }

    /// Checks that the partition has room for all of it.
    pub(super) fn expect_room(&self, esp: &EspDirectory) -> anyhow::Result<()> {
        let (free, needed) = (esp.space()?.free, self.needed);
        if needed <= free {
            return Ok(());
        }
        let error = format!(
            "kernel, initramfs and entry need {needed} bytes on {}, which has {free} free",
            esp.path().display()
        );
        Err(with_remedy(error, "composefs boot remove ENTRY removes an old entry with its kernel"))
    }
}

/// Returns whether the partition has a file with this content.
fn has_content(esp: &EspDirectory, path: &str, hash: &[u8; 32]) -> bool {
    let Ok(mut file) = esp.file(path) else { return false };
    let mut found = HashingWriter { hash: Sha256::new(), out: std::io::sink() };
    std::io::copy(&mut file, &mut found).is_ok() && found.hash.finalize()[..] == hash[..]
}

fn entry_text(wish: &EntryWish<'_>, program: &BootProgram, directory: &str) -> anyhow::Result<BootEntryText> {
    let mut text = BootEntryText::default();
    let title = program.os.title.as_deref().map_or_else(|| wish.name.to_owned(), |os| format!("{os} ({})", wish.name));
    text.push("title", &title);
    text.push("sort-key", SORT_KEY);
    text.push("version", &wish.generation.to_string());
    if program.is_unified {
        text.push("efi", &format!("/{directory}/{}", program.files[0].name));
        return Ok(text);
    }
    for (number, file) in program.files.iter().enumerate() {
        text.push(if number == 0 { "linux" } else { "initrd" }, &format!("/{directory}/{}", file.name));
    }
    let added: &[&str] = if wish.tries.is_some() { &[PANIC, REFUSED] } else { &[PANIC] };
    let options = options_with_image(&wish.words, &image_word(wish), added);
    // In an open quote, the word of the image would be a part of another one.
    if named_digests(&options).first().is_none_or(|named| named.digest != wish.digest) {
        bail!("the words for the kernel have a quote that does not end: {:?}", wish.words);
    }
    if options.len() > COMMAND_LINE_MAX {
        bail!("the command line has {} bytes, and the kernel takes {COMMAND_LINE_MAX}", options.len());
    }
    text.push("options", &options);
    Ok(text)
}

/// Returns the word that names the image, with its format where other programs distinguish formats.
fn image_word(wish: &EntryWish<'_>) -> String {
    let optional = if wish.is_verity_optional { "?" } else { "" };
    let hex = wish.digest.to_hex();
    let algorithm = wish.digest.algorithm();
    match wish.format_version {
        0 | 1 => format!("composefs.digest={optional}v1-{algorithm}-12:{hex}"),
        _ => format!("composefs={optional}{hex}"),
    }
}

/// Returns the words of the entry that is started next, if it boots an image: those of a new entry by default.
pub(super) fn inherited_words(next: Option<&BootEntry>) -> String {
    next.filter(|entry| !entry.named.is_empty()).map(|entry| entry.command_line.clone()).unwrap_or_default()
}
