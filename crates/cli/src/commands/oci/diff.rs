//! `composefs oci diff`: compares two OCI images: configurations, layers and files.

use std::cell::OnceCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_oci::manifest::{ImageConfig, Manifest};
use serde_json::{Map, Value, json};

use super::config_diff::{ConfigChange, LayerPair, config_changes, layer_pairs};
use super::source;
use crate::commands::diff::compare::{LoadedSides, TreeComparison};
use crate::commands::diff::json_report::TreeReport;
use crate::commands::diff::options::{DiffRequest, TreeReportArgs};
use crate::commands::diff::text_report;
use crate::commands::repository::{RepositoryArgs, counted};
use crate::complete;
use crate::exit::exit_answer;
use crate::input::Input;
use crate::json::write_pretty;
use crate::operand::{Operand, Operands};
use crate::output;

/// Compare two OCI images: their configurations, layers and files.
///
/// A and B are each the name of an image of the repository, or a source. Variables and labels are compared one by one,
/// layers by their diff IDs, and files as `composefs diff` compares them. Blobs of one layer that were compressed in
/// another way are not a difference.
#[derive(clap::Args, Clone)]
#[command(after_help = format!("{}\n\n{EXAMPLES}", source::SOURCES))]
pub(crate) struct OciDiffArgs {
    /// First image: a name of the repository, or a source
    #[arg(value_name = "A", add = ArgValueCompleter::new(complete::oci_names))]
    a: PathBuf,
    /// Second image
    #[arg(value_name = "B", add = ArgValueCompleter::new(complete::oci_names))]
    b: PathBuf,
    #[command(flatten)]
    sources: source::SourceArgs,
    #[command(flatten)]
    report: TreeReportArgs,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci diff debian:12 debian:13
  composefs --repo=/srv/images oci diff app:1 docker://registry.example/app:1
  composefs oci diff oci:old oci:new --ignore=mtime --json | jq .configuration

Exit status: 0 if nothing differs, 1 if something does, 2 on error.";

pub(super) fn run(args: &OciDiffArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(diff(args, selected))
}

fn diff(args: &OciDiffArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let selected = selected.with_oci_names().with_sources(&args.sources);
    let opened = OnceCell::new();
    let operands = Operands::new(&selected, &opened);
    let (a, b) = (OciSide::open(&args.a, &operands)?, OciSide::open(&args.b, &operands)?);
    let request = DiffRequest::without_directories([args.a.clone(), args.b.clone()], args.report.clone())?;
    // The files of a source follow from its layers alone, those of a stored image also from options of its pull.
    let has_same_files = a.manifest.digest == b.manifest.digest && !a.is_stored() && !b.is_stored();
    let mut report = OciComparison {
        changes: config_changes(&a.config, &b.config)?,
        layers: layer_pairs([(&a.manifest, &a.config), (&b.manifest, &b.config)]),
        is_same_order: a.config.diff_ids == b.config.diff_ids,
        is_equal: false,
    };
    let sides = [(&args.a, &a), (&args.b, &b)].map(|(path, side)| side.describe(path));
    let pair = if has_same_files { None } else { LoadedSides::of_inputs(&request, a.input, b.input)? };
    let files = pair.as_ref().map(|pair| TreeComparison::new(&request, pair)).transpose()?;
    let is_files_equal = files.as_ref().is_none_or(TreeComparison::is_equal);
    report.is_equal = report.changes.is_empty() && report.is_same_order && is_files_equal;
    let mut out = output::data();
    match (request.quiet, request.json) {
        (true, _) => {}
        (false, true) => report.write_json(&sides, files.as_ref(), &mut out)?,
        (false, false) => report.write_text(&sides, files.as_ref().filter(|_| !is_files_equal), &mut out)?,
    }
    out.flush()?;
    Ok(report.is_equal)
}

/// One of the images.
struct OciSide {
    manifest: Manifest,
    config: ImageConfig,
    input: Input,
}

impl OciSide {
    fn open(path: &Path, operands: &Operands<'_>) -> anyhow::Result<Self> {
        let mut found = operands.find(path)?;
        let (manifest, config) = match &mut found {
            Operand::Source(source) => source.documents()?,
            Operand::Image(image) => match image.oci.take() {
                Some(image) => (image.manifest, image.config),
                None => bail!("{} is the digest of a composefs image: `composefs diff` compares it", path.display()),
            },
            Operand::File => bail!("{} is no name of an OCI image; oci:DIR is an OCI layout", path.display()),
        };
        let (input, _) = operands.open_found(path, found)?;
        Ok(Self { manifest, config, input })
    }

