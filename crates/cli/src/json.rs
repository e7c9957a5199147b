//! What JSON has no words for: bytes that are no text, digests.

use serde_json::{Map, Value};

/// Puts bytes that are mostly text into an object: as a string under `key`; where they are no UTF-8 the string has
/// replacement characters, and `KEY_hex` the bytes.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            object.insert(key.to_owned(), text.into());
        }
        Err(_) => {
            object.insert(key.to_owned(), String::from_utf8_lossy(bytes).into());
            object.insert(format!("{key}_hex"), hex(bytes).into());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_string_and_other_bytes_are_kept() {
        let mut object = Map::new();
        put_bytes(&mut object, "path", "/ä".as_bytes());
        put_bytes(&mut object, "name", b"a\xff");
        let expected = serde_json::json!({"path": "/ä", "name": "a\u{fffd}", "name_hex": "61ff"});
        assert_eq!(Value::Object(object), expected);
    }
}
