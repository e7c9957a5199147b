//! Seeds of the targets that read ostree repositories: a small real one, and objects made to exhaust memory or time.
#![expect(clippy::big_endian_bytes, reason = "the numbers of ostree are big-endian")]

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::seeds::piece;
use crate::{paths, process};

/// In place of the checksum of the object of this number; see `fuzz/fuzz_targets/ostree_repository.rs`.
fn mark(number: usize) -> [u8; 32] {
    let mut mark = [0xee; 32];
    mark[31] = number as u8;
    mark
}

struct Object {
    id: [u8; 32],
    extension: String,
    bytes: Vec<u8>,
}

/// The objects of a small archive.
fn archive() -> Result<Vec<Object>> {
    let archive = paths::checkout().join("crates/ostree/tests/data/archive.tar.xz");
    let work = tempfile::tempdir()?;
    process::output(Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(work.path()))?;
    let mut objects = Vec::new();
    for folder in fs::read_dir(work.path().join("archive/objects"))? {
        let folder = folder?;
        for object in fs::read_dir(folder.path())? {
            let path = object?.path();
            let stem = path.file_stem().context("no name")?.to_string_lossy().into_owned();
            let hex = format!("{}{stem}", folder.file_name().to_string_lossy());
            let mut id = [0; 32];
            for (byte, digits) in id.iter_mut().zip(hex.as_bytes().chunks(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
            }
            let extension = path.extension().context("no extension")?.to_string_lossy().into_owned();
            objects.push(Object { id, extension, bytes: fs::read(&path)? });
        }
    }
    objects.sort_by_key(|object| object.id);
    Ok(objects)
}

/// The metadata of the archive, the headers of its files with nothing before them, and bombs.
pub(super) fn objects(dir: &Path, max_len: usize) -> Result<()> {
    for (number, Object { extension, mut bytes, .. }) in archive()?.into_iter().enumerate() {
        if extension == "filez" {
            let len = bytes.first_chunk::<4>().map_or(0, |len| u32::from_be_bytes(*len) as usize);
            bytes = bytes.get(8..8 + len).context("a file in an archive begins with its header")?.to_vec();
        }
        if bytes.len() <= max_len {
            fs::write(dir.join(format!("{number}.{extension}")), bytes)?;
        }
    }
    let half = max_len / 2 - 200;
    fs::write(dir.join("bomb.commit"), commit_bomb(half, half / 2)?)?;
    fs::write(dir.join("bomb.dirtree"), dirtree_bomb(half, half / 2)?)?;
    Ok(())
}

/// Whole repositories: the archive, and directories that name each other again and again.
pub(super) fn repositories(dir: &Path, max_len: usize) -> Result<()> {
    let (mut waiting, mut seed, mut known) = (archive()?, Vec::new(), Vec::new());
    waiting.retain(|object| matches!(object.extension.as_str(), "commit" | "dirtree" | "dirmeta" | "filez"));
    while !waiting.is_empty() {
        let names = |object: &Object, id: &[u8; 32]| object.bytes.windows(32).any(|window| window == id);
        // An object of metadata may be there that names one of another commit, which is not.
        let next = waiting.iter().position(|object| !waiting.iter().any(|other| names(object, &other.id)));
        let Some(next) = next else { bail!("the objects of the archive name each other in a circle") };
        let mut object = waiting.swap_remove(next);
        for (number, id) in known.iter().enumerate() {
            replace(&mut object.bytes, id, &mark(number));
        }
        known.push(object.id);
        let kind = match object.extension.as_str() {
            "commit" => b'C',
            "dirtree" => b'T',
            "dirmeta" => b'M',
            _ => b'F',
        };
        piece(kind, &object.bytes, &mut seed)?;
    }
    if seed.len() <= max_len {
        fs::write(dir.join("archive"), seed)?;
    }
    for (name, name_len, fan) in [("long-names", 8000, [40, 10]), ("wide", 1, [200, 200]), ("attributes", 0, [20, 20])]
    {
        fs::write(dir.join(name), directory_bomb(name_len, fan)?)?;
    }
    Ok(())
}

fn replace(bytes: &mut [u8], from: &[u8; 32], to: &[u8; 32]) {
    let mut at = 0;
    while let Some(window) = bytes.get_mut(at..at + 32) {
        if window == from {
            window.copy_from_slice(to);
        }
        at += 1;
    }
}

/// A directory with a file of a long name, in many directories, and those in many.
fn directory_bomb(name_len: usize, fan: [usize; 2]) -> Result<Vec<u8>> {
    let mut seed = Vec::new();
    let meta: Vec<u8> = [0, 0, 0o040_755_u32].iter().flat_map(|number| number.to_be_bytes()).collect();
    piece(b'M', &meta, &mut seed)?;
    let file = tuple(&[&[&b"n".repeat(name_len.max(1))[..], b"\0"].concat(), &mark(200)])?;
    piece(b'T', &tuple(&[&array(&[file])?, &[]])?, &mut seed)?;
    for (level, fan) in fan.into_iter().enumerate() {
        let name = |number: usize| [number.to_string().as_bytes(), b"\0"].concat();
        let entries: Result<Vec<_>> =
            (0..fan).map(|number| tuple(&[&name(number), &mark(level + 1), &mark(0)])).collect();
        piece(b'T', &tuple(&[&[], &array(&entries?)?])?, &mut seed)?;
    }
    let mut body = vec![0; 8];
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&mark(3));
    body.extend_from_slice(&mark(0));
    body.extend_from_slice(&[48, 2, 1, 0, 0, 0]);
    piece(b'C', &body, &mut seed)?;
    Ok(seed)
}

