//! Pseudoterminals for programs that behave otherwise on a terminal.

use std::fs::File;
use std::io;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A pair of a terminal, which a program gets, and its controller, which stands for the screen and the keyboard.
#[derive(Debug)]
pub struct Pseudoterminal {
    /// Reads what programs print, and writes what is typed. Reading fails once no process has the terminal open.
    pub controller: File,
    /// What a program gets as its standard streams.
    pub terminal: File,
}

impl Pseudoterminal {
    /// Opens a new pair. It does not become the controlling terminal of this process.
    ///
    /// # Errors
    ///
    /// What `posix_openpt(3)` and the functions beside it give.
    pub fn open() -> io::Result<Self> {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        let name = ptsname(&controller, Vec::new())?.into_string().map_err(io::Error::other)?;
        let terminal = File::options().read(true).write(true).open(name)?;
        Ok(Self { controller: File::from(controller), terminal })
    }
}
