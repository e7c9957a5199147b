//! A private view of the Debian archive: other suites than the machine's own, without touching its configuration.
//!
//! The mirror is the machine's own, read from its apt sources, so that a local mirror or proxy is still used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{paths, process};

/// Names under which a source of Debian itself lists its suite; add-on repositories use others.
const SUITES: &[&str] = &["bookworm", "trixie", "forky", "duke", "sid", "oldstable", "stable", "testing", "unstable"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Package lists are fetched anew when older than this.
pub(crate) const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// One suite of the archive, with lists and configuration of its own in the cache.
pub(crate) struct Suite {
    dir: PathBuf,
}

impl Suite {
    /// Opens the suite, fetching its package lists if they are not from today.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let dir = paths::cache(&format!("apt/{name}"))?;
        let _lock = paths::lock(&dir)?;
        let suite = Self { dir };
        let stamp = suite.dir.join("updated");
        if !is_fresh(&stamp) {
            suite.update(name)?;
            fs::write(&stamp, "")?;
        }
        Ok(suite)
    }

    fn update(&self, name: &str) -> Result<()> {
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.dir.join(dir))?;
        }
        let mirror = mirror()?;
        let trust = if Path::new(KEYRING).exists() { format!("signed-by={KEYRING}") } else { "trusted=yes".into() };
        fs::write(self.dir.join("sources.list"), format!("deb [{trust}] {mirror} {name} main\n"))?;
        process::output(self.command("apt-get").args(["-qq", "update"]))
            .with_context(|| format!("cannot fetch the package lists of Debian {name}"))?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let dir = |name: &str| self.dir.join(name).display().to_string();
        for option in [
            format!("Dir::Etc::sourcelist={}", dir("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Dir::Etc::preferences=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
            format!("Dir::State::Lists={}", dir("lists")),
            format!("Dir::Cache={}", dir("cache")),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            // The cache may lie where the download user of apt cannot write.
            "APT::Sandbox::User=root".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }

    /// The newest version of a package and the names it depends on; `None` if the suite does not have it.
    pub(crate) fn show(&self, package: &str) -> Result<Option<Package>> {
        let found = self.command("apt-cache").args(["show", "--no-all-versions", package]).output()?;
        Ok(Package::parse(&String::from_utf8_lossy(&found.stdout)))
    }

    /// Downloads packages into `dir` and returns their files.
    pub(crate) fn download(&self, packages: &[String], dir: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(dir)?;
        process::output(self.command("apt-get").args(["-qq", "download"]).args(packages).current_dir(dir))
            .with_context(|| format!("cannot download {}", packages.join(", ")))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            files.extend(Some(entry?.path()).filter(|path| path.extension().is_some_and(|e| e == "deb")));
        }
        files.sort();
        Ok(files)
    }
}

/// Unpacks the files of a package below `root`, running none of its scripts.
pub(crate) fn unpack(deb: &Path, root: &Path) -> Result<()> {
    process::output(Command::new("dpkg-deb").arg("-x").args([deb, root])).map(drop)
}

/// Reports whether a file was written within [`FRESH`].
pub(crate) fn is_fresh(stamp: &Path) -> bool {
    let age = stamp.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age < FRESH)
}

/// Entry of a package in the archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) version: String,
    pub(crate) depends: Vec<String>,
}

impl Package {
    fn parse(paragraph: &str) -> Option<Self> {
        let field =
            |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let depends = field("Depends").unwrap_or_default().split([',', '|']);
        let depends = depends.filter_map(|one| one.split_whitespace().next()).map(str::to_owned).collect();
        Some(Self { version: field("Version")?.to_owned(), depends })
    }
}

/// The address of the Debian mirror this machine uses.
pub(crate) fn mirror() -> Result<String> {
    let found = sources()?.into_iter().find(|source| source.is_debian());
    let Some(source) = found else {
        bail!("no source of Debian's main archive in /etc/apt: the VM tests fetch their kernels from one");
    };
    Ok(source.uri)
}

/// The hosts of every apt source of this machine.
pub(crate) fn mirror_hosts() -> Result<Vec<String>> {
    let host = |uri: &str| Some(uri.split_once("://")?.1.split('/').next()?.to_owned());
    let mut hosts: Vec<_> = sources()?.iter().filter_map(|s| host(&s.uri)).filter(|h| !h.is_empty()).collect();
    hosts.sort();
    hosts.dedup();
    Ok(hosts)
}

#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Source {
    fn is_debian(&self) -> bool {
        self.suites.iter().any(|s| SUITES.contains(&s.as_str())) && self.components.iter().any(|c| c == "main")
    }
}

fn sources() -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.filter_map(|entry| entry.ok().map(|e| e.path())));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(text.split("\n\n").flat_map(parse_stanza)),
            _ => {}
        }
    }
    Ok(sources)
}

/// One line of the older form: `deb [options] uri suite component...`.
fn parse_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
    let rest = rest.split('#').next()?;
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source { uri: words.next()?, suites: vec![words.next()?], components: words.collect() })
}

/// One stanza of the deb822 form; it may name several addresses.
fn parse_stanza(stanza: &str) -> Vec<Source> {
    let mut fields: Vec<(String, Vec<String>)> = Vec::new();
    for line in stanza.lines().filter(|line| !line.starts_with('#')) {
        let (name, words) = match line.split_once(':') {
            Some((name, words)) if !line.starts_with([' ', '\t']) => (Some(name), words),
            _ => (None, line),
        };
        fields.extend(name.map(|name| (name.to_ascii_lowercase(), Vec::new())));
        if let Some((_, values)) = fields.last_mut() {
            values.extend(words.split_whitespace().map(str::to_owned));
        }
    }
    let get = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
    if !get("types").contains(&"deb".to_owned()) || get("enabled").contains(&"no".to_owned()) {
        return Vec::new();
    }
    let source = |uri| Source { uri, suites: get("suites"), components: get("components") };
    get("uris").into_iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_sources() {
        let line =
            parse_line("deb [arch=amd64 signed-by=/k] http://m.example/debian trixie main contrib # own").unwrap();
        assert_eq!((line.uri.as_str(), line.is_debian()), ("http://m.example/debian", true));
        assert_eq!(line.components, ["main", "contrib"]);
        assert_eq!(parse_line("# deb http://m.example/debian trixie main"), None);
        assert_eq!(parse_line("deb-src http://m.example/debian trixie main"), None);
        assert!(!parse_line("deb http://other.example/linux/debian bookworm stable").unwrap().is_debian());

        let stanza = "Types: deb\n# why\nURIs: http://a.example/debian\n http://b.example/debian\n\
            Suites: trixie trixie-updates\nComponents: main\n";
        let both = parse_stanza(stanza);
        assert_eq!(
            both.iter().map(|s| s.uri.as_str()).collect::<Vec<_>>(),
            ["http://a.example/debian", "http://b.example/debian"]
        );
        assert!(both.iter().all(Source::is_debian));
        assert!(parse_stanza(&format!("{stanza}Enabled: no\n")).is_empty());
        assert!(!parse_stanza(&stanza.replace("trixie", "trixie-security"))[0].is_debian());
    }

    #[test]
    fn a_package_paragraph() {
        let package = Package::parse("Package: a\nVersion: 1-2\nDepends: x | y (>= 2), z (= 1-2)\n").unwrap();
        assert_eq!(package.version, "1-2");
        assert_eq!(package.depends, ["x", "y", "z"]);
        assert_eq!(Package::parse(""), None);
    }
}
