//! The message of a refused boot: two lines that fit a console of 80 columns, then details.

/// Columns of a console.
const COLUMNS: usize = 80;
/// Fewest hex digits in a row that count as a digest.
const DIGEST_MIN: usize = 40;
/// Number of digits that are shown of a digest.
const SHOWN: usize = 12;

/// Reason of a refusal and its remedy, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootRefusal {
    /// The failed action and its cause.
    pub what: String,
    /// Action for the person at the console.
    pub remedy: String,
    /// More lines, of any length.
    pub details: Vec<String>,
}

impl BootRefusal {
    /// Returns the two lines, and the details. What the first line has no room for is the first detail.
    #[must_use]
    pub fn lines(&self) -> (Vec<String>, Vec<String>) {
        let full = format!("composefs: BOOT REFUSED: {}", printable(&self.what));
        let first = fitting(&full);
        let second = fitting(&format!("composefs: {}", printable(&self.remedy)));
        let mut details = Vec::new();
        if first != full {
            details.push(format!("composefs:   {}", printable(&self.what)));
        }
        details.extend(self.details.iter().map(|line| format!("composefs:   {}", printable(line))));
        (vec![first, second], details)
    }
}

/// Returns the text without control characters: parts of it come from the disk.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Returns the line with shortened digests, and cut off where the console ends.
fn fitting(line: &str) -> String {
    let mut short = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let others = rest.bytes().skip(digits).take_while(|byte| !byte.is_ascii_hexdigit()).count();
        let (word, after) = rest.split_at_checked(digits).unwrap_or((rest, ""));
        match word.get(..SHOWN) {
            Some(head) if digits >= DIGEST_MIN => short.push_str(&format!("{head}...")),
            _ => short.push_str(word),
        }
        let (gap, after) = after.split_at_checked(others).unwrap_or((after, ""));
        short.push_str(gap);
        rest = after;
    }
    if short.chars().count() > COLUMNS {
        short = short.chars().take(COLUMNS - 3).collect::<String>() + "...";
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_fit_and_lose_nothing() {
        let hex = "ab".repeat(64);
        let refusal = BootRefusal {
            what: format!("composefs=?{hex}: the repository demands\nfs-verity, and more that does not fit the line"),
            remedy: "Choose the previous entry in the boot menu.".into(),
            details: vec![format!("wanted {hex}")],
        };
        let (lines, details) = refusal.lines();
        assert!(lines.len() == 2 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(lines[0].starts_with("composefs: BOOT REFUSED: composefs=?abababababab...: the rep"), "{lines:?}");
        assert_eq!(details.len(), 2);
        assert!(
            details[0].contains(&hex) && details[0].contains("does not fit the line") && !details[0].contains('\n')
        );
    }

    #[test]
    fn short_words_and_other_scripts_stay() {
        assert_eq!(fitting("facade 0123 é ü"), "facade 0123 é ü");
        assert_eq!(fitting(&"é".repeat(100)).chars().count(), 80);
        let refusal = BootRefusal { what: "x".into(), remedy: "y".into(), details: vec![] };
        assert_eq!(refusal.lines().1, Vec::<String>::new());
    }
}
