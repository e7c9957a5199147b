//! Runs every command of the table with output that cannot be written, and with hostile names.

mod fixture;
mod table;
mod terminal;

use std::io::Read;
use std::process::{Output, Stdio};

use fixture::{Place, full, unread};
use table::{ROWS, Row};

impl Row {
    /// Runs the row's command and checks its effect.
    fn run(&self, place: &Place, line: &str, stdout: Stdio) -> Output {
        let ran = place.sh(line, stdout);
        self.check(place, line, &ran);
        ran
    }

    fn check(&self, place: &Place, line: &str, ran: &Output) {
        for after in [self.holds, self.undo].into_iter().filter(|after| !after.is_empty()) {
            let after = place.sh(after, Stdio::piped());
            assert!(after.status.success(), "{line}: {ran:?}\n{after:?}");
        }
        assert!(!text(&ran.stderr).contains("panicked"), "{line}: {ran:?}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn unwritable_output_exits_with_status_1() {
    let place = Place::new(false);
    for row in ROWS {
        let line = row.line;
        let whole = row.run(&place, line, Stdio::piped());
        let prints = !whole.stdout.is_empty();
        let expected = if prints { Some(1) } else { whole.status.code() };
        let no_space = row.run(&place, line, full());
        assert_eq!(no_space.status.code(), expected, "{line}: {no_space:?}");
        let closed = row.run(&place, &format!("exec >&-; {line}"), Stdio::null());
        assert_eq!(closed.status.code(), expected, "{line}: {closed:?}");
        if prints {
            for (ran, why) in [(&no_space, "No space left on device"), (&closed, "Bad file descriptor")] {
                let said = text(&ran.stderr);
                let message = said.lines().filter(|line| line.contains("cannot write to standard output")).count();
                assert!(message == 1 && said.contains(why), "{line}: {said}");
            }
        }
        // If the reader has closed the pipe, there is no message.
        let unread = row.run(&place, line, unread());
        assert_eq!(unread.status.code(), expected, "{line}: {unread:?}");
        assert_eq!(text(&unread.stderr), text(&whole.stderr), "{line}");
    }
}

#[test]
fn a_full_standard_error_changes_nothing() {
    let place = Place::new(false);
    for row in ROWS {
        let whole = row.run(&place, row.line, Stdio::piped());
        let line = format!("exec 2>/dev/full; {}", row.line);
        let silent = row.run(&place, &line, Stdio::piped());
        assert_eq!(silent.status, whole.status, "{line}");
        assert_eq!(silent.stdout.is_empty(), whole.stdout.is_empty(), "{line}");
        let line = row.fails;
        let told = place.sh(line, Stdio::piped());
        let silent = place.sh(&format!("exec 2>/dev/full; {line}"), Stdio::piped());
        assert_eq!(silent.status, told.status, "{line}: {told:?}");
        assert!(matches!(told.status.code(), Some(0..=2)), "{line}: {told:?}");
        let both = place.sh(&format!("exec 2>&-; {line}"), full());
        assert!(matches!(both.status.code(), Some(0..=2)), "{line}: {both:?}");
    }
}

/// A pipe that one process makes non-blocking is non-blocking for all processes that share it.
#[test]
fn slow_reader_of_a_non_blocking_pipe_gets_everything() {
    let place = Place::new(false);
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    let one = place.sh("composefs explain-digest --help", Stdio::piped()).stdout;
    // More than the capacity of a pipe, which is 64 KiB.
    let times = (1 << 17) / one.len();
    let mut command =
        place.command(&format!("for i in $(seq {times}); do composefs explain-digest --help || exit; done"));
    let mut child = command.stdout(writer).spawn().unwrap();
    // `Command` holds the pipe: reading ends once it is dropped and the program has exited.
    drop(command);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(all, one.repeat(times));
}

#[test]
fn unwritable_help_exits_with_status_1() {
    let place = Place::new(false);
    let mut commands: Vec<&str> = ROWS.iter().map(|row| row.command).collect();
    commands.dedup();
    for command in commands {
        let is_program = command.contains("composefs");
        let line = if is_program { format!("{command} --help") } else { format!("composefs {command} --help") };
        let whole = place.sh(&line, Stdio::piped());
        assert!(whole.status.success() && text(&whole.stdout).contains("sage: "), "{line}: {whole:?}");
        let no_space = place.sh(&line, full());
        assert_eq!(no_space.status.code(), Some(1), "{line}: {no_space:?}");
        assert!(text(&no_space.stderr).contains("No space left on device"), "{line}: {no_space:?}");
    }
}
