//! The features of this kernel's overlayfs, found by asking it and not by its version.

use libcomposefs_sys::mount::{FsContext, MountError};
use rustix::io::Errno;

use crate::options::Verity;

/// The features of overlayfs that a mount depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlayfs {
    /// It takes options one by one and refuses unknown ones (Linux 6.5). Else they go through `mount(2)`.
    pub contexts: bool,
    /// It has the option `verity` (Linux 6.6).
    pub verity: bool,
}

impl Overlayfs {
    /// Asks the kernel, creating nothing.
    ///
    /// # Errors
    ///
    /// `ENODEV` without overlayfs, `EPERM` without `CAP_SYS_ADMIN`.
    pub fn probe() -> Result<Self, MountError> {
        let context = match FsContext::open("overlay") {
            Ok(context) => context,
            Err(error) if error.errno == Errno::NOSYS => return Ok(Self { contexts: false, verity: false }),
            Err(error) => return Err(error),
        };
        // Before it understood contexts, everything was gathered unseen into the text for mount(2)
        // (legacy_parse_param in fs/fs_context.c): then even this goes.
        if context.set_flag("unsupported").is_ok() {
            return Ok(Self { contexts: false, verity: false });
        }
        Ok(Self { contexts: true, verity: context.set_string("verity", "require").is_ok() })
    }

    /// Returns the check that overlayfs makes if `wish` is asked for, or `None` if it cannot verify as asked.
    pub(crate) fn verity(self, wish: Verity) -> Option<Verity> {
        match (wish, self.verity) {
            (Verity::Off, _) => Some(Verity::Off),
            (Verity::RequireIfSupported, false) => Some(Verity::Off),
            (Verity::RequireIfSupported, true) => Some(Verity::Require),
            (wish, true) => Some(wish),
            (_, false) => None,
        }
    }
}

/// `uname -r`, for messages.
#[must_use]
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown release".into(), |release| release.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_try_goes_without_verity() {
        let old = Overlayfs { contexts: false, verity: false };
        let new = Overlayfs { contexts: true, verity: true };
        for (wish, on_old, on_new) in [
            (Verity::Off, Some(Verity::Off), Verity::Off),
            (Verity::Check, None, Verity::Check),
            (Verity::Require, None, Verity::Require),
            (Verity::RequireIfSupported, Some(Verity::Off), Verity::Require),
        ] {
            assert_eq!(old.verity(wish), on_old);
            assert_eq!(new.verity(wish), Some(on_new));
        }
    }
}
