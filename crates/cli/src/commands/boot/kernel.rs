//! What the boot loader starts: a unified kernel image, or a kernel and its initramfs.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_disk::EfiProgram;
use libcomposefs_disk::entries::{
    BootEntryText, ENTRY_MAX, EntryFileName, EntryRank, NamedDigest, SystemNames, compare_versions, named_digests,
};
use libcomposefs_image::Digest;
use sha2::{Digest as _, Sha256};

use super::image_files::ImageFiles;
use crate::error_text::with_remedy;

/// Directory of the image that has a directory of modules for each kernel.
const MODULES: &str = "/usr/lib/modules";
/// Largest `os-release` that is read.
const OS_RELEASE_MAX: u64 = 65536;

/// Options that say what is started.
#[derive(clap::Args)]
pub(super) struct KernelArgs {
    /// Unified kernel image; its command line must name the image
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "option", "no_verity"])]
    uki: Option<PathBuf>,
    /// Kernel [default: that of the image's boot entry, or vmlinuz of the newest kernel in /usr/lib/modules of the
    /// image]
    #[arg(long, value_name = "FILE", requires = "initrd")]
    kernel: Option<PathBuf>,
    /// Initramfs; may be given several times [default: that of the image's boot entry, or initramfs.img or initrd
    /// beside the kernel]
    #[arg(long, value_name = "FILE")]
    initrd: Vec<PathBuf>,
}

impl KernelArgs {
    /// Returns true if no kernel is looked up in the image.
    pub(super) fn is_given(&self) -> bool {
        self.uki.is_some() || self.kernel.is_some()
    }
}

/// The files of a boot, and the words that come with them.
pub(super) struct BootProgram {
    /// The files: `uki.efi` alone, or `vmlinuz` and then the parts of the initramfs.
    pub(super) files: Vec<BootFile>,
    /// True for a unified kernel image, which has its own command line.
    pub(super) is_unified: bool,
    /// Set for a unified kernel image by `?`: no fs-verity is required.
    pub(super) is_verity_optional: bool,
    /// The words of the image's own boot entry.
    pub(super) words: Option<String>,
    pub(super) os: SystemNames,
}

/// A file for the partition.
pub(super) struct BootFile {
    pub(super) name: String,
    pub(super) size: u64,
    source: BootFileSource,
}

enum BootFileSource {
    Outside { path: PathBuf, file: File },
    InImage(String),
}

impl BootFile {
    fn outside(name: &str, path: &Path, file: File) -> anyhow::Result<Self> {
        let metadata = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        if !metadata.is_file() {
            bail!("{} is not a regular file", path.display());
        }
        let source = BootFileSource::Outside { path: path.to_owned(), file };
        Ok(Self { name: name.to_owned(), size: metadata.len(), source })
    }

    fn opened(name: &str, path: &Path) -> anyhow::Result<Self> {
        let opened = libcomposefs_sys::input::open(path).with_context(|| format!("cannot read {}", path.display()));
        Self::outside(name, path, opened?)
    }

    fn in_image(name: &str, path: String, image: &ImageFiles<'_, '_>) -> anyhow::Result<Option<Self>> {
        let size = image.size(path.as_bytes())?;
        Ok(size.map(|size| Self { name: name.to_owned(), size, source: BootFileSource::InImage(path) }))
    }

    /// Copies the content. Contents of the image are verified.
    pub(super) fn copy(&self, image: &ImageFiles<'_, '_>, out: &mut dyn Write) -> anyhow::Result<()> {
        match &self.source {
            BootFileSource::InImage(path) => image.copy(path.as_bytes(), out),
            BootFileSource::Outside { path, file } => {
                let mut file = file;
                let copied = file.seek(SeekFrom::Start(0)).and_then(|_| io::copy(&mut file, out));
                copied.with_context(|| format!("cannot copy {}", path.display()))?;
                Ok(())
            }
        }
    }

    /// Computes the SHA-256 of the content.
    pub(super) fn sha256(&self, image: &ImageFiles<'_, '_>) -> anyhow::Result<[u8; 32]> {
        let mut hash = HashingWriter { hash: Sha256::new(), out: io::sink() };
        self.copy(image, &mut hash)?;
        Ok(hash.hash.finalize().into())
    }
}

