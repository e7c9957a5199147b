//! Seeds of the target of FUSE requests: an image, and each request once.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::seeds;

/// `struct fuse_in_header`: length, operation, number, node, and 16 bytes more.
const HEADER_LEN: usize = 40;

/// Writes a seed for each small image of the golden dumps.
pub(super) fn requests(dir: &Path, max_len: usize) -> Result<()> {
    let work = tempfile::tempdir()?;
    let requests = all_requests();
    let room = max_len - 2 - requests.len();
    seeds::images(work.path(), room)?;
    for entry in fs::read_dir(work.path())? {
        let path = entry?.path();
        let image = fs::read(&path)?;
        let len = u16::try_from(image.len()).context("an image of a seed is too long")?.to_le_bytes();
        let name = path.file_name().context("no name")?;
        fs::write(dir.join(name), [&len[..], &image, &requests].concat())?;
    }
    Ok(())
}

fn all_requests() -> Vec<u8> {
    // Room and position of READ and READDIR, where LOOKUP has a name and GETXATTR a size and a name.
    let range = [[0; 8], 0u64.to_le_bytes(), 4096u64.to_le_bytes(), [0; 8], [0; 8]].concat();
    let xattr = [&256u64.to_le_bytes()[..], b"user.a\0"].concat();
    let init = [7u32, 45, 1 << 17, u32::MAX, u32::MAX].map(u32::to_le_bytes).concat();
    let mut all = Vec::new();
    for node in [1u64, 36, 40] {
        for (operation, body) in [
            (26, init.as_slice()),
            (1, b"a\0"),
            (3, &range),
            (5, &[]),
            (14, &range),
            (15, &range),
            (17, &[]),
            (22, &xattr),
            (23, &range),
            (28, &range),
            (44, &range),
            (39, &range),
        ] {
            all.extend(u32::try_from(HEADER_LEN + body.len()).unwrap_or(0).to_le_bytes());
            all.extend(u32::to_le_bytes(operation));
            all.extend(7u64.to_le_bytes());
            all.extend(node.to_le_bytes());
            all.extend([0; 16]);
            all.extend(body);
        }
    }
    all
}
