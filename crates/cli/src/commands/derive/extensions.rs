//! Compares extension images with the system that they are merged with.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, anyhow};
use libcomposefs_image::derive::{BaseKind, ExtensionCheck, Recipe};
use libcomposefs_image::tree::{Data, Inode, Tree};
use libcomposefs_image::verity;

use super::bases::Base;
use crate::operand::Operands;

/// Checks that each extension among the bases fits the os-release file of the layers. `layered` is the tree of all
/// bases before any step.
pub(super) fn check(operands: &Operands<'_>, recipe: &Recipe, bases: &[Base], layered: &Tree) -> anyhow::Result<()> {
    let mut read = |inode: &Inode<'_>| read(operands, inode).map_err(Into::into);
    let mut extensions = recipe.bases.iter().zip(bases).filter(|(base, _)| base.kind != BaseKind::Layer).peekable();
    if extensions.peek().is_none() {
        return Ok(());
    }
    let system = ExtensionCheck::of_system(layered, &mut read)?;
    for (base, read_base) in extensions {
        let name = read_base.source.name.display();
        system.check(&read_base.tree, base.kind, &mut read).with_context(|| format!("cannot merge {name}"))?;
    }
    Ok(())
}

/// Reads a release file whose content is an object of the repository.
fn read(operands: &Operands<'_>, inode: &Inode<'_>) -> anyhow::Result<Vec<u8>> {
    let Data::Regular { digest: Some(digest), .. } = inode.data() else {
        return Err(anyhow!("the image has no digest of its content"));
    };
    let repository = operands.repository()?;
    let file = repository.objects().open_object(&digest)?;
    let file = File::from(file.with_context(|| format!("the repository has no object {digest}"))?);
    let mut content = Vec::new();
    file.take(inode.size()).read_to_end(&mut content)?;
    if verity::digest(digest.algorithm(), &content) != digest {
        return Err(anyhow!("the object {digest} is damaged"));
    }
    Ok(content)
}
