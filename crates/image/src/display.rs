//! Bytes of the input in messages.

/// The number of characters of a text that are shown.
const LONGEST: usize = 4200;

/// Returns bytes of a dump, an image or a layer as they may be shown in a message: control characters are replaced, and
/// the end is cut.
#[must_use]
pub fn shown(text: &[u8]) -> String {
    // A hostile field may be megabytes long or move the terminal's cursor.
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * LONGEST)]);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(LONGEST).collect()
}
