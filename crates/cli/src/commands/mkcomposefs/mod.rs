//! `mkcomposefs`: an image and its objects from a directory or a dump.
//!
//! The command line, the messages and the status (1 for every failure) are the C tool's; `docs/compatibility.md` lists
//! where this one does more or refuses more.

mod build;
mod options;

use std::ffi::OsString;
use std::process::ExitCode;

use options::Request;

use crate::c_tool::Face;

const USAGE: &str = "\
usage: mkcomposefs [OPTIONS] SOURCE IMAGE
Options:
  --digest-store=PATH     Also store the files of the directory SOURCE here, by digest
  --use-epoch             Make all mtimes zero
  --skip-devices          Don't store device nodes
  --skip-xattrs           Don't store file xattrs
  --user-xattrs           Only store user.* xattrs
  --print-digest          Print the fs-verity digest of the image
  --print-digest-only     Print the digest, don't write an image
  --from-file             SOURCE is a dump, - for standard input
  --min-version=N         Use at least this format version (default 0)
  --max-version=N         Use at most this format version (default 1)
  --threads=N             Use so many threads (default: one for each CPU)
  --inline-max=N          Keep files of up to N bytes in the image (default 64)
  --hardlinks             Keep hard links: one inode with several names
  --verify-store          Read the objects that the store has already, where no fs-verity
                          vouches for them (default: compare their sizes)
  --exclude=PATTERN       Leave out what matches, as in a .gitignore
  --include=PATTERN       Take what matches although an earlier --exclude leaves it out
  --source-date-epoch[=S] Make no mtime later than S, or than $SOURCE_DATE_EPOCH
  --algorithm=NAME        Digests of sha256 (default) or sha512
  --help                  Show this
  --version               Show the version
";

const EXAMPLES: &str = "
IMAGE may be - for standard output. A regular or absent IMAGE is replaced at once when all of it is on disk.

Examples:
  mkcomposefs --digest-store=objects rootfs/ rootfs.img
  mkcomposefs --print-digest-only --source-date-epoch=1700000000 rootfs/
  mkcomposefs --from-file --print-digest rootfs.dump rootfs.img
  mkcomposefs --exclude='*.pyc' --exclude=/var/cache/ --hardlinks rootfs/ rootfs.img
";

const FACE: Face = Face { name: "mkcomposefs", usage: USAGE, examples: EXAMPLES };

/// Runs `mkcomposefs` with the arguments behind its name.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    match Request::parse(arguments) {
        Ok(request) => FACE.end(build::build(&request)),
        Err(stop) => FACE.stop(stop),
    }
}