    fn is_stored(&self) -> bool {
        !matches!(self.input, Input::Source(_))
    }

    fn describe(&self, path: &Path) -> Map<String, Value> {
        let mut side = Map::new();
        crate::json::put_bytes(&mut side, "image", path.as_os_str().as_encoded_bytes());
        side.insert("manifest".into(), self.manifest.digest.to_string().into());
        side.insert("config".into(), self.config.digest.to_string().into());
        side
    }
}

/// The differences, apart from those of the files.
struct OciComparison {
    changes: Vec<ConfigChange>,
    layers: Vec<LayerPair>,
    /// True if both images have the same layers in the same order.
    is_same_order: bool,
    is_equal: bool,
}

impl OciComparison {
    fn write_json(
        &self,
        [a, b]: &[Map<String, Value>; 2],
        files: Option<&TreeComparison<'_>>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let changes = self.changes.iter().map(|change| {
            let [a, b] = &change.values;
            json!({ "field": change.field, "a": a, "b": b })
        });
        let layers = self.layers.iter().map(|layer| {
            let [a, b] = layer.blobs.each_ref().map(|blob| blob.as_ref().map(|blob| blob.digest.to_string()));
            json!({ "diff_id": layer.diff_id.to_string(), "a": a, "b": b })
        });
        #[derive(serde::Serialize)]
        struct Report<'r, 'c, 't> {
            equal: bool,
            a: &'r Map<String, Value>,
            b: &'r Map<String, Value>,
            configuration: Vec<Value>,
            layers: Vec<Value>,
            files: TreeReport<'c, 't>,
        }
        let (configuration, layers) = (changes.collect(), layers.collect());
        let report = Report { equal: self.is_equal, a, b, configuration, layers, files: TreeReport(files) };
        Ok(write_pretty(out, &report)?)
    }

    fn write_text(
        &self,
        sides: &[Map<String, Value>; 2],
        files: Option<&TreeComparison<'_>>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".into(), Value::to_string);
        for (letter, side) in ["A", "B"].iter().zip(sides) {
            let [image, manifest] = ["image", "manifest"].map(|key| side[key].as_str().unwrap_or_default());
            writeln!(out, "{letter}: {} ({manifest})", output::escaped(image))?;
        }
        let count = match self.changes.len() as u64 {
            0 => "no difference".to_owned(),
            count => counted(count, "difference"),
        };
        writeln!(out, "\nconfiguration: {count}")?;
        for ConfigChange { field, values } in &self.changes {
            let [a, b] = values.each_ref().map(text);
            // The history is long, and `oci inspect --raw=config` prints it.
            let values = if field == "history" { "differs".to_owned() } else { format!("{a} -> {b}") };
            writeln!(out, "  {}: {}", output::escaped(field), output::escaped(&values))?;
        }
        let count = |has: [bool; 2]| {
            self.layers.iter().filter(|layer| layer.blobs.each_ref().map(Option::is_some) == has).count()
        };
        let [both, only_a, only_b] = [[true, true], [true, false], [false, true]].map(count);
        writeln!(out, "\nlayers: {both} in both, {only_a} only in A, {only_b} only in B")?;
        if !self.is_same_order && only_a + only_b == 0 {
            writeln!(out, "  their order or number differs")?;
        }
        for LayerPair { diff_id, blobs } in &self.layers {
            let place = match blobs {
                [Some(a), Some(b)] if a.digest == b.digest => "both  ",
                [Some(_), Some(_)] => "both, with another blob:",
                [Some(_), None] => "only A",
                [None, _] => "only B",
            };
            writeln!(out, "  {place} {diff_id}")?;
        }
        match files {
            None => writeln!(out, "\nfiles: no difference")?,
            Some(files) => {
                writeln!(out, "\nfiles:")?;
                text_report::write(files, out)?;
            }
        }
        Ok(())
    }
}
