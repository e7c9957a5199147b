//! An OCI image layout: `index.json` and blobs by digest.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Deserialize;

use super::{ImageSource, RootDocument, SourceError, SourceFiles, check, check_size, read_file};
use crate::BlobDigest;
use crate::manifest::{BlobRef, DOCUMENT_MAX, Document, DocumentIndex, IndexEntry};

/// The annotations by which tools name an image in `index.json`.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
/// Names that a message lists at most.
const NAMES_SHOWN: usize = 20;

/// The file with the version of a layout.
const OCI_LAYOUT: &str = "oci-layout";
/// Largest size of that file, in bytes.
const LAYOUT_FILE_MAX: u64 = 4096;

/// The content of that file.
#[derive(Default, Deserialize)]
struct LayoutFile {
    #[serde(rename = "imageLayoutVersion")]
    image_layout_version: String,
}

/// An image in a layout.
#[derive(Debug)]
pub struct OciLayout<F> {
    files: F,
    /// The transport and path, for messages.
    described: String,
    /// The name or digest of the image; `None` if the layout has only one.
    image: Option<String>,
}

impl<F: SourceFiles> OciLayout<F> {
    /// Names an image in a layout: by a name in `index.json`, by the digest of its manifest, or the only one.
    pub fn new(files: F, described: String, image: Option<String>) -> Self {
        Self { files, described, image }
    }

    /// Returns the name of the image, if the layout has one image only, which has one name. What is wrong with a layout
    /// is found when it is read.
    #[must_use]
    pub fn only_name(&self) -> Option<String> {
        let raw = read_file(&self.files, "index.json", DOCUMENT_MAX).ok()?;
        let Document::Index(index) = Document::parse(raw, None).ok()? else { return None };
        let [only] = index.entries.as_slice() else { return None };
        let mut names: Vec<&String> = NAMES.iter().filter_map(|key| only.blob.annotations.get(*key)).collect();
        names.dedup();
        // Buildah and podman write a whole reference, other tools often a tag alone, which says nothing elsewhere.
        match names[..] {
            [name] if name.contains([':', '/']) => Some(name.clone()),
            _ => None,
        }
    }

    fn malformed(&self, error: crate::manifest::ManifestError) -> SourceError {
        SourceError::Manifest { what: format!("index.json of {}", self.described), error }
    }

    /// Refuses a layout of another version. One without the file `oci-layout` is read, as skopeo and cfsctl do.
    fn check_version(&self) -> Result<(), SourceError> {
        let raw = match read_file(&self.files, OCI_LAYOUT, LAYOUT_FILE_MAX) {
            Ok(raw) => raw,
            Err(SourceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let version: LayoutFile = serde_json::from_slice(&raw).unwrap_or_default();
        match version.image_layout_version.as_str() {
            "1.0.0" => Ok(()),
            _ => Err(SourceError::LayoutVersion { layout: self.described.clone() }),
        }
    }

    /// Finds the entry of the image in the index.
    fn find<'e>(&self, index: &'e DocumentIndex) -> Result<&'e IndexEntry, SourceError> {
        let entries = &index.entries;
        let names = |entry: &IndexEntry| -> Vec<String> {
            NAMES.iter().filter_map(|key| entry.blob.annotations.get(*key).cloned()).collect()
        };
        let no_image = |what: &str| {
            let all: Vec<String> = entries.iter().flat_map(names).collect();
            let more = all.len().saturating_sub(NAMES_SHOWN);
            let more = if more == 0 { String::new() } else { format!(" and {more} others") };
            let shown = all[..all.len().min(NAMES_SHOWN)].join(", ");
            let all = if all.is_empty() { "it has no names".to_owned() } else { format!("it has {shown}{more}") };
            SourceError::NoImage(format!("{}: {what}; {all}", self.described))
        };
        let Some(image) = &self.image else {
            return match (entries.as_slice(), index.unchecked.as_slice()) {
                ([only], []) => Ok(only),
                ([], [(_, error)]) => Err(self.malformed(error.clone().into())),
                ([], []) => Err(SourceError::NoImage(format!("{}: the layout has no image", self.described))),
                _ => Err(no_image("the layout has several images, so that a name is needed after the path")),
            };
        };
        let digest: Option<BlobDigest> = image.strip_prefix('@').and_then(|digest| digest.parse().ok());
        let mut found = entries.iter().filter(|entry| match digest {
            Some(digest) => entry.blob.digest == digest,
            None => names(entry).contains(image),
        });
        let Some(first) = found.next() else {
            let mut unchecked = index.unchecked.iter();
            let is_it = |(annotations, _): &&(BTreeMap<String, String>, _)| {
                NAMES.iter().any(|key| annotations.get(*key) == Some(image))
            };
            return Err(match unchecked.find(is_it) {
                Some((_, error)) => self.malformed(error.clone().into()),
                None => no_image(&format!("no image is called {image:?}")),
            });
        };
        if let Some(other) = found.find(|other| other.blob.digest != first.blob.digest) {
            let digests = format!("{} and {}", first.blob.digest, other.blob.digest);
            let what = format!("several images are called {image:?}, {digests}; @DIGEST chooses one");
            return Err(SourceError::NoImage(format!("{}: {what}", self.described)));
        }
        Ok(first)
    }
}

