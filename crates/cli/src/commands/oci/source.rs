//! Sources of images on the command line: a transport and what it needs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use libcomposefs_oci::containers_storage::ContainersStorage;
use libcomposefs_oci::manifest::Platform;
use libcomposefs_oci::source::{
    ArchiveFiles, DirectoryFiles, DockerArchive, ImageSource, OciLayout, RepositorySource, SourceError, SourceFiles,
    StorageImageSource,
};
#[cfg(feature = "network")]
use libcomposefs_remote::RegistriesConf;
use libcomposefs_remote::policy::PolicyDemand;
use libcomposefs_remote::{Reference, storage_conf};
use libcomposefs_repo::Repository;

use super::locations::locations;
use super::signature_policy;
use super::signed_source::{SignatureVerdict, SignedSource, TagFinder};
use crate::commands::repository::tell_of_waiting;
use crate::inspect::names::shell_word;

/// Paragraph on sources for `--help`.
pub(crate) const SOURCES: &str = "\
Sources:
  docker://REFERENCE          an image in a registry, such as docker://docker.io/library/debian:13
  oci:DIR[:NAME]              an OCI image layout in a directory
  oci-archive:FILE[:NAME]     an OCI image layout in a tar archive
  docker-archive:FILE[:NAME]  an archive of `docker save` or `podman save`
  containers-storage:NAME     an image in the store of podman, by name or ID; [DIR]NAME for another graph root
                              than that of storage.conf
  repo:DIR[:NAME]             an image in another composefs repository
  REFERENCE                   as docker://REFERENCE; of a short name, registries.conf says which registry has it
NAME is needed if there are several images; @DIGEST chooses one by the digest of its manifest.";

/// Options for sources: which of the images is read, and how a registry is reached.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct SourceArgs {
    /// Platform of an OCI image [default: that of this machine]
    #[arg(long, value_name = "OS/ARCH", help_heading = "OCI images")]
    platform: Option<Platform>,
    #[cfg(feature = "network")]
    #[command(flatten)]
    registry: super::registry::RegistryArgs,
}

impl SourceArgs {
    /// Returns the platform of the image that is read, if the command line has one.
    pub(crate) fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// Returns the options that choose the image, as words of a command line, each with a space in front.
    pub(crate) fn words(&self) -> String {
        let word = |platform: &Platform| shell_word(Path::new(&platform.to_string()));
        self.platform.as_ref().map(|platform| format!(" --platform={}", word(platform))).unwrap_or_default()
    }
}

/// An open source.
pub(crate) struct OpenSource {
    pub(crate) source: Box<dyn ImageSource + Send>,
    /// The name that the image gets if no other is given.
    pub(crate) name: Option<String>,
    /// What policy.json says of it; `None` without a policy, and for sources whose images cannot be signed.
    pub(super) verdict: Option<Arc<SignatureVerdict>>,
}

impl OpenSource {
    /// Returns a source of which the policy has demanded this.
    fn judged(
        source: Box<dyn ImageSource + Send>,
        name: Option<String>,
        demand: Option<PolicyDemand>,
        reference: Option<Reference>,
        find: TagFinder,
    ) -> anyhow::Result<Self> {
        let verdict = demand.map(SignatureVerdict::new);
        let source = match &verdict {
            Some(verdict) if !verdict.demand.signatures.is_empty() => {
                Box::new(SignedSource::new(source, find, Arc::clone(verdict), reference)?)
            }
            _ => source,
        };
        Ok(Self { source, name, verdict })
    }
}

/// Transports of sources. A path that begins with one of them is written as `./oci:x`.
const TRANSPORTS: [&str; 7] =
    ["docker://", "oci:", "oci-archive:", "docker-archive:", "containers-storage:", "dir:", "docker-daemon:"];

/// Returns true if an operand begins with a transport, so that it is no path and no name of a repository.
pub(crate) fn is_source(operand: &OsStr) -> bool {
    TRANSPORTS.iter().any(|transport| operand.as_bytes().starts_with(transport.as_bytes()))
}

/// Returns true if an operand names a source in a command that takes `repo:DIR` too.
pub(crate) fn has_transport(operand: &OsStr) -> bool {
    is_source(operand) || operand.as_bytes().starts_with(b"repo:")
}