/// Offsets that lead to the same `name_len` bytes again and again.
fn again_and_again(entry: &[u8], count: usize) -> Result<Vec<u8>> {
    let (len, mut bytes) = (u16::try_from(entry.len())?, entry.to_vec());
    (0..count | 1).for_each(|number| bytes.extend_from_slice(&if number % 2 == 0 { len } else { 0 }.to_le_bytes()));
    Ok(bytes)
}

/// A commit whose metadata has one long key many times.
fn commit_bomb(key_len: usize, count: usize) -> Result<Vec<u8>> {
    let mut entry = [&b"k".repeat(key_len)[..], b"\0"].concat();
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry.extend_from_slice(b"\x01\0y");
    entry.extend_from_slice(&u16::try_from(key_len + 1)?.to_le_bytes());
    let mut body = again_and_again(&entry, count)?;
    let mut ends = vec![body.len(); 3];
    for _ in 0..2 {
        body.push(0);
        ends.push(body.len());
    }
    body.resize(body.len().next_multiple_of(8) + 8, 0);
    body.extend_from_slice(&[0x11; 32]);
    ends.push(body.len());
    body.extend_from_slice(&[0x22; 32]);
    for end in ends.iter().rev() {
        body.extend_from_slice(&u16::try_from(*end)?.to_le_bytes());
    }
    Ok(body)
}

/// A directory with one long name many times.
fn dirtree_bomb(name_len: usize, count: usize) -> Result<Vec<u8>> {
    let mut entry = [&b"n".repeat(name_len)[..], b"\0", &[0x11; 32]].concat();
    entry.extend_from_slice(&u16::try_from(name_len + 1)?.to_le_bytes());
    let files = again_and_again(&entry, count)?;
    let end = u16::try_from(files.len())?;
    Ok([&files[..], &end.to_le_bytes()].concat())
}

/// Members of no fixed size, and behind them where all but the last one end, the first one last.
fn tuple(members: &[&[u8]]) -> Result<Vec<u8>> {
    let mut ends = ends(members);
    ends.pop();
    ends.reverse();
    framed(&members.concat(), &ends)
}

/// Elements of no fixed size, and behind them where each ends.
fn array(elements: &[Vec<u8>]) -> Result<Vec<u8>> {
    framed(&elements.concat(), &ends(elements))
}

fn ends<B: AsRef<[u8]>>(parts: &[B]) -> Vec<usize> {
    let mut end = 0;
    parts
        .iter()
        .map(|part| {
            end += part.as_ref().len();
            end
        })
        .collect()
}

/// Offsets have as many bytes as the whole needs.
fn framed(body: &[u8], ends: &[usize]) -> Result<Vec<u8>> {
    let mut bytes = body.to_vec();
    for end in ends {
        if body.len() + ends.len() <= 0xff {
            bytes.push(u8::try_from(*end)?);
        } else {
            bytes.extend_from_slice(&u16::try_from(*end)?.to_le_bytes());
        }
    }
    Ok(bytes)
}
