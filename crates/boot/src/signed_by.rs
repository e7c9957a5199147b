//! The statement by which an image was booted: its name, its serial number, and the keys that have signed it.

use std::fmt::Write as _;

/// A statement that the policy of the initramfs has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// Name by which the image was booted.
    pub name: String,
    /// Name pattern of the rule, which has the floor.
    pub rule: String,
    /// Serial number of the statement.
    pub serial: u64,
    /// The keys that have signed, by their names in the policy.
    pub keys: Vec<String>,
}

impl SignedBy {
    /// Writes the statement as a value of JSON.
    pub(crate) fn to_json(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(|key| json_text(key)).collect();
        let (name, rule) = (json_text(&self.name), json_text(&self.rule));
        format!("{{\"name\":{name},\"rule\":{rule},\"serial\":{},\"keys\":[{}]}}", self.serial, keys.join(","))
    }
}

/// Returns a text as JSON has it. Names of keys and rules are whatever a policy may have.
fn json_text(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            ' '..='~' => json.push(character),
            _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(json, "\\u{unit:04x}");
            }),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_are_escaped() {
        let keys = vec!["a\"b\\".to_owned(), "\u{e9}\n\u{1f980}".to_owned()];
        let signed = SignedBy { name: "debian/13".into(), rule: "debian/*".into(), serial: u64::MAX, keys };
        let text = r#"{"name":"debian/13","rule":"debian/*","serial":18446744073709551615,"#;
        let keys = r#""keys":["a\"b\\","\u00e9\u000a\ud83e\udd80"]}"#;
        assert_eq!(signed.to_json(), format!("{text}{keys}"));
    }
}
