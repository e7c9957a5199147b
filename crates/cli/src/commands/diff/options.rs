//! Command line of `composefs diff`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ValueEnum;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Algorithm;
use libcomposefs_image::diff::{self, Field};
use libcomposefs_image::tree::Timestamp;
use libcomposefs_scan::{self as scan, Mtime, Patterns, XattrChoice};

use super::facts::Fact;
use crate::complete;
use crate::operand::IMAGES;

/// Compare two trees and explain their differences.
///
/// A and B are each an image, a directory (which may be a mounted image), a dump, an OCI image, or - for an image or
/// dump on standard input. Finds every path that only one side has, and every field that differs. Differences with a
/// common cause are grouped.
#[derive(clap::Args, Clone)]
#[command(after_help = format!("{IMAGES}\n\n{EXAMPLES}"))]
pub(in crate::commands) struct DiffArgs {
    /// First tree: an image, a directory, a dump or an OCI image; - is an image or a dump on standard input
    #[arg(value_name = "A", add = ArgValueCompleter::new(complete::operands))]
    a: PathBuf,

    /// Second tree, of the same kinds
    #[arg(value_name = "B", add = ArgValueCompleter::new(complete::operands))]
    b: PathBuf,
    #[command(flatten)]
    report: TreeReportArgs,
    #[command(flatten)]
    scan: ScanArgs,
}

/// Options for what is compared, and for the report.
#[derive(clap::Args, Clone)]
pub(in crate::commands) struct TreeReportArgs {
    /// Ignore fields: type, mode, owner (uid, gid), mtime, size, content, storage, payload, target, rdev, xattrs,
    /// nlink, hardlinks, place; xattr:NAME for one xattr; image for all properties of images (version, flags,
    /// build-time, forms, order)
    #[arg(long, value_name = "FIELD,...", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Compare only this path of the trees, and the paths below it
    #[arg(long, value_name = "PATH")]
    path: Option<OsString>,
    /// Print every path, not only the first of each group
    #[arg(short, long, visible_short_alias = 'v', visible_alias = "verbose")]
    all: bool,
    /// Number of paths to print for each group
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "all")]
    limit: usize,
    /// Print differences and causes without paths
    #[arg(long, conflicts_with_all = ["all", "json"])]
    brief: bool,
    /// Print nothing, only set the exit status
    #[arg(short, long, conflicts_with_all = ["all", "json", "brief"])]
    quiet: bool,
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
}

/// Options for reading directories.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Reading directories, as in mkcomposefs")]
struct ScanArgs {
    /// Digest algorithm, sha256 or sha512 [default: that of the other side]
    #[arg(long, value_name = "NAME")]
    algorithm: Option<Algorithm>,
    /// Keep hard links, or make each name an inode of its own; auto: as on the other side
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_value = "auto",
        default_missing_value = "yes"
    )]
    hardlinks: Hardlinks,
    /// Leave out all xattrs
    #[arg(long, conflicts_with = "user_xattrs")]
    skip_xattrs: bool,
    /// Keep only user.* xattrs
    #[arg(long)]
    user_xattrs: bool,
    /// Leave out device nodes
    #[arg(long)]
    skip_devices: bool,
    /// Set all mtimes to zero
    #[arg(long, conflicts_with = "source_date_epoch")]
    use_epoch: bool,
    /// Set later mtimes to this time
    #[arg(long, value_name = "SECONDS")]
    source_date_epoch: Option<i64>,
    /// Leave out matching paths, as in a .gitignore
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Number of threads to use
    #[arg(long, value_name = "N", value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
}

/// Choice to treat several names of one file as one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Hardlinks {
    Auto,
    Yes,
    No,
}

const EXAMPLES: &str = "\
Examples:
  composefs diff old.img new.img
  composefs --repo=/srv/images diff debian/12 debian/13
  composefs diff oci:layout:old docker://registry.example/app:new
  composefs diff rootfs.img rootfs/                       # has the directory changed since?
  composefs diff --use-epoch --user-xattrs rootfs.img rootfs/
  composefs diff --ignore mtime,owner,xattr:security.selinux a.img b.img
  composefs diff --path /usr/lib --all a.img b.img
  composefs-info dump a.img | composefs diff - b.dump
  composefs diff --json a.img b.img | jq '.causes[].hints'

Exit status: 0 if nothing differs, 1 if something does, 2 on error.";