/// Opens the source that an operand names.
pub(crate) fn open(operand: &OsStr, args: &SourceArgs) -> anyhow::Result<OpenSource> {
    let shown = operand.to_string_lossy();
    if let Some(reference) = operand.to_str().and_then(|operand| operand.strip_prefix("docker://")) {
        return open_registry(reference, args);
    }
    if let Some(name) = operand.to_str().and_then(|operand| operand.strip_prefix("containers-storage:")) {
        return open_storage(name);
    }
    if let Some(name) = operand.to_str().filter(|name| is_plain_name(name)) {
        return open_plain_name(name, args);
    }
    let colon = operand.as_bytes().iter().position(|byte| *byte == b':');
    let Some(colon) = colon else { return Err(no_transport(operand)) };
    let transport = &*String::from_utf8_lossy(&operand.as_bytes()[..colon]);
    let (path, image) = divide(&operand.as_bytes()[colon + 1..]);
    if path.as_os_str().is_empty() {
        bail!("{shown:?} names no file");
    }
    let image = image.map(|image| std::str::from_utf8(image)).transpose();
    let image = image.with_context(|| format!("{shown:?}: the name of the image is not UTF-8"))?;
    let mut name = image.filter(|image| !image.starts_with('@')).map(str::to_owned);
    let described = format!("{transport}:{}", path.display());
    let cannot_open = || format!("cannot open {}", path.display());
    let absolute = || path.canonicalize().with_context(cannot_open);
    let source: Box<dyn ImageSource + Send> = match transport {
        "oci" => {
            let demand = signature_policy::of_layout(transport, &absolute()?, image)?;
            let files = DirectoryFiles::open(path).with_context(cannot_open)?;
            expect_file(&files, path, "index.json", ("manifest.json", "dir"))?;
            let layout = OciLayout::new(files, described.clone(), image.map(str::to_owned));
            name = name.or_else(|| layout.only_name());
            let path = path.to_owned();
            let find = tag_finder(described, move || DirectoryFiles::open(&path));
            return OpenSource::judged(Box::new(layout), name, demand, None, find);
        }
        "oci-archive" => {
            let demand = signature_policy::of_layout(transport, &absolute()?, image)?;
            let files = ArchiveFiles::open(path).with_context(cannot_open)?;
            expect_file(&files, path, "index.json", ("manifest.json", "docker-archive"))?;
            let layout = OciLayout::new(files, described.clone(), image.map(str::to_owned));
            name = name.or_else(|| layout.only_name());
            let path = path.to_owned();
            let find = tag_finder(described, move || ArchiveFiles::open(&path));
            return OpenSource::judged(Box::new(layout), name, demand, None, find);
        }
        "docker-archive" => {
            signature_policy::check_docker_archive(&absolute()?)?;
            let files = ArchiveFiles::open(path).with_context(cannot_open)?;
            expect_file(&files, path, "manifest.json", ("index.json", "oci-archive"))?;
            let archive = DockerArchive::new(files, described, image)?;
            name = name.or_else(|| archive.name().map(str::to_owned));
            Box::new(archive)
        }
        "repo" => {
            let repository = Repository::open(path)?.telling(tell_of_waiting);
            let source = RepositorySource::open(repository, image)?;
            name = source.tag().map(str::to_owned);
            Box::new(source)
        }
        "dir" => return Err(other_way(&shown, "an OCI layout", &format!("{shown} oci:DIR:NAME"))),
        "docker-daemon" => return Err(other_way(&shown, "an archive", &format!("{shown} docker-archive:FILE"))),
        _ => return Err(no_transport(operand)),
    };
    Ok(OpenSource { source, name, verdict: None })
}

/// Returns a finder of the images of a layout by their names.
fn tag_finder<F: SourceFiles + Send + 'static>(
    described: String,
    open: impl Fn() -> std::io::Result<F> + Send + Sync + 'static,
) -> TagFinder {
    Box::new(move |tag| {
        let files = open().map_err(|source| SourceError::Io { path: described.clone(), source })?;
        let layout = OciLayout::new(files, described.clone(), Some(tag.to_owned()));
        match layout.root() {
            Ok(_) => Ok(Some(Box::new(layout))),
            Err(SourceError::NoImage(_)) => Ok(None),
            Err(error) => Err(error),
        }
    })
}

