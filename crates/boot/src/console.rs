//! Messages: to the kernel's log, which shows them on the console, or to standard error.

use std::fs::File;
use std::io::Write as _;

use crate::message::{BootRefusal, printable};

/// Destination of the messages: the log of the kernel, or standard error.
#[derive(Debug)]
pub struct Console {
    /// `None` unless this is a boot: other programs do not write to the kernel's log.
    log: Option<File>,
}

/// `KERN_CRIT`: seen in spite of `quiet`.
const CRITICAL: u8 = 2;
const NOTICE: u8 = 5;
/// Most bytes of a record: `devkmsg_write` in `kernel/printk/printk.c` takes 992, in newer kernels 1024.
const RECORD_MAX: usize = 900;

impl Console {
    /// Opens the kernel's log if this is a boot.
    #[must_use]
    pub fn open(is_boot: bool) -> Self {
        let open = || File::options().write(true).open("/dev/kmsg").ok();
        Self { log: is_boot.then(open).flatten() }
    }

    /// Says why the boot is refused.
    pub fn refuse(&self, refusal: &BootRefusal) {
        let (lines, details) = refusal.lines();
        self.say(NOTICE, &details);
        self.say(CRITICAL, &lines);
    }

    /// Prints a note.
    pub fn note(&self, text: &str) {
        self.notes(&[text.to_owned()]);
    }

    /// Prints several notes.
    pub fn notes(&self, texts: &[String]) {
        let lines: Vec<_> = texts.iter().map(|text| format!("composefs: {}", printable(text))).collect();
        self.say(NOTICE, &lines);
    }

    fn say(&self, level: u8, lines: &[String]) {
        for text in records(lines) {
            let written = self.log.as_ref().map(|mut log| log.write_all(format!("<{level}>{text}\n").as_bytes()));
            if !matches!(written, Some(Ok(()))) {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }
}

/// Joins lines to records of the kernel's log. It takes ten records in five seconds and drops others without an error
/// (`printk_devkmsg=ratelimit`), so that lines of their own could be lost, the refusal with them.
fn records(lines: &[String]) -> Vec<String> {
    let mut records: Vec<String> = Vec::new();
    for line in lines {
        let line = shortened(line);
        match records.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= RECORD_MAX => {
                last.push('\n');
                last.push_str(&line);
            }
            _ => records.push(line),
        }
    }
    records
}

fn shortened(line: &str) -> String {
    if line.len() <= RECORD_MAX {
        return line.to_owned();
    }
    let end = line.char_indices().map(|(at, _)| at).take_while(|at| *at <= RECORD_MAX - 3).last();
    format!("{}...", line.get(..end.unwrap_or_default()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_are_few_records_that_the_kernel_takes() {
        let lines: Vec<_> = (0..30).map(|n| format!("composefs: module {n}.ko: No such file or directory")).collect();
        let joined = records(&lines);
        assert!(joined.len() == 2 && joined.iter().all(|text| text.len() <= RECORD_MAX), "{joined:?}");
        assert_eq!(joined.join("\n").lines().count(), 30);
        let long = records(&["x".into(), "é".repeat(2000), "y".into()]);
        assert!(long.iter().all(|text| text.len() <= RECORD_MAX) && long[1].ends_with("..."), "{long:?}");
        assert_eq!((long[0].as_str(), long[2].as_str(), long.len()), ("x", "y", 3));
        assert_eq!(records(&[]), Vec::<String>::new());
    }
}
