//! The payload that a run puts into its guest: files, trees, and programs of the host with their libraries.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;
use crate::process;

/// The content of the second archive, in the order it is written; a later file replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payload {
    items: Vec<(PathBuf, Item)>,
}

#[derive(Clone, Debug)]
enum Item {
    Bytes(Vec<u8>),
    File(PathBuf),
    Tree(PathBuf),
    Link(String),
}

impl Payload {
    fn put(&mut self, path: impl AsRef<Path>, item: Item) {
        self.items.push((without_link(path.as_ref()), item));
    }

    /// A file of these bytes, executable.
    pub(crate) fn bytes(&mut self, path: impl AsRef<Path>, data: impl Into<Vec<u8>>) {
        self.put(path, Item::Bytes(data.into()));
    }

    /// A file of the host, with its permissions.
    pub(crate) fn file(&mut self, path: impl AsRef<Path>, source: impl Into<PathBuf>) {
        self.put(path, Item::File(source.into()));
    }

    /// A directory of the host with all that is in it; everything will belong to root.
    pub(crate) fn tree(&mut self, path: impl AsRef<Path>, source: impl Into<PathBuf>) {
        self.put(path, Item::Tree(source.into()));
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: impl AsRef<Path>, target: impl Into<String>) {
        self.put(path, Item::Link(target.into()));
    }

    /// A program of the host under its own name, with the libraries it loads. It precedes busybox's applet of that
    /// name.
    pub(crate) fn program(&mut self, name: &str) -> Result<()> {
        // sbin, since mount(8) and others are looked for there first.
        self.executable(Path::new("usr/sbin").join(name), &process::require(name)?)
    }

    /// An executable file of the host, with the libraries it loads.
    pub(crate) fn executable(&mut self, path: impl AsRef<Path>, source: &Path) -> Result<()> {
        for library in libraries(source)? {
            // The loader is named by an absolute path in each program; all else is looked for in the standard places.
            let name = library.file_name().context("a library without a name")?.to_owned();
            let dir = if library.starts_with("/lib64") { "usr/lib64" } else { "usr/lib/x86_64-linux-gnu" };
            let at = Path::new(dir).join(name);
            if !self.items.iter().any(|(path, _)| *path == at) {
                self.file(at, library);
            }
        }
        self.file(path, source);
        Ok(())
    }

    /// Writes the archive to a writer.
    pub(crate) fn write(&self, out: impl Write) -> Result<()> {
        let mut archive = Archive::new(out);
        for (path, item) in &self.items {
            match item {
                Item::Bytes(data) => archive.bytes(path, 0o755, data),
                Item::File(source) => {
                    fs::metadata(source).and_then(|meta| archive.file(path, meta.permissions().mode() & 0o777, source))
                }
                Item::Tree(source) => archive.tree(path, source),
                Item::Link(target) => archive.symlink(path, target),
            }
            .with_context(|| format!("cannot pack {}", path.display()))?;
        }
        archive.finish()?;
        Ok(())
    }
}

/// The guest's `/bin` and its like are links into `/usr`, and the kernel's unpacker would replace a link by a directory
/// of that name: what goes there is put where the link leads.
fn without_link(path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    let linked = ["bin", "sbin", "lib", "lib64"].iter().any(|link| path.starts_with(link));
    if linked { Path::new("usr").join(path) } else { path.to_owned() }
}

/// The libraries a program loads, its loader among them; none for a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let ldd = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("cannot run ldd")?;
    let (text, complaint) = (String::from_utf8_lossy(&ldd.stdout), String::from_utf8_lossy(&ldd.stderr));
    if !ldd.status.success() {
        // What ldd says of a script or a static program.
        if complaint.contains("not a dynamic executable") || text.contains("not a dynamic executable") {
            return Ok(Vec::new());
        }
        bail!("ldd {}: {}", program.display(), complaint.trim_end());
    }
    text.lines().filter_map(|line| library(line).transpose()).collect()
}

/// One line of ldd: `name => path (address)`, `path (address)` for the loader, or a thing without a file.
fn library(line: &str) -> Result<Option<PathBuf>> {
    let line = line.trim();
    let path = line.split_once(" => ").map_or(line, |(_, path)| path);
    if path.starts_with("not found") {
        bail!("missing library: {line}");
    }
    let path = path.split(" (").next().unwrap_or_default();
    Ok(Some(PathBuf::from(path)).filter(|path| path.is_absolute()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_replaces_the_links_into_usr() {
        assert_eq!(without_link(Path::new("/sbin/mount.x")), Path::new("usr/sbin/mount.x"));
        assert_eq!(without_link(Path::new("library/x")), Path::new("library/x"));
    }

    #[test]
    fn lines_of_ldd() {
        let path = |line| library(line).unwrap();
        assert_eq!(path("\tlinux-vdso.so.1 (0x00007ffc)"), None);
        assert_eq!(
            path("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)"),
            Some("/lib/x86_64-linux-gnu/libc.so.6".into())
        );
        assert_eq!(path("\t/lib64/ld-linux-x86-64.so.2 (0x7f)"), Some("/lib64/ld-linux-x86-64.so.2".into()));
        assert_eq!(path("\tstatically linked"), None);
        assert!(library("\tlibx.so => not found").is_err());
    }
}
