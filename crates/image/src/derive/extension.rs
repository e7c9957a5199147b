//! System and configuration extension images among the bases: which images are, and whether they fit the system
//! (systemd-sysext(8), "Extension Images"; os-release(5)).

use std::error::Error;

use super::{BaseKind, OsRelease};
use crate::display::shown;
use crate::tree::{Data, Inode, InodeId, Kind, Tree};

/// Longest release file that is read, in bytes.
const MAX_RELEASE: u64 = 64 << 10;
const PREFIX: &[u8] = b"extension-release.";
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// The two kinds of extensions: where their release files are, and the field of their level.
const KINDS: [(BaseKind, &str, &str); 2] = [
    (BaseKind::Sysext, "usr/lib/extension-release.d", "SYSEXT_LEVEL"),
    (BaseKind::Confext, "etc/extension-release.d", "CONFEXT_LEVEL"),
];

/// The function that returns the content of a file which is not in its image.
pub type ReadContent<'r> = dyn FnMut(&Inode<'_>) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> + 'r;

/// Reasons why an extension image cannot be merged with a system.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// A release file cannot be read.
    #[error("cannot read {}: {source}", shown(path))]
    Read {
        /// Path of the file in its image.
        path: Vec<u8>,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A release file is too large.
    #[error("{} has {size} bytes: at most {MAX_RELEASE} are read", shown(path))]
    TooLarge {
        /// Path of the file in its image.
        path: Vec<u8>,
        /// Size of the file.
        size: u64,
    },
    /// The image has no release file of its kind.
    #[error("the image has no /{directory}/extension-release.NAME, so it is no {kind} image")]
    NoRelease {
        /// Directory of the file.
        directory: &'static str,
        /// Name of the kind.
        kind: &'static str,
    },
    /// The system has no os-release file.
    #[error("the layers have neither /etc/os-release nor /usr/lib/os-release, which the extension is compared with")]
    NoOsRelease,
    /// The extension is for another system.
    #[error("{}: {mismatch}", shown(path))]
    Mismatch {
        /// Path of the release file in the extension.
        path: Vec<u8>,
        /// The field that does not fit.
        mismatch: ExtensionMismatch,
    },
}

/// A field of a release file that does not fit the system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the extension is for {field}={}, and the system has {}",
    extension.as_deref().unwrap_or("(not set)"),
    system.as_deref().map_or_else(|| "no such field".to_owned(), |value| format!("{field}={value}"))
)]
#[non_exhaustive]
pub struct ExtensionMismatch {
    /// Name of the field.
    pub field: &'static str,
    /// Its value in the extension.
    pub extension: Option<String>,
    /// Its value in the system.
    pub system: Option<String>,
}

/// Returns which kind of extension image a tree is of: one that has a release file of extensions, and no os-release, as
/// a whole system has. `None` for all others.
#[must_use]
pub fn extension_kind(tree: &Tree) -> Option<BaseKind> {
    if OS_RELEASE.iter().any(|path| find(tree, path).is_some()) {
        return None;
    }
    let has = |directory: &str| !release_files(tree, directory).is_empty();
    match KINDS.map(|(_, directory, _)| has(directory)) {
        [true, true] => Some(BaseKind::SysextAndConfext),
        [true, false] => Some(BaseKind::Sysext),
        [false, true] => Some(BaseKind::Confext),
        [false, false] => None,
    }
}

/// A system that extensions are compared with.
#[derive(Clone, Debug)]
pub struct ExtensionCheck {
    os_release: OsRelease,
}

impl ExtensionCheck {
    /// Reads the os-release file of the overlay of all layers.
    ///
    /// # Errors
    ///
    /// [`ExtensionError`]
    pub fn of_system(tree: &Tree, read: &mut ReadContent<'_>) -> Result<Self, ExtensionError> {
        let regular = |path: &&str| find(tree, path).filter(|id| tree.inode(*id).kind() == Kind::Regular);
        let file = OS_RELEASE.iter().find_map(regular).ok_or(ExtensionError::NoOsRelease)?;
        Ok(Self { os_release: OsRelease::parse(&content(tree, file, read)?) })
    }

