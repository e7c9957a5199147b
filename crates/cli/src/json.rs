//! JSON output: byte strings that may not be UTF-8, and arrays written element by element.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::output;

/// Inserts a byte string that is usually text into an object: as a string under `key`. If it is not UTF-8, the string
/// has replacement characters and `KEY_hex` holds the bytes.
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

/// Writer of an array that streams its elements, however many there are.
#[derive(Debug)]
pub(crate) struct ArrayWriter<W> {
    out: W,
    is_empty: bool,
}

impl<W: Write> ArrayWriter<W> {
    /// Creates a writer of an empty array.
    pub(crate) fn new(out: W) -> Self {
        Self { out, is_empty: true }
    }

    /// Writes one element on a line of its own.
    pub(crate) fn push(&mut self, element: &Map<String, Value>) -> io::Result<()> {
        self.out.write_all(if self.is_empty { b"[\n  " } else { b",\n  " })?;
        self.is_empty = false;
        Ok(serde_json::to_writer(output::Json(&mut self.out), element)?)
    }

    /// Writes the end of the array and flushes the output.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(if self.is_empty { b"[]\n" } else { b"\n]\n" })?;
        self.out.flush()
    }
}

/// Writes a value with indentation, followed by a newline.
pub(crate) fn write_pretty(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(output::Json(&mut out), value)?;
    out.write_all(b"\n")
}

/// Writes a value on one line.
pub(crate) fn write_line(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(output::Json(&mut out), value)?;
    out.write_all(b"\n")
}

/// Returns bytes as lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_is_also_written_as_hex() {
        let mut object = Map::new();
        put_bytes(&mut object, "path", "/ä".as_bytes());
        put_bytes(&mut object, "name", b"a\xff");
        let expected = serde_json::json!({"path": "/ä", "name": "a\u{fffd}", "name_hex": "61ff"});
        assert_eq!(Value::Object(object), expected);
    }

    #[test]
    fn arrays_of_any_length_are_valid_json() {
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
