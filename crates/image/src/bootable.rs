//! What a tree lacks to be booted as the root of a system.

use crate::tree::{Data, Inode, InodeId, Kind, Tree};

/// Something without which a tree does not boot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootLack {
    /// A directory is missing that the boot mounts something on.
    #[error("there is no directory {path}: {purpose}")]
    Directory {
        /// Path of the directory.
        path: &'static str,
        /// What is mounted there.
        purpose: &'static str,
    },
    /// The first program is missing.
    #[error("/sbin/init {problem}: the kernel has no program to start")]
    Init {
        /// The reason.
        problem: &'static str,
    },
    /// A directory has entries that a mount hides.
    #[error("{path} is not empty: a bootable image has nothing there (create --bootable)")]
    NotEmpty {
        /// Path of the directory.
        path: &'static str,
    },
    /// The root does not look like `/usr`.
    #[error("/ has not the mode, owner, time and attributes of /usr: other programs compute another digest")]
    Root,
    /// There is a policy, and an inode without a label.
    #[error("the tree has an SELinux policy, and / has no label: with that policy, nothing starts")]
    Labels,
    /// An image of kernel and command line is part of the tree whose digest it contains.
    #[error("{path} is a unified kernel image: its command line cannot have the digest of a tree that contains it")]
    UnifiedKernel {
        /// Path of the file.
        path: String,
    },
}

/// Directories that the boot mounts something on.
const DIRECTORIES: [(&str, &str); 8] = [
    ("/usr", "it has the system"),
    ("/etc", "the writable /etc is mounted there"),
    ("/var", "the writable /var is mounted there"),
    ("/run", "the initramfs moves its /run there"),
    ("/dev", "devices are mounted there"),
    ("/proc", "proc is mounted there"),
    ("/sys", "sysfs is mounted there"),
    ("/sysroot", "the disk with the repository is mounted there, without which there are no updates"),
];

/// Returns what a tree lacks, in the order in which a boot would fail.
#[must_use]
pub fn boot_lacks(tree: &Tree) -> Vec<BootLack> {
    let mut lacks = Vec::new();
    for (path, purpose) in DIRECTORIES {
        let is_there = child(tree, InodeId::ROOT, &path[1..]).is_some_and(|inode| inode.kind() == Kind::Directory);
        if !is_there {
            lacks.push(BootLack::Directory { path, purpose });
        }
    }
    let init = resolve(tree, b"/sbin/init");
    let problem = match init.map(|init| tree.inode(init)) {
        None => Some("is missing, or leads to a path that is missing"),
        Some(init) if init.kind() != Kind::Regular => Some("is no regular file"),
        Some(init) if init.mode() & 0o111 == 0 => Some("is not executable"),
        Some(_) => None,
    };
    lacks.extend(problem.map(|problem| BootLack::Init { problem }));
    for path in ["/boot", "/run", "/sysroot"] {
        let found = child(tree, InodeId::ROOT, &path[1..]).filter(|inode| inode.kind() == Kind::Directory);
        if found.is_some_and(|found| tree.children(found.id()).len() > 0) {
            lacks.push(BootLack::NotEmpty { path });
        }
    }
    if child(tree, InodeId::ROOT, "usr").is_some_and(|usr| differs(&usr, &tree.inode(InodeId::ROOT))) {
        lacks.push(BootLack::Root);
    }
    let is_labelled = tree.inode(InodeId::ROOT).xattrs().any(|xattr| xattr.name == b"security.selinux");
    if has_policy(tree) && !is_labelled {
        lacks.push(BootLack::Labels);
    }
    lacks.extend(unified_kernels(tree));
    lacks
}

fn child<'t>(tree: &'t Tree, directory: InodeId, name: &str) -> Option<Inode<'t>> {
    Some(tree.inode(tree.child(directory, name.as_bytes())?.inode))
}

/// Compares what a bootable image has from `/usr`, apart from labels.
fn differs(usr: &Inode<'_>, root: &Inode<'_>) -> bool {
    let of = |inode: &Inode<'_>| (inode.mode(), inode.uid(), inode.gid(), inode.mtime());
    let xattrs = |inode: &Inode<'_>| {
        let kept = |xattr: &crate::tree::Xattr<'_>| xattr.name != b"security.selinux";
        inode.xattrs().filter(kept).map(|xattr| (xattr.name.to_vec(), xattr.value.to_vec())).collect::<Vec<_>>()
    };
    of(usr) != of(root) || xattrs(usr) != xattrs(root)
}

/// Returns true if there are rules for labels.
fn has_policy(tree: &Tree) -> bool {
    let Some(selinux) = resolve(tree, b"/etc/selinux") else { return false };
    let has_rules = |policy: InodeId| {
        let path = [b"contexts".as_slice(), b"files", b"file_contexts"];
        path.iter().try_fold(policy, |at, name| Some(tree.child(at, name)?.inode)).is_some()
    };
    tree.inode(selinux).kind() == Kind::Directory
        && tree.child(selinux, b"config").is_some()
        && tree
            .children(selinux)
            .any(|entry| tree.inode(entry.inode).kind() == Kind::Directory && has_rules(entry.inode))
}

/// The images of kernels and command lines where bootc and systemd look for them.
fn unified_kernels(tree: &Tree) -> Vec<BootLack> {
    let Some(modules) = resolve(tree, b"/usr/lib/modules") else { return Vec::new() };
    let mut found = Vec::new();
    let is_directory = |inode| tree.inode(inode).kind() == Kind::Directory;
    for version in tree.children(modules).filter(|entry| is_directory(entry.inode)) {
        for file in tree.children(version.inode).filter(|file| file.name.ends_with(b".efi")) {
            let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            let path = format!("/usr/lib/modules/{}/{}", text(version.name), text(file.name));
            found.push(BootLack::UnifiedKernel { path });
        }
    }
    found
}