    /// Compares an extension with the system. Each of its release files must fit.
    ///
    /// # Errors
    ///
    /// [`ExtensionError`]
    pub fn check(&self, tree: &Tree, kind: BaseKind, read: &mut ReadContent<'_>) -> Result<(), ExtensionError> {
        for (one, directory, level) in KINDS {
            if kind != one && kind != BaseKind::SysextAndConfext {
                continue;
            }
            let files = release_files(tree, directory);
            if files.is_empty() {
                return Err(ExtensionError::NoRelease { directory, kind: one.name() });
            }
            for file in files {
                let release = OsRelease::parse(&content(tree, file, read)?);
                compare(&release, &self.os_release, level)
                    .map_err(|mismatch| ExtensionError::Mismatch { path: tree.path_of(file), mismatch })?;
            }
        }
        Ok(())
    }
}

/// Compares the fields as `extension_release_validate` of systemd does (`src/shared/extension-util.c`).
fn compare(extension: &OsRelease, system: &OsRelease, level: &'static str) -> Result<(), ExtensionMismatch> {
    let differs = |field: &'static str| {
        let text = |release: &OsRelease| release.get(field).map(str::to_owned);
        ExtensionMismatch { field, extension: text(extension), system: text(system) }
    };
    // The kernel's architecture is not known here, so only what the system says of itself counts.
    if let (Some(own), Some(theirs)) = (extension.get("ARCHITECTURE"), system.get("ARCHITECTURE"))
        && own != "_any"
        && own != theirs
    {
        return Err(differs("ARCHITECTURE"));
    }
    let Some(id) = extension.get("ID") else { return Err(differs("ID")) };
    if id == "_any" {
        return Ok(());
    }
    let is_like = || system.get("ID_LIKE").is_some_and(|all| all.split_whitespace().any(|like| like == id));
    if system.get("ID") != Some(id) && !is_like() {
        return Err(differs("ID"));
    }
    // A system without a version is a rolling release: the ID is enough.
    match (extension.get(level), system.get(level)) {
        (Some(own), Some(theirs)) if own == theirs => Ok(()),
        (Some(_), Some(_)) => Err(differs(level)),
        _ if system.get("VERSION_ID").is_none_or(|theirs| extension.get("VERSION_ID") == Some(theirs)) => Ok(()),
        _ => Err(differs("VERSION_ID")),
    }
}

fn find(tree: &Tree, path: &str) -> Option<InodeId> {
    path.split('/').try_fold(InodeId::ROOT, |at, name| Some(tree.child(at, name.as_bytes())?.inode))
}

fn release_files(tree: &Tree, directory: &str) -> Vec<InodeId> {
    let Some(directory) = find(tree, directory) else { return Vec::new() };
    let is_release = |name: &[u8]| name.strip_prefix(PREFIX).is_some_and(|rest| !rest.is_empty());
    let named = tree.children(directory).filter(|entry| is_release(entry.name)).map(|entry| entry.inode);
    named.filter(|id| tree.inode(*id).kind() == Kind::Regular).collect()
}

