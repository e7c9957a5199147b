//! A Debian package of some files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::stage;
use crate::process;

/// Description of a Debian package.
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) version: String,
    pub(super) section: &'static str,
    /// Besides the C library.
    pub(super) depends: Vec<String>,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    /// Paths of the package: files, and directories with everything below them.
    pub(super) paths: &'static [&'static str],
    /// The line of `shlibs`, if it has a library that others are linked to.
    pub(super) library: Option<&'static str>,
}

impl Package {
    /// Reports whether a file belongs to the package.
    pub(super) fn has(&self, path: &str) -> bool {
        let below =
            |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // The library's own folder has what is for development in it.
        let is_development = below(stage::DEVELOPMENT_LINK) || below(stage::PKG_CONFIG);
        // The page of a program that is in a package of its own.
        let is_boot_page = below(stage::BOOT_PAGE) && self.name != "composefs-initramfs";
        let is_other = is_boot_page || (self.library.is_some() && is_development);
        self.paths.iter().any(|wanted| below(wanted)) && !is_other
    }

    /// Packs what lies below `root`.
    pub(super) fn build(&self, root: &Path, output: &Path) -> Result<PathBuf> {
        let architecture = process::text(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
        let control = root.join("DEBIAN");
        let (files, bytes) = list(root)?;
        fs::create_dir_all(&control)?;
        let mut depends = needed_libraries(&files)?;
        depends.extend(self.depends.iter().cloned());
        let depends = if depends.is_empty() { String::new() } else { format!("Depends: {}\n", depends.join(", ")) };
        let text = format!(
            "Package: {}\nSource: composefs\nVersion: {}\nArchitecture: {architecture}\n\
             Maintainer: composefs developers <composefs@localhost>\n\
             Installed-Size: {}\n{depends}Section: {}\nPriority: optional\n\
             Description: {}\n {}\n",
            self.name,
            self.version,
            bytes.div_ceil(1024),
            self.section,
            self.summary,
            wrapped(self.description),
        );
        fs::write(control.join("control"), text)?;
        if let Some(line) = self.library {
            fs::write(control.join("shlibs"), format!("{line}\n"))?;
            fs::write(control.join("triggers"), "activate-noawait ldconfig\n")?;
        }
        fs::write(control.join("md5sums"), md5sums(root, &files)?)?;
        for entry in fs::read_dir(&control)? {
            fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o644))?;
        }
        let file = output.join(format!("{}_{}_{architecture}.deb", self.name, self.version));
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.args(["--root-owner-group", "-Zxz", "--build"])
            .args([root, &file])
            .env("SOURCE_DATE_EPOCH", super::epoch()?);
        process::output(&mut dpkg)?;
        Ok(file)
    }
}

/// Lines of at most 79 bytes, each with a space before it but the first.
fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        if line.len() + word.len() > 76 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n ")
}

/// The regular files, and how large they are together.
fn list(root: &Path) -> Result<(Vec<PathBuf>, u64)> {
    let (mut files, mut bytes, mut pending) = (Vec::new(), 0, vec![root.to_owned()]);
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
                pending.push(entry.path());
            } else if kind.is_file() {
                bytes += entry.metadata()?.len();
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok((files, bytes))
}

fn md5sums(root: &Path, files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut md5sum = Command::new("md5sum");
    for file in files {
        md5sum.arg(file.strip_prefix(root).context("a file below the root")?);
    }
    process::output(md5sum.current_dir(root))
}

/// The packages of the C library's and the compiler's libraries, in the versions whose functions are called.
fn needed_libraries(files: &[PathBuf]) -> Result<Vec<String>> {
    let (mut libc, mut needs_gcc) = (None, false);
    for file in files {
        let head = fs::read(file)?;
        if !head.starts_with(b"\x7fELF") {
            continue;
        }
        let symbols = process::text(Command::new(process::require("objdump")?).arg("-T").arg(file))?;
        libc = libc.max(newest_libc(&symbols));
        needs_gcc |= symbols.contains("GCC_");
    }
    let libc = libc.map(|(major, minor)| format!("libc6 (>= {major}.{minor})"));
    Ok(libc.into_iter().chain(needs_gcc.then(|| "libgcc-s1".to_owned())).collect())
}

/// The newest `GLIBC_2.36` in a list of symbols.
fn newest_libc(symbols: &str) -> Option<(u32, u32)> {
    let versions = symbols.match_indices("GLIBC_").filter_map(|(at, mark)| {
        let rest = &symbols[at + mark.len()..];
        let (major, rest) = rest.split_once('.')?;
        let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_counts() {
        assert_eq!(newest_libc("a (GLIBC_2.2.5) b\nGLIBC_2.34  c\nGLIBC_2.4 d GCC_3.0"), Some((2, 34)));
        assert_eq!(newest_libc("GLIBC_PRIVATE"), None);
    }

    #[test]
    fn each_file_belongs_to_one_package() {
        let packages = super::super::packages("1");
        let owners = |path: &str| -> Vec<_> { packages.iter().filter(|p| p.has(path)).map(|p| p.name).collect() };
        assert_eq!(owners("usr/bin/composefs"), ["composefs"]);
        assert_eq!(owners("usr/share/man/man1/composefs.1.gz"), ["composefs"]);
        assert_eq!(owners(stage::BOOT_PAGE), ["composefs-initramfs"]);
        assert_eq!(owners("usr/lib/systemd/system/composefs-check.service"), ["composefs"]);
        assert_eq!(owners("usr/lib/composefs/composefs-setup-root"), ["composefs-initramfs"]);
        assert_eq!(owners(stage::LIBRARY), ["libcomposefs1"]);
        assert_eq!(owners(stage::DEVELOPMENT_LINK), ["libcomposefs-dev"]);
        assert_eq!(owners("usr/lib/x86_64-linux-gnu/pkgconfig/composefs.pc"), ["libcomposefs-dev"]);
        assert_eq!(owners("usr/share/doc/libcomposefs1/copyright"), ["libcomposefs1"]);
    }
}