/// Fails if a source lacks the file by which its kind is read, and names the transport of the other kind if it has the
/// file of that one.
fn expect_file(files: &dyn SourceFiles, path: &Path, file: &str, other: (&str, &str)) -> anyhow::Result<()> {
    let is_missing = |file: &str| files.open(file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if !is_missing(file) {
        return Ok(());
    }
    let (path, (other_file, transport)) = (path.display(), other);
    if is_missing(other_file) {
        bail!("{path} has no file {file}: it is no image that can be read");
    }
    bail!("{path} has no file {file}, but {other_file}: {transport}:{path} is the image in it")
}

#[cfg(feature = "network")]
fn open_registry(reference: &str, args: &SourceArgs) -> anyhow::Result<OpenSource> {
    let reference: Reference = reference.parse()?;
    let demand = signature_policy::of_registry(&reference)?;
    let image = super::registry::open(&reference, &args.registry)?;
    let (find, name) = (image.tag_finder(), Some(reference.to_string()));
    OpenSource::judged(Box::new(image), name, demand, Some(reference), find)
}

#[cfg(not(feature = "network"))]
fn open_registry(reference: &str, _: &SourceArgs) -> anyhow::Result<OpenSource> {
    anyhow::bail!("docker://{reference}: this program was built without network; copy the image to an OCI layout first")
}

/// Returns true for a name of podman without a transport, such as `debian:13`: not for the path of a file, nor for what
/// begins with a transport that is not known or has another form.
fn is_plain_name(operand: &str) -> bool {
    const OTHER: [&str; 4] = ["docker:", "http:", "https:", "repo:"];
    !is_source(OsStr::new(operand))
        && !OTHER.iter().any(|other| operand.starts_with(other))
        && !operand.starts_with(['/', '.'])
        && !Path::new(operand).exists()
        && operand.parse::<Reference>().is_ok()
}

/// Opens the image of a registry that a name without a transport means, by the aliases and the search list of
/// registries.conf. Of several registries the first that has the image counts.
#[cfg(feature = "network")]
fn open_plain_name(name: &str, args: &SourceArgs) -> anyhow::Result<OpenSource> {
    let conf = RegistriesConf::load(&locations(None))?;
    if !Reference::has_host(name) && conf.is_silent_about(name) {
        return Err(no_transport(OsStr::new(name)));
    }
    let candidates = conf.candidates(name)?;
    if let [only] = candidates.as_slice() {
        return open_registry(&only.to_string(), args);
    }
    for candidate in candidates {
        match open_registry(&candidate.to_string(), args) {
            Ok(source) => return Ok(source),
            Err(error) => tell!("composefs: {name} may mean {candidate}: {}", crate::error_text::message(&error)),
        }
    }
    // The reasons are printed.
    bail!("{name} is in none of the registries that registries.conf names for it");
}

#[cfg(not(feature = "network"))]
fn open_plain_name(name: &str, _: &SourceArgs) -> anyhow::Result<OpenSource> {
    Err(no_transport(OsStr::new(name)))
}

/// Opens `NAME` or `[[DRIVER@]ROOT[+RUNROOT]]NAME` in the store of podman.
fn open_storage(text: &str) -> anyhow::Result<OpenSource> {
    if text.is_empty() || text.starts_with('[') && text.split_once(']').is_none_or(|(_, name)| name.is_empty()) {
        bail!(
            "containers-storage:{text} names no image: expected containers-storage:NAME or containers-storage:[DIR]NAME"
        );
    }
    let (root, name) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((place, name)) => {
            let root = place.split_once('@').map_or(place, |(_, root)| root);
            (PathBuf::from(root.split_once('+').map_or(root, |(root, _)| root)), name)
        }
        None => match storage_conf::graph_root(&locations(None))? {
            Some(root) => (root, text),
            None => (default_store()?, text),
        },
    };
    let shown = root.display().to_string();
    let mut is_told = false;
    let wait = || {
        if !std::mem::replace(&mut is_told, true) {
            tell!("composefs: waiting for another process, which writes to {shown}");
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        true
    };
    let storage = ContainersStorage::open(&[&root], wait);
    let storage = storage.with_context(|| {
        format!("cannot read podman's store in {}; containers-storage:[DIR]NAME names another one", root.display())
    })?;
    let names = &storage.find(name)?.names;
    let asked = |full: &&String| {
        [full.as_str(), full.strip_suffix(":latest").unwrap_or(full)]
            .iter()
            .any(|full| *full == name || full.strip_suffix(name).is_some_and(|before| before.ends_with('/')))
    };
    // An ID may have several names, of which none was asked for.
    let only = if let [only] = names.as_slice() { Some(only) } else { None };
    let full = names.iter().find(asked).or(only).cloned();
    signature_policy::check_storage(&root, full.as_deref())?;
    Ok(OpenSource { source: Box::new(StorageImageSource::new(storage, name)?), name: full, verdict: None })
}

/// Returns the graph root of podman's store: the system's for root, otherwise the user's.
fn default_store() -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/containers/storage".into());
    }
    let data = std::env::var_os("XDG_DATA_HOME").filter(|data| !data.is_empty()).map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share"));
    let data = data.or_else(home).context("HOME is not set: name the graph root, containers-storage:[DIR]NAME")?;
    Ok(data.join("containers/storage"))
}