fn content(tree: &Tree, file: InodeId, read: &mut ReadContent<'_>) -> Result<Vec<u8>, ExtensionError> {
    let inode = tree.inode(file);
    if inode.size() > MAX_RELEASE {
        return Err(ExtensionError::TooLarge { path: tree.path_of(file), size: inode.size() });
    }
    match inode.data() {
        Data::Regular { content: Some(content), .. } => Ok(content.to_vec()),
        Data::Regular { content: None, .. } if inode.size() > 0 => {
            read(&inode).map_err(|source| ExtensionError::Read { path: tree.path_of(file), source })
        }
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::tree::{NewInode, TreeBuilder};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let directory = NewInode { mode: 0o40755, ..NewInode::default() };
        let mut builder = TreeBuilder::new(Algorithm::Sha256, &directory).unwrap();
        let mut known = std::collections::BTreeMap::from([(String::new(), InodeId::ROOT)]);
        for (path, text) in files {
            let mut above = String::new();
            let (directories, name) = path.rsplit_once('/').unwrap();
            for part in directories.split('/') {
                let parent = known[&above];
                above = format!("{above}/{part}");
                let put = |_: ()| builder.add(parent, part.as_bytes(), &directory).unwrap();
                let mut put = Some(put);
                known.entry(above.clone()).or_insert_with(|| put.take().unwrap()(()));
            }
            let (mode, content) = (0o100_644, Some(text.as_bytes()));
            let file = NewInode { mode, size: text.len() as u64, content, ..NewInode::default() };
            builder.add(known[&above], name.as_bytes(), &file).unwrap();
        }
        builder.finish()
    }

    const SYSEXT: &str = "usr/lib/extension-release.d/extension-release.x";

    fn checked(system: &str, extension: &str) -> Result<(), String> {
        let (system, extension) = (tree(&[("usr/lib/os-release", system)]), tree(&[(SYSEXT, extension)]));
        let mut read = |_: &Inode<'_>| Err("no content".into());
        let check = ExtensionCheck::of_system(&system, &mut read).map_err(|error| error.to_string())?;
        check.check(&extension, BaseKind::Sysext, &mut read).map_err(|error| error.to_string())
    }

    #[test]
    fn extensions_are_recognised_by_their_release_file() {
        let confext = "etc/extension-release.d/extension-release.x";
        assert_eq!(extension_kind(&tree(&[(SYSEXT, "ID=_any")])), Some(BaseKind::Sysext));
        assert_eq!(extension_kind(&tree(&[(confext, "ID=_any")])), Some(BaseKind::Confext));
        assert_eq!(extension_kind(&tree(&[(confext, "x"), (SYSEXT, "x")])), Some(BaseKind::SysextAndConfext));
        assert_eq!(extension_kind(&tree(&[("usr/lib/os-release", "x"), (SYSEXT, "x")])), None);
        assert_eq!(extension_kind(&tree(&[("usr/lib/extension-release.d/extension-release.", "x")])), None);
        assert_eq!(extension_kind(&tree(&[("usr/bin/x", "x")])), None);
    }

    #[test]
    fn an_extension_must_be_for_the_system() {
        let system = "ID=debian\nVERSION_ID=13\nARCHITECTURE=x86-64\n";
        for fits in [
            "ID=_any",
            "ID=debian\nVERSION_ID=13",
            "ID=debian\nVERSION_ID=13\nARCHITECTURE=x86-64",
            "ID=_any\nARCHITECTURE=_any",
        ] {
            assert_eq!(checked(system, fits), Ok(()), "{fits}");
        }
        for (other, field) in [
            ("ID=fedora\nVERSION_ID=13", "ID=fedora, and the system has ID=debian"),
            ("VERSION_ID=13", "ID=(not set)"),
            ("ID=debian\nVERSION_ID=12", "VERSION_ID=12"),
            ("ID=debian", "VERSION_ID=(not set)"),
            ("ID=_any\nARCHITECTURE=arm64", "ARCHITECTURE=arm64"),
        ] {
            let message = checked(system, other).unwrap_err();
            assert!(message.contains(field) && message.contains("extension-release.x"), "{other}: {message}");
        }
    }

    #[test]
    fn a_level_counts_instead_of_the_version() {
        let system = "ID=debian\nVERSION_ID=13\nSYSEXT_LEVEL=2\n";
        assert_eq!(checked(system, "ID=debian\nSYSEXT_LEVEL=2\nVERSION_ID=1"), Ok(()));
        assert!(checked(system, "ID=debian\nSYSEXT_LEVEL=1\nVERSION_ID=13").is_err());
        assert_eq!(checked("ID=arch", "ID=arch"), Ok(()));
        assert_eq!(checked("ID=x\nID_LIKE=\"suse debian\"", "ID=debian"), Ok(()));
    }
}
