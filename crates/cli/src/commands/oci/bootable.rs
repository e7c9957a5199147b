//! The bootable image of an OCI image.

use libcomposefs_image::policy::{FileContents, Inline, XattrPolicy};
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::layer::{WhiteoutRule, XattrFilter};
use libcomposefs_oci::pull::{NoBootTree, PlainOptions, PullOptions, PullProgress, keep_contents, plain_trees};
use libcomposefs_oci::source::ImageSource;
use libcomposefs_repo::Repository;

use crate::commands::bootable_args::bootable_policy;
use crate::tree_labels::{TreeContents, apply_with_labels, policy_digests};

/// Reads the layers, and returns the digest of the bootable image. If the tree has an SELinux policy, the layers are
/// read a second time: which contents are the policy is known only then.
pub(super) fn bootable_digest(
    source: &dyn ImageSource,
    (version, algorithm): (u32, Algorithm),
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> anyhow::Result<Digest> {
    let plain = PlainOptions { algorithm, both: false, keep_max: 0 };
    let trees = plain_trees(source, plain, options, progress)?;
    let mut contents = trees.contents;
    let tree = match options.whiteouts {
        WhiteoutRule::InOrder => trees.in_order,
        _ => trees.lower_layers.unwrap_or(trees.in_order),
    };
    keep_contents(source, &policy_digests(&tree), &mut contents, options, progress)?;
    let xattrs = match options.xattrs {
        XattrFilter::User => XattrPolicy::CapabilityAndUser,
        _ => XattrPolicy::Capability,
    };
    let policy = bootable_policy(xattrs, version, algorithm, Inline::AsGiven);
    let tree = apply_with_labels(&policy, &tree, &contents, TreeContents::Kept(&contents))?;
    Ok(policy.plan(&tree)?.digest(algorithm))
}

/// Makes the tree of the bootable image of that of an OCI image in a repository: the SELinux policy in the tree is read
/// from the objects. The tree has only the attributes that its image keeps.
pub(super) fn boot_tree(repository: &Repository, tree: &Tree) -> Result<Tree, NoBootTree> {
    let xattrs = XattrPolicy::CapabilityAndUser;
    let policy = bootable_policy(xattrs, 1, repository.algorithm(), Inline::AsGiven);
    let made = apply_with_labels(&policy, tree, &FileContents::default(), TreeContents::Repository(repository));
    Ok(made.map_err(|error| format!("{error:#}"))?)
}
