//! `mkcomposefs`: builds an image and its objects from a directory or a dump.
//!
//! Command line, messages and status (1 for every failure) are those of the C tool; `docs/compatibility.md` lists the
//! differences.

mod build;
mod options;

use std::ffi::OsString;
use std::process::ExitCode;

use options::BuildRequest;

use crate::c_tool::CTool;

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
  --threads=N             Number of threads (default: one for each CPU)
  --inline-max=N          Store files of up to N bytes in the image (default 64)
  --hardlinks             Keep hard links: one inode with several names
  --verify-store          Read objects that the store already has, unless fs-verity verifies
                          them (default: compare their sizes)
  --exclude=PATTERN       Leave out matching paths, as in a .gitignore
  --include=PATTERN       Keep matching paths that an earlier --exclude leaves out
  --source-date-epoch[=S] Set mtimes later than S, or than $SOURCE_DATE_EPOCH, to it
  --algorithm=NAME        Digest algorithm, sha256 (default) or sha512
  --help                  Show this help
  --version               Show the version
";

const EXAMPLES: &str = "
IMAGE may be - for standard output. A regular or missing IMAGE is replaced atomically, once the new one is on disk.

Examples:
  mkcomposefs --digest-store=objects rootfs/ rootfs.img
  mkcomposefs --print-digest-only --source-date-epoch=1700000000 rootfs/
  mkcomposefs --from-file --print-digest rootfs.dump rootfs.img
  mkcomposefs --exclude='*.pyc' --exclude=/var/cache/ --hardlinks rootfs/ rootfs.img
";

const TOOL: CTool = CTool { name: "mkcomposefs", usage: USAGE, examples: EXAMPLES };

/// Runs `mkcomposefs` with the arguments after the program's name.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    match BuildRequest::parse(arguments) {
        Ok(request) => TOOL.exit_status(build::build(&request)),
        Err(stop) => TOOL.exit_early(stop),
    }
}
