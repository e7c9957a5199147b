//! Makes the `config.json` of an OCI runtime (crun, runc) out of the configuration of an image and options.
//!
//! ```text
//! image configuration --ImageProcess--+
//! options --RunOptions----------------+--> runtime_spec --> oci_spec::runtime::Spec
//! passwd, group --ContainerUser-------+
//! seccomp.json --SeccompProfile-------+
//! ```
//!
//! The result is what podman 5 gives as root for the same image and options: capabilities, seccomp filter, masked and
//! read-only paths, namespaces, mounts and limits. There are these differences: the variable `container` is `oci`, not
//! `podman`; `/run/.containerenv` is missing; no AppArmor profile and no SELinux label is set; a numeric user that
//! `/etc/passwd` does not have gets no line there.
//!
//! Labels of the image do not become annotations: crun and runc obey annotations such as `run.oci.handler` and
//! `org.systemd.property.*`, and an image must not choose those.
//!
//! The module performs no IO. The caller reads the files and passes their bytes.

mod defaults;
mod environment;
mod error;
mod image_process;
mod mounts;
mod options;
mod place;
mod resources;
mod seccomp;
mod spec;
mod user;

pub use defaults::{CAPABILITIES, READ_ONLY_TMPFS, capability_names};
pub use error::RuntimeError;
pub use image_process::ImageProcess;
pub use mounts::{clean_volume, clean_working_dir};
pub use oci_spec::runtime::{LinuxSeccomp, Spec};
pub use options::{BindMount, CgroupLimits, ContainerNetwork, RunOptions, TmpfsMount};
pub use place::{ContainerPlace, GeneratedFiles, MappedIds, ProcessLimit, VolumeAttributes};
pub use seccomp::{KernelVersion, SeccompProfile, SeccompTarget};
pub use spec::runtime_spec;
pub use user::ContainerUser;
