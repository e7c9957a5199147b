//! Finds out if standard output was open when the program began.
//!
//! The runtime of Rust opens `/dev/null` in place of standard streams that are closed, so that no file gets their
//! numbers. From then on a program cannot know that its output is lost. So this is checked before the runtime begins.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Returns true if the program was started without a standard output, as by `>&-` of a shell.
pub fn stdout_is_closed() -> bool {
    STDOUT_IS_CLOSED.load(Ordering::Relaxed)
}

extern "C" fn look() {
    // SAFETY: F_GETFD takes no pointer and changes nothing; for a number that is no descriptor it fails.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_IS_CLOSED.store(flags == -1, Ordering::Relaxed);
}

// SAFETY: the C library calls every function in this section once, before `main`, with arguments that a function of the
// C calling convention may ignore. `look` needs nothing that is set up later: it makes one system call and stores a
// flag.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
