//! The options of `composefs derive` that are steps, in the order of the command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgMatches, Args, FromArgMatches};
use libcomposefs_image::derive::{IdRange, RecipeStep};
use libcomposefs_image::policy::XattrPolicy;
use libcomposefs_image::tree::Timestamp;

use crate::timestamp;

/// The options; their values are read with their positions.
#[derive(clap::Args)]
#[group(id = "steps", multiple = true)]
#[command(next_help_heading = "Steps, made in the order given")]
#[allow(dead_code, reason = "the values are read from the matches, which have the order")]
struct StepArgs {
    /// Remove a path with everything below it
    #[arg(long, value_name = "PATH", value_parser = path_parser())]
    without: Vec<StepPath>,
    /// Add a number to all user and group IDs, those in ACLs and file capabilities included
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_uids: Vec<i64>,
    /// Map COUNT user IDs from FROM on to those from TO on; several in a row are one map, which must have every ID
    #[arg(long, value_name = "FROM:TO:COUNT", value_parser = range)]
    map_uids: Vec<IdRange>,
    /// The same for group IDs
    #[arg(long, value_name = "FROM:TO:COUNT", value_parser = range)]
    map_gids: Vec<IdRange>,
    /// Set owner and group of a path and of everything below it
    #[arg(long, value_name = "UID:GID:PATH", value_parser = OsStringValueParser::new().try_map(owner))]
    chown: Vec<OwnerOfPath>,
    /// Keep these xattrs only: all, user, none, capability or capability+user
    #[arg(long, value_name = "WHICH", value_parser = which)]
    xattrs: Vec<XattrPolicy>,
    /// Set later mtimes to this time: @SECONDS, a date, or a date and time in UTC
    #[arg(long, value_name = "TIME", value_parser = time)]
    clamp_mtime: Vec<Timestamp>,
    /// Set the SELinux label of a path [default: /] and of everything below it
    #[arg(long, value_name = "CONTEXT[:PATH]", value_parser = OsStringValueParser::new().try_map(label))]
    set_label: Vec<LabelOfPath>,
}

/// A path of the tree.
#[derive(Clone, Debug)]
struct StepPath(Vec<u8>);

#[derive(Clone, Debug)]
struct OwnerOfPath {
    uid: u32,
    gid: u32,
    path: StepPath,
}

#[derive(Clone, Debug)]
struct LabelOfPath {
    label: Vec<u8>,
    path: StepPath,
}

/// The steps of a command line, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct GivenSteps(pub(super) Vec<RecipeStep>);

impl Args for GivenSteps {
    fn group_id() -> Option<clap::Id> {
        StepArgs::group_id()
    }

    fn augment_args(command: clap::Command) -> clap::Command {
        StepArgs::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        StepArgs::augment_args_for_update(command)
    }
}

impl FromArgMatches for GivenSteps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found = FoundSteps { matches, steps: Vec::new() };
        found.add("without", |StepPath(path)| RecipeStep::Remove { paths: vec![path] });
        found.add("shift_uids", |by| RecipeStep::ShiftIds { by });
        found.add("map_uids", |range| RecipeStep::MapUids { ranges: vec![range] });
        found.add("map_gids", |range| RecipeStep::MapGids { ranges: vec![range] });
        found.add("chown", |OwnerOfPath { uid, gid, path }| RecipeStep::SetOwner { path: path.0, uid, gid });
        found.add("xattrs", |which| RecipeStep::KeepXattrs { which });
        found.add("clamp_mtime", |latest| RecipeStep::ClampMtime { latest });
        found.add("set_label", |LabelOfPath { label, path }| RecipeStep::SetLabel { path: path.0, label });
        found.steps.sort_by_key(|(position, _)| *position);
        Ok(Self(joined(found.steps.into_iter().map(|(_, step)| step))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Steps with their positions on the command line.
struct FoundSteps<'m> {
    matches: &'m ArgMatches,
    steps: Vec<(usize, RecipeStep)>,
}

impl FoundSteps<'_> {
    fn add<T: Clone + Send + Sync + 'static>(&mut self, option: &str, step: impl Fn(T) -> RecipeStep) {
        let values = self.matches.get_many::<T>(option).into_iter().flatten();
        let positions = self.matches.indices_of(option).into_iter().flatten();
        self.steps.extend(positions.zip(values).map(|(position, value)| (position, step(value.clone()))));
    }
}

/// Joins options in a row that are one step: removed paths, and the ranges of a map.
fn joined(steps: impl Iterator<Item = RecipeStep>) -> Vec<RecipeStep> {
    let mut all: Vec<RecipeStep> = Vec::new();
    for step in steps {
        match (all.last_mut(), step) {
            (Some(RecipeStep::Remove { paths }), RecipeStep::Remove { paths: more }) => paths.extend(more),
            (Some(RecipeStep::MapUids { ranges }), RecipeStep::MapUids { ranges: more })
            | (Some(RecipeStep::MapGids { ranges }), RecipeStep::MapGids { ranges: more }) => ranges.extend(more),
            (_, RecipeStep::KeepXattrs { which: XattrPolicy::All }) => {}
            (_, step) => all.push(step),
        }
    }
    all
}

