//! `mount.composefs`: the helper that mount(8) calls for `mount -t composefs`, and the C tool of that name.
//!
//! Options and operands can be mixed and short options bundled, as in getopt. Every failure has status 1.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail, ensure};
use libcomposefs_mount::{ImageFile, KernelFeatures, OptionError, Plan, StatfsSource, UnknownOptions};
use libcomposefs_sys::namespace::Visit;

use super::mount::{LazyHelper, plan_text, prepare_statfs_of_file, with_remedy};
use super::verity_warning;

use crate::error_text;
use crate::output::{self, escaped};
use crate::trust::image_file::judge_file;

const USAGE: &str = "\
usage: mount.composefs [-sfnv] [-N namespace] [-t type] [-o opt[,opts..]] IMAGE MOUNTPOINT
Example:
  mount.composefs -o basedir=/composefs/objects exampleimage.cfs /mnt/exampleimage
or, as a mount helper:
  mount -t composefs -o basedir=/composefs/objects exampleimage.cfs /mnt/exampleimage

Options:
  -s  ignore unknown options         -f  do everything except mounting
  -n  accepted and ignored           -v  print what is mounted, and how
  -N  mount in this mount namespace (/proc/PID/ns/mnt)

Supported options of -o:
  basedir=PATH[:PATH]    Specify location of basedir(s)
  digest=DIGEST          Specify required image digest (64 or 128 hex digits), implies verity
  policy=NAME            Require that the trust policy accepts the image under a name, implies verity
  verity_check=0|1|2     0: verify no files (default), 1: verify files with a digest, 2: as verity
  verity                 Require all files to have specified and valid fs-verity digests
  tryverity              If supported by kernel, require fs-verity
  idmap=PATH             Specify path to a user namespace whose ID mapping should be used
  upperdir=PATH          Overlayfs upperdir
  workdir=PATH           Overlayfs workdir
  lazy=REMOTE            Mount the image of this name of a remote before its contents are here
  repo=DIR, fill=off|idle|now, timeout=SECONDS, via=WAY
                         With lazy=: repository, and as --fill, --timeout and --via of composefs mount
  readahead=SIZE|off     Read ahead this much of the image at mount, without waiting (default 32M)
  statfs=image|objects   Show the numbers of the image (default), or of the file system of the objects, by df
  ro                     Read only
  rw                     Read/write
  nosuid, nodev, noexec, nosymfollow, noatime, strictatime, nodiratime, nofail";

/// Runs `mount.composefs` with the arguments after the program's name.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let done = parse(args).and_then(|what| match what {
        What::Usage => {
            output::block(&format!("{USAGE}\n"));
            Ok(())
        }
        What::Mount(request) => mount(&request),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error_text::print_error("mount.composefs", &error);
            if error.is::<UsageError>() || matches!(error.downcast_ref(), Some(OptionError::NoBasedir)) {
                output::tell_block(USAGE);
            }
            ExitCode::FAILURE
        }
    }
}

/// Usage error: its message is followed by the usage.
#[derive(Debug)]
struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

#[derive(Debug)]
enum What {
    Usage,
    Mount(Request),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    image: PathBuf,
    target: PathBuf,
    options: OsString,
    sloppy: bool,
    fake: bool,
    verbose: bool,
    namespace: Option<PathBuf>,
}

fn parse(args: Vec<OsString>) -> anyhow::Result<What> {
    let mut request = Request::default();
    let mut operands = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--" => operands.extend(args.by_ref()),
            b"--help" => return Ok(What::Usage),
            [b'-', letters @ ..] if !letters.is_empty() => {
                if bundle(letters, &mut args, &mut request)? {
                    return Ok(What::Usage);
                }
            }
            _ => operands.push(arg),
        }
    }
    let mut operands = operands.into_iter();
    request.image = operands.next().ok_or_else(|| usage("No source path specified"))?.into();
    request.target = operands.next().ok_or_else(|| usage("No mount path specified"))?.into();
    match operands.next() {
        Some(_) => Err(usage("Too many arguments")),
        None => Ok(What::Mount(request)),
    }
}

/// Parses the letters of one argument; the value of the last letter may be the next argument. Returns true if the usage
/// is requested.
fn bundle(letters: &[u8], args: &mut impl Iterator<Item = OsString>, request: &mut Request) -> anyhow::Result<bool> {
    for (at, &letter) in letters.iter().enumerate() {
        let mut value = || match &letters[at + 1..] {
            [] => args.next().ok_or_else(|| usage(format!("option requires an argument -- '{}'", letter as char))),
            rest => Ok(OsString::from_vec(rest.to_vec())),
        };
        match letter {
            b'h' => return Ok(true),
            b's' => request.sloppy = true,
            b'f' => request.fake = true,
            b'v' => request.verbose = true,
            // Accepted for mount(8); /etc/mtab is never written.
            b'n' => {}
            b'o' => request.options = value()?,
            b'N' => request.namespace = Some(value()?.into()),
            b't' => check_type(&value()?)?,
            _ => return Err(usage(format!("invalid option -- '{}'", letter.escape_ascii()))),
        }
        if matches!(letter, b'o' | b'N' | b't') {
            break;
        }
    }
    Ok(false)
}

