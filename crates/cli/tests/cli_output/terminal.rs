//! Names with control characters, in every place where a command can print them.

use std::io::Read;
use std::process::Stdio;

use libcomposefs_testkit::terminal::Pseudoterminal;

use crate::fixture::Place;
use crate::table::ROWS;

/// Returns the first problem of text that is sent to a terminal.
fn obeyed(bytes: &[u8], allowed: &[char]) -> Option<String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Some(error.to_string()),
    };
    let is_obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
                | '\u{2028}' | '\u{2029}')
    };
    if let Some(c) = text.chars().find(|c| is_obeyed(*c) && !allowed.contains(c)) {
        return Some(format!("{:?}", c));
    }
    text.lines().find(|line| line.trim_start().starts_with("FORGED")).map(|_| "a line that a name made".to_owned())
}

#[test]
fn hostile_names_are_detected() {
    let place = Place::new(true);
    for line in [r#"printf %s "$X""#, r#"printf %s "$N""#] {
        let ran = place.sh(line, Stdio::piped());
        assert!(obeyed(&ran.stdout, &['\n', '\t']).is_some(), "{line}");
    }
    assert_eq!(obeyed("größe FORGED\n".as_bytes(), &['\n']), None);
}

#[test]
fn messages_have_no_control_characters() {
    let place = Place::new(true);
    for row in ROWS {
        let ran = row.run(&place, row.line, Stdio::piped());
        let failed = place.sh(row.fails, Stdio::piped());
        for (line, ran) in [(row.line, &ran), (row.fails, &failed)] {
            assert_eq!(obeyed(&ran.stderr, &['\n']), None, "{line}: {ran:?}");
            if line.contains("--json") {
                assert_eq!(obeyed(&ran.stdout, &['\n']), None, "{line}: {ran:?}");
            }
        }
        assert!(matches!(failed.status.code(), Some(0..=2)), "{}: {failed:?}", row.fails);
        assert!(
            !failed.stderr.is_empty() || failed.status.success() || !failed.stdout.is_empty(),
            "{}: {failed:?}",
            row.fails
        );
    }
}

#[test]
fn output_on_a_terminal_has_no_control_characters() {
    let place = Place::new(true);
    for row in ROWS {
        for line in [row.line, row.fails] {
            let (printed, ran) = on_terminal(&place, line);
            if line == row.line {
                row.check(&place, line, &ran);
            }
            assert_eq!(obeyed(&printed, &['\n', '\t']), None, "{line}: {}", String::from_utf8_lossy(&printed));
            assert_eq!(obeyed(&ran.stderr, &['\n']), None, "{line}: {ran:?}");
        }
    }
}

/// Runs a line with a terminal as standard output; returns the text printed there and the rest of the outcome.
fn on_terminal(place: &Place, line: &str) -> (Vec<u8>, std::process::Output) {
    let Pseudoterminal { mut controller, terminal } = Pseudoterminal::open().unwrap();
    let mut command = place.command(line);
    let child = command.stdout(terminal).stderr(Stdio::piped()).spawn().unwrap();
    // `Command` holds the terminal: reading ends once it is dropped and the program has exited.
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut printed = Vec::new();
        // Reading from a terminal that no process has open fails.
        let _ = controller.read_to_end(&mut printed);
        printed
    });
    let ran = child.wait_with_output().unwrap();
    let mut printed = reader.join().unwrap();
    // A terminal ends lines with two characters.
    let mut at = 0;
    while let Some(found) = printed[at..].windows(2).position(|pair| pair == b"\r\n") {
        at += found;
        printed.remove(at);
    }
    (printed, ran)
}
