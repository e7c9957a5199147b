//! Errors of making the configuration of a runtime.

/// Error of making the configuration of a runtime, with the value that is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The configuration of the image is not JSON of the expected form.
    #[error("the image's configuration is malformed: {0}")]
    ImageConfig(serde_json::Error),
    /// A text of the image or the command line has a NUL byte, which no argument of a program can have.
    #[error("{field} {value:?} has a NUL byte")]
    NulByte {
        /// Name of the field, such as `Env`.
        field: &'static str,
        /// The refused text.
        value: String,
    },
    /// A path in the container is not absolute, has `..` or is the root.
    #[error("{field} {path:?} is not a path in the container: give an absolute path below / without \"..\"")]
    BadPath {
        /// Name of the field, such as `WorkingDir`.
        field: &'static str,
        /// The refused path.
        path: String,
    },
    /// A variable of the environment has no name.
    #[error("environment variable {0:?} has no name")]
    UnnamedVariable(String),
    /// There is nothing to run.
    #[error("no command: the image has neither Entrypoint nor Cmd; give a command after --")]
    NoCommand,
    /// The first word of the command is empty.
    #[error("the command is empty: its first word must name a program")]
    EmptyCommand,
    /// Two options mount something at one place.
    #[error("{0} is mounted by two options: leave one of them out")]
    MountedTwice(String),
    /// The user is not in the image.
    #[error(
        "user {0:?} is not in the image's /etc/passwd: the image's configuration names it, so build the image with a \
         number, or with a user that it has"
    )]
    UnknownUser(String),
    /// The group is not in the image.
    #[error(
        "group {0:?} is not in the image's /etc/group: the image's configuration names it, so build the image with a \
         number, or with a group that it has"
    )]
    UnknownGroup(String),
    /// A numeric user or group is larger than the kernel accepts.
    #[error("user or group {0} is out of range: the largest is 2147483647")]
    IdOutOfRange(String),
    /// The seccomp profile is not JSON of the expected form.
    #[error("the seccomp profile is malformed: {0}")]
    Seccomp(serde_json::Error),
    /// The seccomp profile has a value with an unknown meaning.
    #[error("the seccomp profile is malformed: unknown {what} {value:?}")]
    SeccompValue {
        /// Kind of the value.
        what: &'static str,
        /// The refused value.
        value: String,
    },
    /// A limit is too small or too large for the kernel.
    #[error("{option} {value} is refused: {rule}")]
    Limit {
        /// Name of the option.
        option: &'static str,
        /// The refused value.
        value: u64,
        /// The rule that the value breaks.
        rule: &'static str,
    },
    /// The types of the runtime specification refuse a value.
    #[error("cannot assemble the runtime's configuration: {0}")]
    Assemble(#[from] oci_spec::OciSpecError),
}
