//! The options of the program: those of the two programs that it replaces.

use std::path::PathBuf;

use crate::face::Face;
use crate::words::Refused;

/// The options, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootArguments {
    /// Directory at which the disk is mounted.
    pub sysroot: PathBuf,
    /// Path of the configuration. A missing file means the defaults, an empty path too.
    pub config: PathBuf,
    /// Path of the policy that decides which images of a name are booted. `None`: the first of the two usual ones.
    pub policy: Option<PathBuf>,
    /// Directory that is used as the root in place of an image.
    pub root_fs: Option<PathBuf>,
    /// Kernel command line, in place of `/proc/cmdline`.
    pub cmdline: Option<String>,
    /// Directory at which the new root is mounted, in place of `sysroot`.
    pub target: Option<PathBuf>,
    /// Action after a refused boot, if the kernel command line names none.
    pub refused: Option<Refused>,
    /// The program that this one replaces.
    pub face: Face,
}

/// Request that the words after the program's name make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootRequest {
    /// Set up the root.
    SetUp(Box<BootArguments>),
    /// Print the text of `--help`.
    Help,
    /// Print name and version of the program.
    Version,
}

/// A word that is no option, or an option without its value or with a wrong one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}: expected --sysroot, --config, --policy, --root-fs, --cmdline, --target or --refused with a value; see --help"
)]
pub struct ArgumentError(pub String);

/// The text of `--help`.
pub const HELP: &str = "\
Mount the composefs image that the kernel command line names, as the root of the system

Usage: composefs-setup-root [OPTIONS] [setup-root]

It runs in an initramfs when the disk is mounted at /sysroot, and mounts the image over it. As
/init it does all that is needed before and after. With the word setup-root, or called as
initramfs-setup, it has the defaults of bootc's program.

Options:
      --sysroot <DIR>    Directory at which the disk is mounted [default: /sysroot]
      --config <FILE>    Configuration [default: /usr/lib/composefs/setup-root-conf.toml]
      --policy <FILE>    Policy for composefs.name= [default: /etc/composefs/policy.toml, else
                         /usr/lib/composefs/policy.toml]
      --root-fs <DIR>    Use this directory as the root in place of an image
      --cmdline <LINE>   Kernel command line [default: /proc/cmdline]
      --target <DIR>     Mount the root here and not over the disk; soft reboot: /run/nextroot
      --refused <WHAT>   After a refused boot: poweroff, reboot or emergency, as composefs.refused=
  -h, --help             Print help
  -V, --version          Print version

Exit status: 0 if the root is mounted, 1 if the boot is refused, 2 for a wrong option
";

impl BootRequest {
    /// Parses the words of the command line, of which the first one is the program's name. Words that are no options
    /// are passed over, as by composefs-rs.
    ///
    /// # Errors
    ///
    /// If an option is unknown or has no value.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgumentError> {
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default();
        let mut arguments = BootArguments {
            sysroot: "/sysroot".into(),
            config: "/usr/lib/composefs/setup-root-conf.toml".into(),
            policy: None,
            root_fs: None,
            cmdline: None,
            target: None,
            refused: None,
            face: Face::of(&program, std::iter::empty()),
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "-h" | "--help" => return Ok(BootRequest::Help),
                "-V" | "--version" => return Ok(BootRequest::Version),
                "setup-root" => arguments.face = Face::Bootc,
                _ if !word.starts_with('-') => {}
                _ => {
                    let (name, value) = match word.split_once('=') {
                        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                        None => (word.clone(), words.next()),
                    };
                    let value = value.ok_or_else(|| ArgumentError(word.clone()))?;
                    match name.as_str() {
                        "--sysroot" => arguments.sysroot = value.into(),
                        "--config" => arguments.config = value.into(),
                        "--policy" => arguments.policy = Some(value.into()),
                        "--root-fs" => arguments.root_fs = Some(value.into()),
                        "--cmdline" => arguments.cmdline = Some(value),
                        "--target" => arguments.target = Some(value.into()),
                        "--refused" => {
                            arguments.refused = Some(Refused::named(&value).ok_or(ArgumentError(word))?);
                        }
                        _ => return Err(ArgumentError(word)),
                    }
                }
            }
        }
        Ok(BootRequest::SetUp(Box::new(arguments)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<BootRequest, ArgumentError> {
        BootRequest::parse(words.iter().map(|word| (*word).to_owned()))
    }

    fn set_up(words: &[&str]) -> BootArguments {
        match parse(words) {
            Ok(BootRequest::SetUp(arguments)) => *arguments,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn options_and_their_defaults() {
        let plain = set_up(&["composefs-setup-root"]);
        assert_eq!((plain.sysroot.to_str(), plain.face), (Some("/sysroot"), Face::ComposefsRs));
        let full = set_up(&["x", "--sysroot=/a", "--config", "", "word", "--cmdline", "setup-root", "--target", "/t"]);
        assert_eq!((full.sysroot.to_str(), full.config.to_str(), full.face), (Some("/a"), Some(""), Face::ComposefsRs));
        assert_eq!((full.cmdline.as_deref(), full.target), (Some("setup-root"), Some("/t".into())));
        assert_eq!(set_up(&["x", "setup-root"]).face, Face::Bootc);
        assert_eq!(set_up(&["/usr/lib/bootc/initramfs-setup", "setup-root"]).face, Face::Bootc);
        assert_eq!((plain.refused, set_up(&["x", "--refused=reboot"]).refused), (None, Some(Refused::Reboot)));
    }

    #[test]
    fn unknown_options_are_refused() {
        for words in [
            &["x", "--sysrot", "/a"][..],
            &["x", "--target"],
            &["x", "-x"],
            &["x", "--nothing=1"],
            &["x", "--refused=shell"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert_eq!(parse(&["x", "--help"]), Ok(BootRequest::Help));
        assert!(HELP.lines().all(|line| line.len() <= 100));
    }
}
