//! Bytes of the input in messages.

/// The number of characters of a text that are shown.
const LONGEST: usize = 4200;

/// Text of a dump or an image as it may be shown in a message.
pub(crate) fn shown(text: &[u8]) -> String {
    // A hostile field may be megabytes long or move the terminal's cursor.
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * LONGEST)]);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(LONGEST).collect()
}
