//! What JSON has no words for: bytes that are no text, digests.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::output;

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

/// An array that is written element by element, however many there are.
#[derive(Debug)]
pub(crate) struct ArrayWriter<W> {
    out: W,
    is_empty: bool,
}

impl<W: Write> ArrayWriter<W> {
    /// Begins an array.
    pub(crate) fn new(out: W) -> Self {
        Self { out, is_empty: true }
    }

    /// Writes an element, in a line of its own.
    pub(crate) fn push(&mut self, element: &Map<String, Value>) -> io::Result<()> {
        self.out.write_all(if self.is_empty { b"[\n  " } else { b",\n  " })?;
        self.is_empty = false;
        Ok(serde_json::to_writer(output::Json(&mut self.out), element)?)
    }

    /// Ends the array.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(if self.is_empty { b"[]\n" } else { b"\n]\n" })?;
        self.out.flush()
    }
}

/// Writes a value, indented, and a newline.
pub(crate) fn write_pretty(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(output::Json(&mut out), value)?;
    out.write_all(b"\n")
}

/// Writes a value in one line.
pub(crate) fn write_line(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(output::Json(&mut out), value)?;
    out.write_all(b"\n")
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

    #[test]
    fn arrays_of_any_length() {
        for count in 0..3 {
            let mut text = Vec::new();
            let mut array = ArrayWriter::new(&mut text);
            let element = Map::from_iter([("a".to_owned(), Value::from(1))]);
            (0..count).for_each(|_| array.push(&element).unwrap());
            array.finish().unwrap();
            let expected = vec![Value::Object(element); count];
            assert_eq!(serde_json::from_slice::<Vec<Value>>(&text).unwrap(), expected);
        }
    }
}