fn other_way(operand: &str, kind: &str, copy: &str) -> anyhow::Error {
    anyhow!("{operand:?} cannot be read; copy the image to {kind} first: skopeo copy {copy}")
}

/// Builds the error for an operand that begins with none of the transports, with the one that is probably meant.
fn no_transport(operand: &OsStr) -> anyhow::Error {
    let shown = operand.to_string_lossy();
    let bare = ["https://", "http://", "docker:"].iter().find_map(|prefix| shown.strip_prefix(prefix));
    let meant = match Path::new(operand) {
        path if path.is_dir() => format!("oci:{shown} is the layout in this directory"),
        path if path.is_file() => format!("oci-archive:{shown} or docker-archive:{shown} is the image in this file"),
        _ => format!("docker://{} is the image in a registry", bare.unwrap_or(&shown)),
    };
    anyhow!(
        "{shown:?} begins with no transport: {meant}; the others are oci:DIR, oci-archive:FILE, \
             docker-archive:FILE, containers-storage:NAME and repo:DIR"
    )
}

/// Divides `PATH[:NAME]` and `PATH@DIGEST`: at the first colon or `@` after a path that exists, as paths may have
/// colons.
fn divide(text: &[u8]) -> (&Path, Option<&[u8]>) {
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let marks = || text.iter().enumerate().filter(|(_, byte)| matches!(byte, b':' | b'@'));
    if path(text).exists() {
        return (path(text), None);
    }
    let mark = marks().find(|(at, _)| path(&text[..*at]).exists()).or_else(|| marks().next());
    match mark {
        Some((at, b':')) => (path(&text[..at]), Some(&text[at + 1..])),
        Some((at, _)) => (path(&text[..at]), Some(&text[at..])),
        None => (path(text), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probable_transport_is_named() {
        let error = |operand: &[u8]| match open(OsStr::from_bytes(operand), &SourceArgs::default()) {
            Ok(_) => panic!("{operand:?} is a source"),
            Err(error) => error.to_string(),
        };
        for operand in ["docker:debian:13", "https://debian:13"] {
            let error = error(operand.as_bytes());
            assert!(error.contains(": docker://debian:13 is"), "{error}");
        }
        // Of a plain name, registries.conf of the machine may say what it means.
        let error_of_name = no_transport(OsStr::new("debian:13")).to_string();
        assert!(error_of_name.contains(": docker://debian:13 is"), "{error_of_name}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert!(error(path.as_bytes()).contains(&format!(": oci:{path} is")));
        std::fs::write(dir.path().join("a.tar"), "").unwrap();
        assert!(error(format!("{path}/a.tar").as_bytes()).contains(&format!(": oci-archive:{path}/a.tar or")));
        // Not UTF-8 before the colon.
        assert!(error(b"\xff:x").contains("no transport"));
    }

    #[test]
    fn a_name_follows_an_existing_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a:b");
        std::fs::create_dir(&path).unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(divide(text.as_bytes()), (&*path, None));
        assert_eq!(divide(format!("{text}:x/y:1").as_bytes()), (&*path, Some(&b"x/y:1"[..])));
        assert_eq!(divide(format!("{text}@sha256:00").as_bytes()), (&*path, Some(&b"@sha256:00"[..])));
        assert_eq!(divide(b"/no/such:name"), (Path::new("/no/such"), Some(&b"name"[..])));
    }
}