impl<F: SourceFiles> ImageSource for OciLayout<F> {
    fn describe(&self) -> String {
        match &self.image {
            Some(image) if image.starts_with('@') => format!("{}{image}", self.described),
            Some(image) => format!("{}:{image}", self.described),
            None => self.described.clone(),
        }
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        self.check_version()?;
        let raw = read_file(&self.files, "index.json", DOCUMENT_MAX)?;
        let document = Document::parse(raw, None).map_err(|error| self.malformed(error))?;
        let Document::Index(index) = document else {
            return Err(SourceError::NoImage(format!("index.json of {} is no index", self.described)));
        };
        let BlobRef { digest, size, media_type, .. } = &self.find(&index)?.blob;
        let raw = read_file(&self.files, &blob_path(digest), DOCUMENT_MAX)?;
        let what = format!("{} of {}", blob_path(digest), self.described);
        check(&what, &raw, *digest)?;
        check_size(&what, &raw, *size)?;
        Ok(RootDocument { raw, media_type: Some(media_type.clone()), digest: Some(*digest) })
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        read_file(&self.files, &blob_path(&blob.digest), DOCUMENT_MAX)
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        let path = blob_path(&blob.digest);
        let (file, _) = self.files.open(&path).map_err(|source| SourceError::Io { path, source })?;
        Ok(file)
    }
}

