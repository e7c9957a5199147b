//! The command line of `composefs-fuse`: that of a program with libfuse.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use libcomposefs_fuse::MountRequest;
use libcomposefs_image::Digest;

use crate::c_tool::{EarlyExit, usage_error, usage_error_with_usage};

pub(super) const USAGE: &str = "\
usage: composefs-fuse [-fsd] -o source=IMAGE,basedir=DIR[,OPTIONS] MOUNTPOINT

Options:
  -f            stay in the foreground
  -s            serve by one thread
  -d            the same as -f
  --insecure    do not verify the contents of objects
  -h, --help    print this text
  -V, --version print the version

Options for -o:
  source=IMAGE  image to mount
  basedir=DIR   directory with the objects; may be given several times
  digest=HEX    fs-verity digest that the image must have
  noacl         hide POSIX ACLs
  allow_other   let other users use the mount
  ro, default_permissions           always set
  suid, nosuid, dev, nodev, exec, noexec, atime, noatime
";

pub(super) const EXAMPLES: &str = "
Examples:
  composefs-fuse -o source=rootfs.img,basedir=objects mnt
  fusermount3 -u mnt
";

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum FuseCommand {
    Mount(FuseRequest),
    Exit(EarlyExit),
}

/// A mount that the command line asks for.
#[derive(Debug)]
pub(super) struct FuseRequest {
    pub(super) image: PathBuf,
    pub(super) basedirs: Vec<PathBuf>,
    pub(super) digest: Option<Digest>,
    pub(super) no_acl: bool,
    pub(super) insecure: bool,
    pub(super) foreground: bool,
    pub(super) single_thread: bool,
    pub(super) mount: MountRequest,
}

pub(super) fn parse(args: Vec<OsString>) -> Result<FuseCommand, EarlyExit> {
    let mut request = FuseRequest {
        image: PathBuf::new(),
        basedirs: Vec::new(),
        digest: None,
        no_acl: false,
        insecure: false,
        foreground: false,
        single_thread: false,
        mount: MountRequest::new("".as_ref()),
    };
    let (mut operands, mut args) = (Vec::new(), args.into_iter());
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--" => operands.extend(args.by_ref()),
            b"-h" | b"--help" => return Ok(FuseCommand::Exit(EarlyExit::Help)),
            b"-V" | b"--version" => return Ok(FuseCommand::Exit(EarlyExit::Version)),
            b"-f" | b"-d" => request.foreground = true,
            b"-s" => request.single_thread = true,
            b"--insecure" => request.insecure = true,
            b"-o" => {
                let options = args.next().ok_or_else(|| usage_error("option needs a value: -o"))?;
                request.take_options(options.as_bytes())?;
            }
            [b'-', b'o', options @ ..] => request.take_options(options)?,
            [b'-', _, ..] => return Err(usage_error_with_usage(format!("unknown option {}", arg.display()))),
            _ => operands.push(arg),
        }
    }
    let mut operands = operands.into_iter();
    request.mount.target = operands.next().ok_or_else(|| usage_error_with_usage("no mountpoint specified"))?.into();
    if let Some(more) = operands.next() {
        return Err(usage_error_with_usage(format!("invalid argument `{}'", more.display())));
    }
    if request.image.as_os_str().is_empty() {
        return Err(usage_error_with_usage("No source path specified: use -o source=IMAGE"));
    }
    Ok(FuseCommand::Mount(request))
}

impl FuseRequest {
    fn take_options(&mut self, text: &[u8]) -> Result<(), EarlyExit> {
        split(text).iter().filter(|word| !word.is_empty()).try_for_each(|word| self.take_option(word))
    }

    fn take_option(&mut self, word: &[u8]) -> Result<(), EarlyExit> {
        let path = |value: &[u8]| PathBuf::from(OsStr::from_bytes(value));
        let attributes = &mut self.mount.attributes;
        match word {
            b"ro" | b"default_permissions" => {}
            b"noacl" => self.no_acl = true,
            b"allow_other" => self.mount.allow_other = true,
            b"suid" => attributes.nosuid = false,
            b"nosuid" => attributes.nosuid = true,
            b"dev" => attributes.nodev = false,
            b"nodev" => attributes.nodev = true,
            b"exec" => attributes.noexec = false,
            b"noexec" => attributes.noexec = true,
            b"atime" => attributes.noatime = false,
            b"noatime" => attributes.noatime = true,
            _ => {
                let equals = word.iter().position(|&byte| byte == b'=');
                match equals.map(|at| word.split_at(at)) {
                    Some((b"source", [_, value @ ..])) if !value.is_empty() => self.image = path(value),
                    Some((b"basedir", [_, value @ ..])) if !value.is_empty() => self.basedirs.push(path(value)),
                    Some((b"digest", [_, value @ ..])) => {
                        let digest = Digest::from_hex(value);
                        self.digest = Some(digest.map_err(|error| usage_error(format!("digest=: {error}")))?);
                    }
                    _ => {
                        let word = String::from_utf8_lossy(word);
                        return Err(usage_error(format!("unknown option(s): `-o {word}'")));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Splits options at commas. A backslash protects the next character, as in libfuse.
fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word) = (Vec::new(), Vec::new());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => words.push(std::mem::take(&mut word)),
            b'\\' => word.extend(bytes.next()),
            _ => word.push(byte),
        }
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> FuseRequest {
        match parse(line.split(' ').map(OsString::from).collect()) {
            Ok(FuseCommand::Mount(request)) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_are_those_of_libfuse() {
        let request = parsed("-f -o source=a,basedir=b\\,c -onoacl,allow_other,noexec,suid mnt -s");
        assert_eq!((request.image, request.basedirs), ("a".into(), vec!["b,c".into()]));
        assert!(request.foreground && request.single_thread && request.no_acl && request.mount.allow_other);
        assert!(request.mount.attributes.noexec && !request.mount.attributes.nosuid && request.mount.attributes.nodev);
        assert!(!request.insecure && parsed("-o source=a mnt --insecure").insecure);
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in [
            "",
            "mnt",
            "-o source=a",
            "-o source= mnt",
            "-o source=a mnt other",
            "-o source=a,frob mnt",
            "-x mnt",
            "-o source=a,digest=12 mnt",
            "mnt -o",
            "-o source=a,basedir= mnt",
            "-o source=a,rw mnt",
        ] {
            let args = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
            assert!(matches!(parse(args), Err(EarlyExit::UsageError { .. })), "{line}");
        }
        assert!(matches!(parse(vec!["-h".into()]), Ok(FuseCommand::Exit(EarlyExit::Help))));
    }

    #[test]
    fn a_backslash_protects() {
        assert_eq!(split(b"a\\,b,c\\\\,,"), [&b"a,b"[..], b"c\\", b"", b""]);
    }
}
