//! `composefs df`: prints the disk usage of names.

use libcomposefs_image::Digest;
use libcomposefs_repo::cold::ColdImages;
use libcomposefs_repo::{NameSizes, RefName, Usage};
use serde_json::{Value, json};

use super::RepositoryArgs;
use super::partial::{ListedPartial, PartialList, names_or_digest};
use crate::inspect::names::NameFormat;
use crate::inspect::size::SizeFormat;
use crate::output;

/// Print the disk usage of each name and OCI tag, how much names share, and how much removing each would free.
///
/// Of a tag, the streams of the OCI image count too. EXCLUSIVE is the size of the objects that no other name needs.
/// FREED is the space that becomes available once the name is removed and gc has run. It is less than EXCLUSIVE if
/// objects have other hard links, or share extents with other files. Removing several names that share objects frees
/// more than the sum of their FREED. Of a cold image, the sizes are those of its pack; of a partial
/// image, USED is the size of its objects that are here.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DfArgs {
    /// Print sizes with units, such as 1.2M
    #[arg(short = 'H', long)]
    human: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images df --human
  composefs --repo=/srv/images df --json | jq '.refs | max_by(.freed) | .name'";

pub(crate) fn run(args: &DfArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let (usage, cold) = (repository.usage()?, repository.cold_images()?);
    let partial = PartialList::read(&repository)?;
    if args.json {
        output::json(&usage_json(&usage, &cold, &partial));
        return Ok(());
    }
    let size = |bytes: u64| SizeFormat::human(args.human).show(bytes);
    out!("{:>12} {:>12} {:>12} {:>12}  NAME", "USED", "EXCLUSIVE", "SHARED", "FREED");
    let line = |name: String, sizes: &NameSizes, in_use: bool| {
        let note = match (sizes.missing, in_use) {
            (0, false) => String::new(),
            (0, true) => "  (in use: freed once it is not mounted or open)".into(),
            (missing, _) => format!("  ({missing} objects are missing: run `composefs fsck`)"),
        };
        let NameSizes { used, exclusive, freed, .. } = *sizes;
        let [used, exclusive, shared, freed] = [used, exclusive, used - exclusive, freed].map(size);
        out!("{used:>12} {exclusive:>12} {shared:>12} {freed:>12}  {name}{note}");
    };
    for one in &usage.refs {
        line(one.name.to_string(), &one.sizes, one.in_use);
    }
    for one in &usage.tags {
        let name = format!("{} (OCI tag)", NameFormat::Escaped.text(one.tag.as_bytes()));
        line(name, &one.sizes, one.in_use);
    }
    for one in &cold.images {
        let (packed, names) = (size(one.entry.pack_size), one.refs.iter().map(RefName::as_str).collect::<Vec<_>>());
        let name = if names.is_empty() { format!("{} (without a name)", one.digest) } else { names.join(" ") };
        out!(
            "{packed:>12} {packed:>12} {:>12} {packed:>12}  {name}  (cold: {} unpacked)",
            size(0),
            size(one.entry.bytes)
        );
    }
    for one in &partial.images {
        let (here, name) = (size(one.bytes_here()), names_or_digest(&one.image));
        out!("{here:>12} {:>12} {:>12} {:>12}  {name}  (partial: {})", "-", "-", "-", one.progress_text());
    }
    out!(
        "{:>12} in {} objects; {} in {} that no name needs",
        size(usage.used),
        usage.objects,
        size(usage.unneeded_used),
        usage.unneeded
    );
    Ok(())
}

fn usage_json(usage: &Usage, cold: &ColdImages, partial: &PartialList) -> Value {
    let refs = usage.refs.iter().map(|one| {
        let own = json!({ "name": one.name.as_str(), "digest": one.digest.to_hex(), "in_use": one.in_use });
        with_sizes(own, &one.sizes)
    });
    let tags = usage.tags.iter().map(|one| {
        let images = one.images.iter().map(Digest::to_hex).collect::<Vec<_>>();
        let own = json!({ "tag": one.tag, "manifest": one.manifest, "images": images, "in_use": one.in_use });
        with_sizes(own, &one.sizes)
    });
    let cold = cold.images.iter().map(|one| {
        let names = one.refs.iter().map(RefName::as_str).collect::<Vec<_>>();
        let (packed, bytes) = (one.entry.pack_size, one.entry.bytes);
        json!({ "digest": one.digest.to_hex(), "refs": names, "pack_size": packed, "bytes": bytes })
    });
    json!({
        "cold": cold.collect::<Vec<_>>(),
        "partial": partial.images.iter().map(ListedPartial::json).collect::<Vec<_>>(),
        "refs": refs.collect::<Vec<_>>(),
        "tags": tags.collect::<Vec<_>>(),
        "objects": usage.objects,
        "used": usage.used,
        "unneeded": usage.unneeded,
        "unneeded_used": usage.unneeded_used,
    })
}

/// Adds the sizes to the object of a name.
fn with_sizes(mut own: Value, sizes: &NameSizes) -> Value {
    let NameSizes { objects, apparent, used, exclusive, freed, missing } = *sizes;
    let fields = [
        ("objects", objects),
        ("apparent", apparent),
        ("used", used),
        ("exclusive", exclusive),
        ("shared", used - exclusive),
        ("freed", freed),
        ("missing", missing),
    ];
    if let Value::Object(object) = &mut own {
        object.extend(fields.map(|(key, size)| (key.to_owned(), size.into())));
    }
    own
}
