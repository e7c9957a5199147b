//! Exit statuses for containers whose command does not start, as podman and chroot(1) have them.

use std::fmt;

/// Exit status if the container cannot be started.
pub(crate) const CANNOT_START: u8 = 125;
/// Exit status if the command is found, but cannot be executed.
pub(crate) const CANNOT_EXECUTE: u8 = 126;
/// Exit status if the command is not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// Error of the runtime, as it wrote it to its log.
#[derive(Debug)]
pub(super) struct RuntimeFailure {
    /// Name of the runtime, such as `crun`.
    pub(super) runtime: String,
    /// Last error in the log; empty if the log has no error.
    pub(super) message: String,
    /// Whether the container was to have control groups.
    pub(super) has_cgroups: bool,
}

impl RuntimeFailure {
    /// Recognizes the errors of crun and runc for a command that they cannot execute.
    fn status(&self) -> u8 {
        let has = |words: &[&str]| words.iter().any(|word| self.message.contains(word));
        let is_of_command = has(&["executable file", "open executable", "exec: \"", "the path `"])
            || self.message.starts_with("cannot open `");
        if is_of_command && has(&["not found", "no such file", "No such file"]) {
            NOT_FOUND
        } else if is_of_command {
            CANNOT_EXECUTE
        } else {
            CANNOT_START
        }
    }
}

impl fmt::Display for RuntimeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The runtimes also print their message themselves.
        write!(f, "{} cannot start the container", self.runtime)?;
        // Only crun can leave control groups out.
        if self.has_cgroups && self.runtime.starts_with("crun") && self.message.contains("cgroup") {
            f.write_str(": --cgroups=disabled starts it without control groups and their limits")?;
        }
        Ok(())
    }
}

impl std::error::Error for RuntimeFailure {}

/// Returns the exit status for an error of [`super::run_container`].
pub(crate) fn status_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<RuntimeFailure>().map_or(CANNOT_START, RuntimeFailure::status)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages are those of crun 1.8.1 and 1.21, and of runc 1.1.5; the statuses are those of podman 5.4.2.
    #[test]
    fn the_status_follows_from_the_message() {
        for (message, status) in [
            ("executable file `/nonono` not found in $PATH: No such file or directory", 127),
            ("exec: \"nonono\": executable file not found in $PATH", 127),
            ("exec: \"/nonono\": stat /nonono: no such file or directory", 127),
            ("executable file `/none/x` not found: No such file or directory", 127),
            ("the path `/etc` is not a regular file: Operation not permitted", 126),
            ("the path `/x` exists but it is not executable: Operation not permitted", 126),
            ("cannot open `/etc/passwd/x`: Not a directory", 126),
            ("opening file `memory.max` for writing: No such file or directory", 125),
            ("open executable: Operation not permitted", 126),
            ("unable to start container process: exec: \"/data\": permission denied", 126),
            ("error stat'ing file `/nonexx`: No such file or directory", 125),
            ("", 125),
        ] {
            let failure = RuntimeFailure { runtime: "crun".into(), message: message.into(), has_cgroups: true };
            assert_eq!(status_of(&failure.into()), status, "{message}");
        }
        assert_eq!(status_of(&anyhow::anyhow!("other")), 125);
    }

    #[test]
    fn a_failure_of_control_groups_names_the_option() {
        let text = |runtime: &str, message: &str| {
            RuntimeFailure { runtime: runtime.into(), message: message.into(), has_cgroups: true }.to_string()
        };
        let without = RuntimeFailure { runtime: "crun".into(), message: "cgroup".into(), has_cgroups: false };
        assert_eq!(without.to_string(), "crun cannot start the container");
        assert!(text("crun", "cgroups in hybrid mode not supported").contains("--cgroups=disabled"));
        assert_eq!(text("crun", "other"), "crun cannot start the container");
        assert_eq!(text("runc", "cgroup: no such file"), "runc cannot start the container");
    }
}
