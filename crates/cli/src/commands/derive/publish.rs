//! Stores a derived image in the repository.

use std::path::PathBuf;

use libcomposefs_content::NoProgress;
use libcomposefs_image::Digest;
use libcomposefs_repo::{Committed, ImportOptions, Incoming, ObjectSource, RefName, Repository, Transaction, WasImage};

use super::{DeriveArgs, Derived, bases};
use crate::error_text::with_remedy;
use crate::operand::Operands;
use crate::{lost_opaque, output, rlimits};

/// Publishes the image, whose objects are those of its bases. Gc removes none of them meanwhile: the bases of the
/// repository are open and protected, and all objects are looked up again under the lock.
pub(super) fn publish(derived: &Derived, args: &DeriveArgs, operands: &Operands<'_>) -> anyhow::Result<()> {
    let repository = operands.repository()?;
    expect_algorithm(derived, repository)?;
    let image = derived.recipe.plan(&derived.tree)?;
    let mut transaction = repository.transaction()?;
    let stored = derived.bases.iter().filter(|base| base.is_stored).map(|base| base.digest);
    transaction.protect(&stored.collect::<Vec<Digest>>())?;
    let names: Vec<RefName> = args.name.clone().into_iter().collect();
    if derived.bases.iter().all(|base| base.is_stored) {
        transaction.add_image(&derived.tree, &image, names)?;
    } else {
        let digest = bases::digest_of(&image, derived.recipe.algorithm)?;
        add_with_objects(&mut transaction, derived, digest, names)?;
    }
    transaction.proceed()?;
    report(derived, args, transaction.commit()?)
}

/// Adds an image of which a base is a file: the repository may lack objects.
fn add_with_objects(
    transaction: &mut Transaction<'_>,
    derived: &Derived,
    digest: Digest,
    names: Vec<RefName>,
) -> anyhow::Result<()> {
    let image = Some(WasImage { digest, version: derived.recipe.format });
    let incoming = Incoming { tree: derived.tree.clone(), image };
    let file = derived.bases.iter().find(|base| !base.is_stored);
    let source = file.map_or_else(PathBuf::new, |base| base.name.clone());
    let options = ImportOptions {
        objects: ObjectSource::None,
        rewrite: false,
        threads: rlimits::threads(None),
        progress: &NoProgress,
    };
    let added = transaction.import_image(&incoming, &source, names, &options);
    added.map(drop).map_err(|error| {
        let remedy = "import the base into the repository first: composefs import FILE --basedir=OBJECTS";
        with_remedy(format!("cannot publish the derived image: {error}"), remedy)
    })
}

fn expect_algorithm(derived: &Derived, repository: &Repository) -> anyhow::Result<()> {
    let (found, expected) = (derived.recipe.algorithm, repository.algorithm());
    if found == expected {
        return Ok(());
    }
    Err(with_remedy(
        format!("the result has {found} digests, and {} has {expected} digests", repository.path().display()),
        "choose another repository by --repo=DIR, or use --print-digest, which stores nothing",
    ))
}

fn report(derived: &Derived, args: &DeriveArgs, committed: Committed) -> anyhow::Result<()> {
    for image in committed.images {
        lost_opaque::warn("composefs", &image.lost_opaque);
        if !args.json {
            out!("{}", image.digest);
            continue;
        }
        let mut object = derived.json(&image.digest, image.size);
        object.insert("new".to_owned(), image.is_new.into());
        object.insert("name".to_owned(), args.name.as_ref().map(RefName::as_str).into());
        let replaced = image.replaced.first().map(ToString::to_string);
        object.insert("replaced".to_owned(), replaced.into());
        output::json(&serde_json::Value::Object(object));
    }
    Ok(())
}