/// Parsed command line of `composefs diff`.
pub(in crate::commands) struct DiffRequest {
    pub(super) paths: [PathBuf; 2],
    pub(super) diff: diff::Options,
    pub(super) ignored_facts: Vec<Fact>,
    /// Number of paths printed for each group.
    pub(super) limit: usize,
    pub(in crate::commands) quiet: bool,
    pub(in crate::commands) json: bool,
    pub(super) scan: scan::Options,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) hardlinks: Hardlinks,
    /// Name of an option on reading directories, if one was given.
    pub(super) scan_option: Option<&'static str>,
}

impl DiffRequest {
    pub(super) fn check(args: DiffArgs) -> anyhow::Result<Self> {
        if [&args.a, &args.b].into_iter().all(|path| path == Path::new("-")) {
            bail!("only one side can be standard input");
        }
        Ok(Self {
            algorithm: args.scan.algorithm,
            hardlinks: args.scan.hardlinks,
            scan_option: args.scan.first_given(),
            scan: args.scan.options()?,
            ..Self::without_directories([args.a, args.b], args.report)?
        })
    }

    /// Returns the request for a comparison in which no side is a directory.
    pub(in crate::commands) fn without_directories(
        paths: [PathBuf; 2],
        report: TreeReportArgs,
    ) -> anyhow::Result<Self> {
        let mut diff = diff::Options { below: report.path.unwrap_or_default().into_vec(), ..diff::Options::default() };
        let ignored_facts = ignore(&report.ignore, &mut diff)?;
        let limit = match (report.all, report.brief) {
            (true, _) => usize::MAX,
            (_, true) => 0,
            _ => report.limit,
        };
        Ok(Self {
            paths,
            diff,
            ignored_facts,
            limit,
            quiet: report.quiet,
            json: report.json,
            algorithm: None,
            hardlinks: Hardlinks::Auto,
            scan_option: None,
            scan: scan::Options::default(),
        })
    }
}

/// Applies the words of `--ignore` and returns the image properties among them.
fn ignore(words: &[String], diff: &mut diff::Options) -> anyhow::Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for word in words {
        if let Some(name) = word.strip_prefix("xattr:") {
            diff.ignore_xattrs.push(name.as_bytes().to_vec());
        } else if let Some(fact) = Fact::ALL.into_iter().find(|fact| fact.name() == word) {
            facts.push(fact);
        } else {
            match word.as_str() {
                "image" => facts.extend(Fact::ALL),
                "owner" => [Field::Uid, Field::Gid].into_iter().for_each(|field| diff.ignore.insert(field)),
                word => diff.ignore.insert(word.parse::<Field>().map_err(|error| {
                    let facts = Fact::ALL.map(Fact::name).join(", ");
                    let fields = Field::ALL.map(Field::name).join(", ");
                    anyhow::anyhow!("--ignore: {error}: there are {fields}, owner, xattr:NAME, image, {facts}")
                })?),
            }
        }
    }
    Ok(facts)
}

impl ScanArgs {
    fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.hardlinks != Hardlinks::Auto, "--hardlinks"),
            (self.skip_xattrs, "--skip-xattrs"),
            (self.user_xattrs, "--user-xattrs"),
            (self.skip_devices, "--skip-devices"),
            (self.use_epoch, "--use-epoch"),
            (self.source_date_epoch.is_some(), "--source-date-epoch"),
            (!self.exclude.is_empty(), "--exclude"),
        ];
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }

    fn options(self) -> anyhow::Result<scan::Options> {
        let mut patterns = Patterns::default();
        for pattern in &self.exclude {
            patterns.exclude(pattern)?;
        }
        Ok(scan::Options {
            skip_devices: self.skip_devices,
            xattrs: match (self.skip_xattrs, self.user_xattrs) {
                (true, _) => XattrChoice::None,
                (false, true) => XattrChoice::UserOnly,
                (false, false) => XattrChoice::All,
            },
            mtime: match (self.use_epoch, self.source_date_epoch) {
                (true, _) => Mtime::Fixed(Timestamp::default()),
                (false, Some(sec)) => Mtime::ClampTo(Timestamp { sec, nsec: 0 }),
                (false, None) => Mtime::Keep,
            },
            patterns,
            threads: self.threads,
            ..scan::Options::default()
        })
    }
}