/// Writes to another writer, and computes the SHA-256 of what was written.
pub(super) struct HashingWriter<W> {
    pub(super) hash: Sha256,
    pub(super) out: W,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Finds what the boot loader starts for the image with this digest, whose kernel is looked up in `image`. `has_words`
/// is set if the caller has words for the command line.
pub(super) fn find(
    args: &KernelArgs,
    image: &ImageFiles<'_, '_>,
    digest: &Digest,
    has_words: bool,
) -> anyhow::Result<BootProgram> {
    let os = |text: Option<&str>| SystemNames::parse(text.unwrap_or_default());
    let in_image = os_release(image)?;
    if let Some(path) = &args.uki {
        return unified(path, digest, os(in_image.as_deref()));
    }
    let of_files = |files, words| BootProgram {
        files,
        words,
        is_unified: false,
        is_verity_optional: false,
        os: os(in_image.as_deref()),
    };
    if args.kernel.is_none()
        && let Some((path, is_verity_optional)) = unified_in_image(image, digest)?
    {
        if !args.initrd.is_empty() || has_words {
            bail!(
                "{path} of the image has its own initramfs and command line: leave --initrd, --option and --no-verity \
                 out"
            );
        }
        let headers = image.efi_headers(path.as_bytes())?;
        let names = headers.and_then(|headers| headers.os_release);
        let files = BootFile::in_image("uki.efi", path, image)?.into_iter().collect();
        let os = names.as_deref().map_or_else(|| os(in_image.as_deref()), SystemNames::parse);
        return Ok(BootProgram { files, is_unified: true, is_verity_optional, words: None, os });
    }
    if let Some(kernel) = &args.kernel {
        let mut files = vec![BootFile::opened("vmlinuz", kernel)?];
        files.extend(initrds(&args.initrd)?);
        return Ok(of_files(files, None));
    }
    let given = initrds(&args.initrd)?;
    if let Some((mut files, words)) = of_image_entry(image)? {
        if !given.is_empty() {
            files.truncate(1);
            files.extend(given);
        }
        return Ok(of_files(files, Some(words)));
    }
    Ok(of_files(of_modules(image, given)?, None))
}

fn initrds(paths: &[PathBuf]) -> anyhow::Result<Vec<BootFile>> {
    paths.iter().enumerate().map(|(number, path)| BootFile::opened(&initrd_name(number), path)).collect()
}

fn initrd_name(number: usize) -> String {
    if number == 0 { "initrd".to_owned() } else { format!("initrd-{}", number + 1) }
}

/// Opens a unified kernel image, whose command line must name the image first.
fn unified(path: &Path, digest: &Digest, in_image: SystemNames) -> anyhow::Result<BootProgram> {
    let program = EfiProgram::open(path)?;
    let headers = program.headers();
    let named = named_digests(headers.command_line.as_deref().unwrap_or_default());
    let is_verity_optional = match named.first() {
        Some(NamedDigest { digest: found, is_verity_optional }) if found == digest => *is_verity_optional,
        found => return Err(of_other_image(&path.display().to_string(), found, digest)),
    };
    let os = headers.os_release.as_deref().map_or(in_image, SystemNames::parse);
    let file = program.file().try_clone()?;
    let files = vec![BootFile::outside("uki.efi", path, file)?];
    Ok(BootProgram { files, is_unified: true, is_verity_optional, words: None, os })
}

/// Builds the error for a unified kernel image that boots something else.
fn of_other_image(shown: &str, found: Option<&NamedDigest>, digest: &Digest) -> anyhow::Error {
    let error = match found {
        Some(found) => format!("the command line of {shown} names the image {}, not {digest}", found.digest),
        None => format!("the command line of {shown} names no image, and the image is {digest}"),
    };
    with_remedy(error, format!("make the unified kernel image with the word composefs={digest}"))
}

/// Returns the path of the unified kernel image in an image that boots the image with this digest, and whether it
/// requires no fs-verity. Refuses one for another image.
fn unified_in_image(image: &ImageFiles<'_, '_>, digest: &Digest) -> anyhow::Result<Option<(String, bool)>> {
    let mut directories = vec!["/boot/EFI/Linux".to_owned()];
    directories.extend(image.names(MODULES.as_bytes())?.into_iter().map(|name| format!("{MODULES}/{name}")));
    for directory in directories {
        for name in image.names(directory.as_bytes())?.into_iter().filter(|name| name.ends_with(".efi")) {
            let path = format!("{directory}/{name}");
            let headers = image.efi_headers(path.as_bytes())?;
            let named = named_digests(headers.and_then(|headers| headers.command_line).unwrap_or_default().as_str());
            // Its command line cannot have the digest of the image that contains it, but that of the bootable image of
            // an OCI image with it.
            if let Some(found) = named.first() {
                if found.digest == *digest {
                    return Ok(Some((path, found.is_verity_optional)));
                }
                let error = format!("{path} of the image boots the image {}, not {digest}", found.digest);
                return Err(with_remedy(
                    error,
                    "give the unified kernel image for this image by --uki, or --kernel and --initrd",
                ));
            }
        }
    }
    Ok(None)
}

/// Returns the files and the words of the image's own boot entry, the first one in the order of the boot loader.
fn of_image_entry(image: &ImageFiles<'_, '_>) -> anyhow::Result<Option<(Vec<BootFile>, String)>> {
    let directory = "/boot/loader/entries";
    let mut entries = Vec::new();
    for name in image.names(directory.as_bytes())?.into_iter().filter(|name| name.ends_with(".conf")) {
        let path = format!("{directory}/{name}");
        let bytes = image.read(path.as_bytes(), ENTRY_MAX as u64)?.unwrap_or_default();
        let text = BootEntryText::parse(&bytes).with_context(|| format!("{path} of the image"))?;
        let of = |key: &str| text.get(key).map(str::to_owned);
        let name = EntryFileName::parse(&name);
        let rank = EntryRank { name, sort_key: of("sort-key"), machine_id: of("machine-id"), version: of("version") };
        if text.get("linux").is_some() {
            entries.push((rank, path, text));
        }
    }
    entries.sort_by(|one, two| one.0.compare(&two.0));
    let Some((_, path, text)) = entries.into_iter().next() else { return Ok(None) };
    let linux = text.get("linux").unwrap_or_default();
    let parts = std::iter::once((linux, "vmlinuz".to_owned()))
        .chain(text.all("initrd").enumerate().map(|(number, initrd)| (initrd, initrd_name(number))));
    let mut files = Vec::new();
    for (file, name) in parts {
        // Paths of an entry begin at its partition, which is /boot of the image.
        let file = format!("/boot/{}", file.trim_start_matches('/'));
        let found = BootFile::in_image(&name, file.clone(), image)?;
        files.push(
            found.with_context(|| format!("{path} of the image leads to {file}, which the image does not have"))?,
        );
    }
    Ok(Some((files, text.options())))
}

/// Returns the files of the newest kernel in the image's directory of modules.
fn of_modules(image: &ImageFiles<'_, '_>, given: Vec<BootFile>) -> anyhow::Result<Vec<BootFile>> {
    let mut versions = image.names(MODULES.as_bytes())?;
    versions.sort_by(|one, two| compare_versions(two, one));
    for version in versions {
        let at = |name: &str| format!("{MODULES}/{version}/{name}");
        let Some(kernel) = BootFile::in_image("vmlinuz", at("vmlinuz"), image)? else { continue };
        let mut files = vec![kernel];
        if given.is_empty() {
            let initramfs = BootFile::in_image("initrd", at("initramfs.img"), image)?;
            let found =
                initramfs.map_or_else(|| BootFile::in_image("initrd", at("initrd"), image), |found| Ok(Some(found)));
            files.push(found?.ok_or_else(|| {
                let error = format!("the image has no {} and no initrd beside its kernel", at("initramfs.img"));
                with_remedy(error, "give the initramfs by --initrd, or a unified kernel image by --uki")
            })?);
        }
        files.extend(given);
        return Ok(files);
    }
    Err(with_remedy(
        format!("the image has no boot entry in /boot/loader/entries, and no vmlinuz in {MODULES}/VERSION"),
        "give --kernel and --initrd, or a unified kernel image by --uki",
    ))
}

fn os_release(image: &ImageFiles<'_, '_>) -> anyhow::Result<Option<String>> {
    for path in [&b"/usr/lib/os-release"[..], b"/etc/os-release"] {
        if let Some(bytes) = image.read(path, OS_RELEASE_MAX)? {
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(None)
}