fn path_parser() -> impl clap::builder::TypedValueParser<Value = StepPath> {
    OsStringValueParser::new().try_map(|text: OsString| absolute(&text.into_vec()))
}

/// Returns a path with one slash before each part.
fn absolute(text: &[u8]) -> Result<StepPath, String> {
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    if text.is_empty() || parts.iter().any(|part| matches!(*part, b"." | b"..")) {
        return Err("expected a path in the image without . and ..".to_owned());
    }
    Ok(StepPath([&b"/"[..], &parts.join(&b'/')].concat()))
}

fn range(text: &str) -> Result<IdRange, String> {
    let numbers: Option<Vec<u32>> = text.split(':').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[from, to, count]) => Ok(IdRange { from, to, count }),
        _ => Err("expected three numbers, such as 0:100000:65536".to_owned()),
    }
}

fn owner(text: OsString) -> Result<OwnerOfPath, String> {
    let text = text.into_vec();
    let mut parts = text.splitn(3, |byte| *byte == b':');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
    match (number(), number(), parts.next()) {
        (Some(uid), Some(gid), Some(path)) => Ok(OwnerOfPath { uid, gid, path: absolute(path)? }),
        _ => Err("expected user ID, group ID and path, such as 0:0:/etc".to_owned()),
    }
}

fn which(text: &str) -> Result<XattrPolicy, String> {
    XattrPolicy::from_name(text).ok_or_else(|| "expected all, user, none, capability or capability+user".to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    let sec = timestamp::parse(text).ok_or("expected @SECONDS, 2026-01-31 or 2026-01-31T12:00:00Z")?;
    Ok(Timestamp { sec, nsec: 0 })
}

/// A label has colons itself, and no slash: the path begins at the first `:/`.
fn label(text: OsString) -> Result<LabelOfPath, String> {
    let text = text.into_vec();
    let at = text.windows(2).position(|pair| pair == b":/");
    let (label, path) = match at {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (&text[..], &b"/"[..]),
    };
    if label.is_empty() {
        return Err("expected a label, such as system_u:object_r:usr_t:s0".to_owned());
    }
    Ok(LabelOfPath { label: label.to_vec(), path: absolute(path)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct StepsLine {
        #[command(flatten)]
        steps: GivenSteps,
    }

    fn parsed(line: &[&str]) -> Result<Vec<RecipeStep>, String> {
        let line = ["derive"].iter().chain(line);
        StepsLine::try_parse_from(line).map(|line| line.steps.0).map_err(|error| error.to_string())
    }

    fn bytes(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[test]
    fn steps_are_in_the_order_of_the_line() {
        let line = [
            "--chown=1:2:etc//x/",
            "--without",
            "/a",
            "--without=/b",
            "--shift-uids=-5",
            "--without=c",
            "--xattrs=all",
            "--xattrs=none",
            "--clamp-mtime=@7",
            "--set-label=a:b:s0-s0:c0.c1:/usr",
            "--set-label=t",
        ];
        let latest = Timestamp { sec: 7, nsec: 0 };
        let expected = [
            RecipeStep::SetOwner { path: bytes("/etc/x"), uid: 1, gid: 2 },
            RecipeStep::Remove { paths: vec![bytes("/a"), bytes("/b")] },
            RecipeStep::ShiftIds { by: -5 },
            RecipeStep::Remove { paths: vec![bytes("/c")] },
            RecipeStep::KeepXattrs { which: XattrPolicy::None },
            RecipeStep::ClampMtime { latest },
            RecipeStep::SetLabel { path: bytes("/usr"), label: bytes("a:b:s0-s0:c0.c1") },
            RecipeStep::SetLabel { path: bytes("/"), label: bytes("t") },
        ];
        assert_eq!(parsed(&line).unwrap(), expected);
    }

    #[test]
    fn ranges_in_a_row_are_one_map() {
        let steps = parsed(&["--map-uids=0:1:2", "--map-uids=5:6:7", "--map-gids=0:1:2", "--map-uids=1:1:1"]).unwrap();
        let counts: Vec<_> = steps
            .iter()
            .map(|step| match step {
                RecipeStep::MapUids { ranges } | RecipeStep::MapGids { ranges } => ranges.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts, [2, 1, 1]);
    }

    #[test]
    fn wrong_values_are_refused() {
        for wrong in [
            "--map-uids=1:2",
            "--map-uids=1:2:x",
            "--chown=1:2",
            "--chown=-1:0:/a",
            "--without=",
            "--without=/a/../b",
            "--xattrs=some",
            "--clamp-mtime=soon",
            "--set-label=:/usr",
        ] {
            assert!(parsed(&[wrong]).unwrap_err().contains("expected"), "{wrong}");
        }
    }
}
