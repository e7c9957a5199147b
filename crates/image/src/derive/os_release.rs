//! The file os-release, and extension-release, which has the same form (os-release(5)).

/// The fields of an os-release file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    fields: Vec<(String, String)>,
}

impl OsRelease {
    /// Parses a file: lines of `KEY=VALUE`, with values as a shell quotes them. Other lines are ignored.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let fields = lines.filter_map(|line| line.split_once('='));
        Self { fields: fields.map(|(key, value)| (key.trim().to_owned(), unquote(value.trim()))).collect() }
    }

    /// Returns the value of a field, if it has one that is not empty. The last line of a name counts.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.fields.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

fn unquote(value: &str) -> String {
    let (mut text, mut quote, mut is_escaped) = (String::new(), None, false);
    for c in value.chars() {
        match (c, quote) {
            _ if std::mem::take(&mut is_escaped) => text.push(c),
            ('\\', None | Some('"')) => is_escaped = true,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, _) => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted() {
        let text = b"# note\nID=debian\nNAME=\"a \\\"b\\\"\"\nLEVEL='1 $x'\nVERSION_ID=\nID=\"other\"\nno line\n";
        let release = OsRelease::parse(text);
        let values = ["ID", "NAME", "LEVEL", "VERSION_ID", "NONE"].map(|key| release.get(key));
        assert_eq!(values, [Some("other"), Some("a \"b\""), Some("1 $x"), None, None]);
    }
}
