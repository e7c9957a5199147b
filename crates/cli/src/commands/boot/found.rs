//! The entries of a partition, in the order in which systemd-boot starts them.

use std::io;

use globset::GlobBuilder;
use libcomposefs_disk::EfiHeaders;
use libcomposefs_disk::entries::{
    BootEntryText, ENTRY_MAX, EntryFileName, EntryRank, EntryUse, NamedDigest, OwnEntryName, SystemNames, named_digests,
};
use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use super::esp::EspDirectory;

/// Directory of entries that are text files (Type 1).
pub(super) const ENTRIES: &str = "loader/entries";
/// Directory of unified kernel images that are entries themselves (Type 2).
const KERNELS: &str = "EFI/Linux";

/// An entry of the boot loader.
#[derive(Debug)]
pub(super) struct BootEntry {
    /// Path of the file, below the partition.
    pub(super) path: String,
    /// What the entry is sorted by.
    pub(super) rank: EntryRank,
    /// Set for an entry that `composefs boot install` has made.
    pub(super) own: Option<OwnEntryName>,
    pub(super) title: Option<String>,
    /// The text of an entry of Type 1.
    pub(super) text: Option<BootEntryText>,
    /// Paths of the files that the boot loader reads, below the partition.
    pub(super) files: Vec<String>,
    /// A file that does not exist, so that the boot loader leaves the entry out.
    pub(super) missing: Option<String>,
    /// The command line of the kernel.
    pub(super) command_line: String,
    /// Images that the command line names.
    pub(super) named: Vec<NamedDigest>,
}

/// All entries of a partition.
#[derive(Debug)]
pub(super) struct BootEntries {
    /// The entries, the first one to be started first.
    pub(super) all: Vec<BootEntry>,
    /// Files that are no entry that can be read, with the reasons.
    pub(super) unread: Vec<(String, String)>,
    /// Value of `default` in `loader.conf`, which takes precedence over the order.
    pub(super) default: Option<String>,
}

impl BootEntry {
    /// Returns the name of the file without a counter.
    pub(super) fn id(&self) -> String {
        self.rank.name.id()
    }

    /// Returns the name of the file.
    pub(super) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Returns true if the boot loader passes over the entry.
    pub(super) fn is_failed(&self) -> bool {
        self.rank.name.is_failed() || self.missing.is_some()
    }

    /// Returns the image that the entry boots: the first named one that the repository has, otherwise the first one.
    pub(super) fn digest(&self, repository: Option<&Repository>) -> Option<Digest> {
        let has = |named: &&NamedDigest| repository.is_some_and(|repo| repo.has_image(&named.digest).unwrap_or(false));
        self.named.iter().find(has).or(self.named.first()).map(|named| named.digest)
    }
}

impl BootEntries {
    /// Reads the entries.
    pub(super) fn read(esp: &EspDirectory) -> anyhow::Result<Self> {
        let mut found = Self { all: Vec::new(), unread: Vec::new(), default: default_of(esp) };
        for (directory, ending, read) in [
            (ENTRIES, ".conf", text_entry as fn(&EspDirectory, String) -> io::Result<BootEntry>),
            (KERNELS, ".efi", kernel_entry),
        ] {
            for name in esp.names(directory)? {
                if !name.to_ascii_lowercase().ends_with(ending) {
                    continue;
                }
                let path = format!("{directory}/{name}");
                match read(esp, path.clone()) {
                    Ok(entry) => found.all.push(entry),
                    Err(error) => found.unread.push((path, error.to_string())),
                }
            }
        }
        // The boot loader leaves out an entry without its files.
        let is_left_out = |entry: &BootEntry| entry.missing.is_some();
        found.all.sort_by(|one, two| is_left_out(one).cmp(&is_left_out(two)).then_with(|| one.rank.compare(&two.rank)));
        Ok(found)
    }

    /// Returns what choices among the entries depend on.
    pub(super) fn uses(&self, repository: Option<&Repository>, booted: Option<&Digest>) -> Vec<EntryUse> {
        let of = |entry: &BootEntry| {
            let digest = entry.digest(repository);
            EntryUse {
                generation: entry.own.as_ref().map(|own| own.generation),
                digest,
                is_failed: entry.is_failed(),
                is_booted: digest.is_some() && digest.as_ref() == booted,
            }
        };
        self.all.iter().map(of).collect()
    }

    /// Returns the index of the entry that is started next, and whether `loader.conf` chooses it.
    pub(super) fn next(&self) -> Option<(usize, bool)> {
        let by_default = self.default.as_deref().and_then(|pattern| self.matching(pattern));
        let by_order = || self.all.iter().position(|entry| entry.missing.is_none());
        by_default.map(|at| (at, true)).or_else(|| Some((by_order()?, false)))
    }

    fn matching(&self, pattern: &str) -> Option<usize> {
        let glob = GlobBuilder::new(pattern).case_insensitive(true).build().ok()?.compile_matcher();
        self.all.iter().position(|entry| entry.missing.is_none() && glob.is_match(entry.id()))
    }
}

/// Returns the pattern of the entry that `loader.conf` makes the default.
fn default_of(esp: &EspDirectory) -> Option<String> {
    let text = BootEntryText::parse(&esp.read("loader/loader.conf", ENTRY_MAX).ok()?).ok()?;
    text.get("default").map(str::to_owned)
}

/// Reads an entry of Type 1.
fn text_entry(esp: &EspDirectory, path: String) -> io::Result<BootEntry> {
    let text = BootEntryText::parse(&esp.read(&path, ENTRY_MAX)?).map_err(io::Error::other)?;
    let name = EntryFileName::parse(path.rsplit('/').next().unwrap_or_default());
    let files: Vec<String> = text.files().collect();
    let missing = files.iter().find(|file| esp.file(file).is_err()).cloned();
    let mut command_line = text.options();
    if let Some(kernel) = text.get("efi").or(text.get("uki"))
        && let Ok(Some(EfiHeaders { command_line: Some(line), .. })) =
            esp.file(kernel.replace('\\', "/").trim_matches('/')).and_then(|file| EfiHeaders::of(&file))
    {
        // systemd-stub takes the line of the signed file.
        command_line = line;
    }
    let of = |key: &str| text.get(key).map(str::to_owned);
    Ok(BootEntry {
        own: OwnEntryName::of(&name),
        title: of("title"),
        rank: EntryRank { name, sort_key: of("sort-key"), machine_id: of("machine-id"), version: of("version") },
        named: named_digests(&command_line),
        text: Some(text),
        path,
        files,
        missing,
        command_line,
    })
}

/// Reads a unified kernel image.
fn kernel_entry(esp: &EspDirectory, path: String) -> io::Result<BootEntry> {
    let headers = EfiHeaders::of(&esp.file(&path)?)?.ok_or_else(|| io::Error::other("it is no EFI program"))?;
    let SystemNames { title, version, sort_key } =
        SystemNames::parse(headers.os_release.as_deref().unwrap_or_default());
    let name = EntryFileName::parse(path.rsplit('/').next().unwrap_or_default());
    let command_line = headers.command_line.unwrap_or_default();
    Ok(BootEntry {
        own: None,
        title,
        rank: EntryRank { name, sort_key, machine_id: None, version },
        text: None,
        files: vec![path.clone()],
        path,
        missing: None,
        named: named_digests(&command_line),
        command_line,
    })
}