/// Number of symlinks on the way to a file, as in the kernel.
const SYMLINKS_MAX: usize = 40;

/// Follows a path as a process with this root would; `None` if it leads nowhere.
fn resolve(tree: &Tree, path: &[u8]) -> Option<InodeId> {
    let names = |path: &[u8]| path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut at, mut left, mut symlinks) = (InodeId::ROOT, names(path), 0);
    while let Some(name) = left.pop() {
        if name.is_empty() {
            continue;
        }
        if tree.inode(at).kind() != Kind::Directory {
            return None;
        }
        match &*name {
            b"." => continue,
            b".." => {
                at = tree.parent(at);
                continue;
            }
            _ => {}
        }
        let found = tree.child(at, &name)?.inode;
        let Data::Symlink(target) = tree.inode(found).data() else {
            at = found;
            continue;
        };
        symlinks += 1;
        if symlinks > SYMLINKS_MAX {
            return None;
        }
        if target.starts_with(b"/") {
            at = InodeId::ROOT;
        }
        left.extend(names(target));
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::{Options, Parser};

    const BOOTS: [&str; 14] = [
        "/ 0 40755 2 0 0 0 1.0 - - -",
        "/boot 0 40755 2 0 0 0 1.0 - - -",
        "/dev 0 40755 2 0 0 0 1.0 - - -",
        "/etc 0 40755 2 0 0 0 1.0 - - -",
        "/proc 0 40755 2 0 0 0 1.0 - - -",
        "/run 0 40755 2 0 0 0 1.0 - - -",
        "/sbin 8 120777 1 0 0 0 1.0 usr/sbin - -",
        "/sys 0 40755 2 0 0 0 1.0 - - -",
        "/sysroot 0 40755 2 0 0 0 1.0 - - -",
        "/usr 0 40755 2 0 0 0 1.0 - - -",
        "/usr/lib 0 40755 2 0 0 0 1.0 - - -",
        "/usr/lib/init 1 100755 1 0 0 0 1.0 - x -",
        "/usr/sbin 0 40755 2 0 0 0 1.0 - - -",
        "/usr/sbin/init 11 120777 1 0 0 0 1.0 ../lib/init - -",
    ];

    /// Returns what the tree lacks in which lines are replaced or left out, and others added.
    fn lacks(change: impl Fn(&str) -> Option<String>, more: &[&str]) -> Vec<String> {
        let mut parser = Parser::new(Options::default());
        let lines = BOOTS.iter().filter_map(|line| change(line)).chain(more.iter().map(|line| (*line).to_owned()));
        lines.chain(["/var 0 40755 2 0 0 0 1.0 - - -".to_owned()]).for_each(|line| {
            parser.push_line(line.as_bytes()).unwrap();
        });
        boot_lacks(&parser.finish().unwrap().tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tree_that_boots_lacks_nothing() {
        assert_eq!(lacks(|line| Some(line.to_owned()), &[]), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let without = |left_out: &'static str| move |line: &str| (!line.starts_with(left_out)).then(|| line.to_owned());
        for (left_out, expected) in [("/sysroot ", "/sysroot"), ("/proc ", "/proc"), ("/usr/lib/init", "/sbin/init")] {
            let found = lacks(without(left_out), &[]);
            assert!(found.len() == 1 && found[0].contains(expected), "{left_out}: {found:?}");
        }
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let changed = |from: &'static str, to: &'static str| move |line: &str| Some(line.replace(from, to));
        for (from, to, expected) in [
            ("/ 0 40755", "/ 0 40700", "/ has not"),
            ("/usr/lib/init 1 100755", "/usr/lib/init 1 100644", "not executable"),
            ("11 120777 1 0 0 0 1.0 ../lib/init", "4 120777 1 0 0 0 1.0 init", "is missing"),
            ("11 120777 1 0 0 0 1.0 ../lib/init", "14 120777 1 0 0 0 1.0 ../lib/init/..", "is missing"),
        ] {
            let found = lacks(changed(from, to), &[]);
            assert!(found.len() == 1 && found[0].contains(expected), "{from}: {found:?}");
        }
        let same = |line: &str| Some(line.to_owned());
        let found = lacks(
            same,
            &[
                "/usr/lib/modules 0 40755 2 0 0 0 1.0 - - -",
                "/usr/lib/modules/6 0 40755 2 0 0 0 1.0 - - -",
                "/usr/lib/modules/6/6.efi 1 100644 1 0 0 0 1.0 - x -",
                "/boot/x 1 100644 1 0 0 0 1.0 - x -",
                "/etc/selinux 0 40755 2 0 0 0 1.0 - - -",
                "/etc/selinux/config 1 100644 1 0 0 0 1.0 - x -",
                "/etc/selinux/t 0 40755 2 0 0 0 1.0 - - -",
                "/etc/selinux/t/contexts 0 40755 2 0 0 0 1.0 - - -",
                "/etc/selinux/t/contexts/files 0 40755 2 0 0 0 1.0 - - -",
                "/etc/selinux/t/contexts/files/file_contexts 1 100644 1 0 0 0 1.0 - x -",
            ],
        );
        assert!(found.len() == 3 && found[0].contains("/boot is not empty"), "{found:?}");
        assert!(found[1].contains("SELinux") && found[2].contains("/6/6.efi"), "{found:?}");
    }
}