fn check_type(name: &OsStr) -> anyhow::Result<()> {
    if name != "composefs" {
        bail!("Unsupported fs type '{}'", name.display());
    }
    Ok(())
}

fn mount(request: &Request) -> anyhow::Result<()> {
    if let Some(lazy) = LazyHelper::of(&request.image, &request.target, &request.options, request.sloppy)? {
        ensure!(request.namespace.is_none(), "lazy= cannot be used with -N: run mount in that namespace, by nsenter");
        return lazy.run(request.fake, request.verbose)?.result();
    }
    let unknown = if request.sloppy { UnknownOptions::Ignore } else { UnknownOptions::Refuse };
    let mut options = libcomposefs_mount::parse(&request.options, unknown)?;
    let enter = |namespace: &PathBuf| {
        Visit::enter(namespace)
            .map_err(|error| anyhow!("Failed to enter mount namespace {}: {error}", namespace.display()))
    };
    let visit = request.namespace.as_ref().map(enter).transpose()?;
    let image = match ImageFile::open(&request.image) {
        Ok(image) => image,
        // The same as mount(8) does for devices: "do not report errors for this device if it does not exist".
        Err(error) if options.nofail && error.is_missing_image() => {
            if request.verbose {
                let _ =
                    output::remark(&format!("mount.composefs: {}; nofail: not mounted\n", escaped(&error.to_string())));
            }
            return Ok(());
        }
        Err(error) => return Err(with_remedy(&error)),
    };
    let header = image.header().map_err(|error| with_remedy(&error))?;
    judge_file(&image, &mut options, request.fake)?;
    let mut plan = Plan::new(&request.image, &header, options);
    ensure!(
        visit.is_none() || plan.options().statfs == StatfsSource::Image,
        "statfs=objects cannot be used with -N: run mount in that namespace, by nsenter"
    );
    prepare_statfs_of_file(&mut plan, request.fake)?;
    if request.fake {
        if request.verbose {
            output::block(&plan_text(&plan, &request.target));
        }
        if let Some(digest) = plan.options().digest() {
            image.check_digest(digest).map_err(|error| with_remedy(&error))?;
        }
        return Ok(());
    }
    // The output of -v is not essential: a failure to print it affects neither the mount nor the status, which mount(8)
    // takes for that of the mount.
    let mut printed = if request.verbose { output::remark(&plan_text(&plan, &request.target)) } else { Ok(()) };
    let mounted = plan
        .mount_at_in(&image, &request.target, KernelFeatures::default(), visit.as_ref())
        .map_err(|error| with_remedy(&error))?;
    // In another mount namespace these paths lead to other directories.
    if visit.is_none() {
        verity_warning::print("mount.composefs", &plan, Some(&mounted));
    }
    if request.verbose {
        printed = printed.and_then(|()| output::remark(&format!("done     {mounted}\n")));
    }
    if let Err(unwritable) = printed {
        tell!("mount.composefs: {} is mounted, but {unwritable}", request.target.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Request {
        match parse(line.split_whitespace().map(OsString::from).collect()) {
            Ok(What::Mount(request)) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        parse(line.split_whitespace().map(OsString::from).collect()).unwrap_err().to_string()
    }

    #[test]
    fn as_mount_calls_it() {
        let got = request("img dir -sfnv -N /proc/1/ns/mnt -o rw,basedir=o -t composefs");
        let expected = Request {
            image: "img".into(),
            target: "dir".into(),
            options: "rw,basedir=o".into(),
            sloppy: true,
            fake: true,
            verbose: true,
            namespace: Some("/proc/1/ns/mnt".into()),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn options_and_operands_mix() {
        let expected = Request { image: "a".into(), target: "b".into(), options: "x".into(), ..Request::default() };
        for line in ["a b -o x", "-o x a b", "a -ox b", "-no x a b", "-ox -- a b", "-o y -o x a b", "a -nox b"] {
            assert_eq!(request(line), expected, "{line}");
        }
        assert_eq!(request("-- -a -b").image, PathBuf::from("-a"));
        assert_eq!(request("- b").image, PathBuf::from("-"));
    }

    #[test]
    fn wrong_lines_are_refused_in_the_references_words() {
        for (line, message) in [
            ("", "No source path specified"),
            ("-o basedir=x", "No source path specified"),
            ("a", "No mount path specified"),
            ("a b c", "Too many arguments"),
            ("a b -o", "option requires an argument -- 'o'"),
            ("-Q a b", "invalid option -- 'Q'"),
            ("-t xfs a b", "Unsupported fs type 'xfs'"),
        ] {
            assert_eq!(refused(line), message, "{line}");
        }
    }

    #[test]
    fn help_is_no_failure() {
        for line in ["-h", "--help", "-nh", "a b -h"] {
            assert!(matches!(parse(line.split_whitespace().map(OsString::from).collect()), Ok(What::Usage)), "{line}");
        }
    }
}
