//! SELinux labels of a bootable image: the policy is read from the contents of the tree itself.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use libcomposefs_image::Digest;
use libcomposefs_image::policy::{FileContents, Policy};
use libcomposefs_image::tree::{Data, InodeId, Kind, RelabelError, Tree};
use libcomposefs_image::verity;
use libcomposefs_repo::Repository;
use libcomposefs_selinux::{Contexts, FILE_MAX, Labels, PolicyFiles};
use libcomposefs_sys::in_root::open_in_root;

use crate::error_text::with_remedy;

/// The place of the contents of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TreeContents<'a> {
    /// The directory that was scanned.
    Directory(&'a Path),
    /// The objects of a repository.
    Repository(&'a Repository),
    /// Contents that were kept while the source was read.
    Kept(&'a FileContents),
    /// Only what is in the image or dump itself.
    Inline,
}

/// Compiles the policy that a tree contains, if it contains one.
pub(crate) fn contexts_of(tree: &Tree, contents: TreeContents<'_>) -> anyhow::Result<Option<Contexts>> {
    let read = |path: &str| read_file(tree, contents, path).map_err(|error| format!("{error:#}"));
    let Some(files) = PolicyFiles::find(read)? else { return Ok(None) };
    Ok(Some(Contexts::compile(&files)?))
}

/// Gives a tree the labels of a policy.
pub(crate) fn relabel(tree: &mut Tree, contexts: &Contexts) -> anyhow::Result<()> {
    let mut labels = Labels::new(contexts);
    tree.relabel(|path, kind| labels.label(path, kind)).map_err(|error| match error {
        RelabelError::Label(error) => error.into(),
        RelabelError::Xattr { path, source } => {
            anyhow::Error::new(source).context(format!("label {}", String::from_utf8_lossy(&path)))
        }
    })
}

/// Returns the tree that a tool with this policy makes of a tree, with the labels of the SELinux policy that the tree
/// contains.
pub(crate) fn apply_with_labels(
    policy: &Policy,
    tree: &Tree,
    contents: &FileContents,
    place: TreeContents<'_>,
) -> anyhow::Result<Tree> {
    let contexts = contexts_of(tree, place)?;
    let mut made = policy.apply(tree, contents)?;
    if let Some(contexts) = contexts {
        relabel(&mut made, &contexts)?;
    }
    Ok(made)
}

/// Returns the digests of the files below `/etc/selinux` that a source must keep for [`TreeContents::Kept`].
pub(crate) fn policy_digests(tree: &Tree) -> Vec<Digest> {
    let mut found = Vec::new();
    let etc = tree.child(InodeId::ROOT, b"etc").filter(|entry| is_directory(tree, entry.inode));
    let selinux = etc.and_then(|etc| tree.child(etc.inode, b"selinux"));
    let Some(selinux) = selinux.filter(|entry| is_directory(tree, entry.inode)) else { return found };
    let mut walk = tree.depth_first_from(selinux.inode, b"");
    while let Some((path, entry)) = walk.step() {
        let is_wanted = path == b"/config" || path.windows(FILES.len()).any(|part| part == FILES);
        if let Data::Regular { digest: Some(digest), .. } = tree.inode(entry.inode).data()
            && is_wanted
        {
            found.push(digest);
        }
    }
    found
}

const FILES: &[u8] = b"/contexts/files/file_contexts";

fn is_directory(tree: &Tree, inode: InodeId) -> bool {
    tree.inode(inode).kind() == Kind::Directory
}

/// Reads a file of the tree; returns `None` if there is no such file.
fn read_file(tree: &Tree, contents: TreeContents<'_>, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let mut inode = InodeId::ROOT;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        match tree.inode(inode).kind() {
            Kind::Directory => {}
            Kind::Symlink => bail!("a symlink is on the way: labels need the files of the policy themselves"),
            _ => return Ok(None),
        }
        let Some(entry) = tree.child(inode, name.as_bytes()) else { return Ok(None) };
        inode = entry.inode;
    }
    let inode = tree.inode(inode);
    let Data::Regular { content, digest, .. } = inode.data() else {
        bail!("it is no regular file: labels need the files of the policy themselves");
    };
    ensure!(inode.size() <= FILE_MAX, "it has {} bytes: at most {FILE_MAX} are allowed", inode.size());
    match (content, digest) {
        _ if inode.size() == 0 => Ok(Some(Vec::new())),
        (Some(content), _) => Ok(Some(content.to_vec())),
        (None, Some(digest)) => Ok(Some(content_of(contents, path, &digest)?)),
        (None, None) => bail!("its digest is unknown"),
    }
}

fn content_of(contents: TreeContents<'_>, path: &str, digest: &Digest) -> anyhow::Result<Vec<u8>> {
    match contents {
        TreeContents::Directory(root) => {
            let file = File::open(root).and_then(|root| Ok(open_in_root(root.as_fd(), path.as_bytes())?));
            let mut content = Vec::new();
            File::from(file?).take(FILE_MAX + 1).read_to_end(&mut content)?;
            ensure!(verity::digest(digest.algorithm(), &content) == *digest, "it has changed since the tree was read");
            Ok(content)
        }
        TreeContents::Repository(repository) => {
            let object = repository.object(digest)?;
            ensure!(object.size() <= FILE_MAX, "object {digest} has {} bytes", object.size());
            let mut content = Vec::new();
            let copied = object.copy_verified(digest, |piece| {
                content.extend_from_slice(piece);
                Ok::<_, libcomposefs_store::ObjectError>(())
            });
            copied.context("read the object")?;
            Ok(content)
        }
        TreeContents::Kept(kept) => {
            kept.content(digest).map(<[u8]>::to_vec).with_context(|| format!("content {digest} was not kept"))
        }
        TreeContents::Inline => Err(with_remedy(
            anyhow!("its content is not in the image or dump"),
            "--repo=REPO names a repository that has it; a directory can be given too",
        )),
    }
}