fn blob_path(digest: &BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io;

    use super::*;
    use crate::source::find_manifest;

    /// A layout in memory.
    struct MemoryFiles(HashMap<String, Vec<u8>>);

    impl SourceFiles for MemoryFiles {
        fn open(&self, path: &str) -> io::Result<(Box<dyn Read + Send + '_>, u64)> {
            let bytes = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
            Ok((Box::new(&bytes[..]), bytes.len() as u64))
        }
    }

    /// Reads an image from a layout with these manifests, of which the index has names and sizes that may be wrong by
    /// this number of bytes.
    fn root(manifests: &[(&str, &str)], wrong: u64, image: Option<&str>) -> Result<RootDocument, SourceError> {
        root_of(HashMap::new(), manifests, wrong, image)
    }

    fn root_of(
        mut files: HashMap<String, Vec<u8>>,
        manifests: &[(&str, &str)],
        wrong: u64,
        image: Option<&str>,
    ) -> Result<RootDocument, SourceError> {
        let entries: Vec<_> = manifests
            .iter()
            .map(|(name, text)| {
                let (digest, size) = (BlobDigest::of(text.as_bytes()), text.len() as u64 + wrong);
                files.insert(blob_path(&digest), text.as_bytes().to_vec());
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},
                    "annotations":{{"{}":"{name}"}}}}"#,
                    NAMES[0]
                )
            })
            .collect();
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        files.insert("index.json".to_owned(), index.into_bytes());
        OciLayout::new(MemoryFiles(files), "oci:x".to_owned(), image.map(str::to_owned)).root()
    }

    #[test]
    fn a_name_of_two_images_is_refused() {
        let two = [("a", "1"), ("a", "2"), ("b", "3")];
        let message = root(&two, 0, Some("a")).unwrap_err().to_string();
        let digests = [BlobDigest::of(b"1"), BlobDigest::of(b"2")];
        assert!(digests.iter().all(|digest| message.contains(&digest.to_string())), "{message}");
        let by_digest = format!("@{}", digests[1]);
        assert_eq!(root(&two, 0, Some(&by_digest)).unwrap().raw, b"2");
        assert_eq!(root(&two, 0, Some("b")).unwrap().raw, b"3");
        // The same image twice is one.
        assert_eq!(root(&[("a", "1"), ("a", "1")], 0, Some("a")).unwrap().raw, b"1");
    }

    /// Adds a document to the files, and returns the fields of its descriptor.
    fn put(files: &mut HashMap<String, Vec<u8>>, kind: &str, text: &str) -> String {
        let digest = BlobDigest::of(text.as_bytes());
        files.insert(blob_path(&digest), text.as_bytes().to_vec());
        let size = text.len();
        format!(r#""mediaType":"application/vnd.oci.image.{kind}.v1+json","digest":"{digest}","size":{size}"#)
    }

    fn layout(mut files: HashMap<String, Vec<u8>>, entries: &[String], image: Option<&str>) -> OciLayout<MemoryFiles> {
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        files.insert("index.json".to_owned(), index.into_bytes());
        OciLayout::new(MemoryFiles(files), "oci:x".to_owned(), image.map(str::to_owned))
    }

    #[test]
    fn an_entry_of_another_algorithm_hides_no_other() {
        let named = |name: &str, rest: &str| format!(r#"{{{rest},"annotations":{{"{}":"{name}"}}}}"#, NAMES[0]);
        let other = format!(r#""mediaType":"application/x","digest":"sha512:{}","size":1"#, "ab".repeat(64));
        let root = |image: Option<&str>| {
            let mut files = HashMap::new();
            let entries = [named("a", &put(&mut files, "manifest", "1")), named("b", &other)];
            layout(files, &entries, image).root()
        };
        assert_eq!(root(Some("a")).unwrap().raw, b"1");
        let error = root(Some("b")).unwrap_err().to_string();
        assert!(error.contains("sha512:abab") && error.contains("is no digest that can be checked"), "{error}");
        assert!(root(Some("c")).unwrap_err().to_string().contains("no image is called \"c\""));
        assert!(root(None).unwrap_err().to_string().contains("several images"));
        // A wrong sha256 is an error of the whole index.
        let wrong = other.replace(&format!("sha512:{}", "ab".repeat(64)), "sha256:ab");
        assert!(layout(HashMap::new(), &[named("b", &wrong)], Some("b")).root().is_err());
    }

    #[test]
    fn a_platform_is_found_in_nested_indexes() {
        let mut files = HashMap::new();
        let empty = put(&mut files, "config", "{}");
        let manifest = |files: &mut _, name: &str| {
            let text =
                format!(r#"{{"schemaVersion":2,"config":{{{empty}}},"layers":[],"annotations":{{"name":"{name}"}}}}"#);
            put(files, "manifest", &text)
        };
        let of = |architecture: &str, rest: &str| {
            format!(r#"{{{rest},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#)
        };
        let (arm, amd) = (manifest(&mut files, "arm"), manifest(&mut files, "amd"));
        let index = |files: &mut _, entries: &[String]| {
            put(files, "index", &format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(",")))
        };
        let first = index(&mut files, &[of("arm64", &arm)]);
        // Without a platform, beside an attestation.
        let second = index(&mut files, &[format!("{{{amd}}}"), of("unknown", &arm)]);
        let both = index(&mut files, &[format!("{{{first}}}"), format!("{{{second}}}")]);
        let find = |platform: &str| {
            let entries = [format!("{{{both}}}")];
            find_manifest(&layout(files.clone(), &entries, None), &platform.parse().unwrap())
        };
        assert_eq!(find("linux/arm64").unwrap().annotations["name"], "arm");
        assert_eq!(find("linux/amd64").unwrap().annotations["name"], "amd");
        let mut files = HashMap::new();
        let mut nested = index(&mut files, &[]);
        let empty = format!("{{{nested}}}");
        let find = |files: HashMap<_, _>, entry: &str| {
            find_manifest(&layout(files, &[format!("{{{entry}}}")], None), &"linux/amd64".parse().unwrap())
        };
        let error = find(files.clone(), &nested).unwrap_err().to_string();
        assert!(error.contains("has no image for linux/amd64") && error.contains("@sha256:HEX"), "{error}");
        let many = index(&mut files, &vec![empty; 20]);
        assert!(find(files.clone(), &many).unwrap_err().to_string().contains("first 16 indexes"));
        for _ in 0..4 {
            nested = index(&mut files, &[format!("{{{nested}}}")]);
        }
        assert!(find(files, &nested).unwrap_err().to_string().contains("more than 4 indexes"));
    }

    #[test]
    fn a_wrong_size_is_refused() {
        assert_eq!(root(&[("a", "1")], 0, None).unwrap().raw, b"1");
        let error = root(&[("a", "1")], 1, None).unwrap_err();
        assert!(matches!(error, SourceError::Size { expected: 2, found: 1, .. }), "{error}");
    }

    #[test]
    fn another_version_is_refused() {
        let of_version = |text: &str| {
            let files = HashMap::from([(OCI_LAYOUT.to_owned(), text.as_bytes().to_vec())]);
            root_of(files, &[("a", "1")], 0, None)
        };
        assert_eq!(of_version(r#"{"imageLayoutVersion":"1.0.0","more":1}"#).unwrap().raw, b"1");
        for text in [r#"{"imageLayoutVersion":"2.0.0"}"#, r#"{"imageLayoutVersion":1}"#, "{}", "", "1.0.0"] {
            let error = of_version(text).unwrap_err();
            assert!(matches!(error, SourceError::LayoutVersion { .. }), "{text}: {error}");
            assert!(error.to_string().starts_with("oci:x: the file oci-layout"), "{error}");
        }
        assert!(of_version(&" ".repeat(5000)).is_err());
    }

    #[test]
    fn a_message_has_some_of_many_names() {
        let names: Vec<String> = (0..100).map(|number| format!("name-{number:02}")).collect();
        let manifests: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let message = root(&manifests, 0, Some("x")).unwrap_err().to_string();
        assert!(message.contains("name-19 and 80 others") && !message.contains("name-20"), "{message}");
    }
}
