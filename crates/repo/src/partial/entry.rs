//! The file that describes a partial image: its text, without IO (`docs/format/repository.md`, section 7).

use serde::{Deserialize, Serialize};

use crate::RefName;

/// Version of the text.
const VERSION: u32 = 1;

/// Description of a partial image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialEntry {
    /// The remote that has the objects: a URL, or the absolute path of a directory.
    pub remote: String,
    /// Name of the image in the remote.
    pub name: RefName,
    /// The remote's document of the name, as it was when the image was added: the ref may lead to another image later.
    pub document: String,
    /// Number of different objects of the image, without the image.
    pub objects: u64,
    /// Size of these objects, in bytes.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartialText {
    version: u32,
    remote: String,
    name: String,
    document: String,
    objects: u64,
    bytes: u64,
}

impl PartialEntry {
    /// Returns the text of the file.
    pub(super) fn to_text(&self) -> String {
        let Self { remote, name, document, objects, bytes } = self.clone();
        let name = name.as_str().to_owned();
        let text = PartialText { version: VERSION, remote, name, document, objects, bytes };
        serde_json::to_string(&text).expect("no map with other keys than text") + "\n"
    }

    /// Reads the text of the file; the error is what is wrong with it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text: PartialText = serde_json::from_slice(text).map_err(|error| format!("it is damaged: {error}"))?;
        if text.version != VERSION {
            return Err(format!("it has version {}; this program knows version {VERSION}", text.version));
        }
        let name = RefName::new(text.name).map_err(|error| error.to_string())?;
        let PartialText { remote, document, objects, bytes, .. } = text;
        Ok(Self { remote, name, document, objects, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_others_are_refused() {
        let (remote, document) = ("https://images.example.org/a\"b".to_owned(), "{\"version\": 1}\n".to_owned());
        let entry = PartialEntry { remote, name: RefName::new("debian/13").unwrap(), document, objects: 4, bytes: 5 };
        let text = entry.to_text();
        assert_eq!(PartialEntry::parse(text.as_bytes()), Ok(entry));
        for (old, new, reason) in [
            ("\"version\":1", "\"version\":2", "version 2"),
            ("\"objects\":4", "\"objects\":-4", "damaged"),
            ("\"objects\":4", "\"objects\":4,\"more\":1", "damaged"),
            ("debian/13", "debian//13", "cannot name an image"),
        ] {
            let error = PartialEntry::parse(text.replacen(old, new, 1).as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
