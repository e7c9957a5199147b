//! Seeds of the targets that read OCI images: the documents, archives and streams of the recorded layouts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::seeds::{composefs, piece};
use crate::{paths, process};

fn layouts() -> Result<(TempDir, Vec<PathBuf>)> {
    let work = tempfile::tempdir()?;
    let archive = paths::checkout().join("crates/testkit/data/oci/layouts.tar.gz");
    process::output(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(work.path()))?;
    let mut layouts = list(work.path())?;
    layouts.sort();
    Ok((work, layouts))
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes a seed that is not too long.
fn put(dir: &Path, max_len: usize, name: &str, seed: &[u8]) -> Result<()> {
    if seed.len() > max_len {
        return Ok(());
    }
    fs::write(dir.join(name), seed).with_context(|| format!("cannot write the seed {name}"))
}

/// The uncompressed archives of all layers.
pub(super) fn archives(dir: &Path, max_len: usize) -> Result<()> {
    let (_work, layouts) = layouts()?;
    for layout in layouts {
        for (number, blob) in list(&layout.join("blobs/sha256"))?.iter().enumerate() {
            let bytes = fs::read(blob)?;
            let archive = match bytes.get(..4) {
                // zstd reads gzip too.
                Some([0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) => {
                    process::output(Command::new("zstd").arg("-dcq").arg(blob))
                }
                Some([b'{', ..]) => continue,
                _ => Ok(bytes),
            };
            // Some layouts have damaged blobs on purpose.
            if let Ok(archive) = archive {
                put(dir, max_len, &format!("{}-{number}", name_of(&layout)), &archive)?;
            }
        }
    }
    Ok(())
}

/// The documents of all layouts: alone, and with the digests that lead from one to the other left out.
pub(super) fn documents(dir: &Path, max_len: usize) -> Result<()> {
    let (_work, layouts) = layouts()?;
    for layout in layouts {
        let name = name_of(&layout);
        let index = fs::read_to_string(layout.join("index.json"))?;
        put(dir, max_len, &format!("{name}-index"), format!("m{index}").as_bytes())?;
        let (mut manifest, mut config) = (None, None);
        for blob in list(&layout.join("blobs/sha256"))? {
            let Ok(text) = fs::read_to_string(&blob) else { continue };
            let digest = format!("sha256:{}", name_of(&blob));
            let (kind, slot) = if text.contains("\"rootfs\"") {
                ("c", &mut config)
            } else if text.contains("\"layers\"") {
                ("m", &mut manifest)
            } else {
                continue;
            };
            put(dir, max_len, &format!("{name}-{kind}"), format!("{kind}{text}").as_bytes())?;
            *slot = Some((digest, text));
        }
        if let (Some((manifest_digest, manifest)), Some((config_digest, config))) = (manifest, config) {
            let (index, manifest) = (index.replace(&manifest_digest, "%M"), manifest.replace(&config_digest, "%C"));
            put(dir, max_len, &format!("{name}-layout"), format!("l{index}\0{manifest}\0{config}").as_bytes())?;
        }
    }
    archives_of_images(dir, max_len)?;
    let descriptor = format!(r#"{{"mediaType":"a/b","digest":"sha256:{}","size":1}}"#, "ab".repeat(32));
    let long = format!(r#"m{{"schemaVersion":2,"manifests":[{descriptor}{}]}}"#, format!(",{descriptor}").repeat(250));
    put(dir, max_len, "index-long", long.as_bytes())
}

/// Descriptions of images in bundles, archives with layouts, and what `docker save` writes.
fn archives_of_images(dir: &Path, max_len: usize) -> Result<()> {
    let (work, layouts) = layouts()?;
    let file = work.path().join("archive.tar");
    for layout in layouts {
        process::output(
            Command::new("tar").args(["--blocking-factor=2", "-cf"]).arg(&file).arg("-C").arg(&layout).arg("."),
        )?;
        put(dir, max_len, &format!("{}-archive", name_of(&layout)), &[b"a", &fs::read(&file)?[..]].concat())?;
    }
    let object = "ab".repeat(32);
    let pair = |number: u32| format!(r#""sha256:{number:064x}":"{object}""#);
    let many = (0..150).map(pair).collect::<Vec<_>>().join(",");
    for (name, layers) in [("few", &pair(1)), ("many", &many)] {
        let text = format!(
            r#"b{{"manifest":"{object}","config":"{object}","layers":{{{layers}}},"blobs":{{{}}},"per_layer":true}}"#,
            pair(2)
        );
        put(dir, max_len, &format!("bundle-{name}"), text.as_bytes())?;
    }
    let saved = |count: usize| {
        let layers = vec![r#""l""#; count].join(",");
        let diff_ids = (0..count).map(|number| format!(r#""sha256:{number:064x}""#)).collect::<Vec<_>>().join(",");
        format!(
            "d[{{\"Config\":\"c.json\",\"RepoTags\":[\"example/app:1\"],\"Layers\":[{layers}]}}]\0\
             {{\"architecture\":\"amd64\",\"os\":\"linux\",\
             \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{diff_ids}]}}}}"
        )
    };
    put(dir, max_len, "saved", saved(1).as_bytes())?;
    put(dir, max_len, "saved-many", saved(300).as_bytes())
}

/// The streams of pulled layouts, and parts of streams.
pub(super) fn streams(dir: &Path, max_len: usize) -> Result<()> {
    let ((work, layouts), composefs) = (layouts()?, composefs()?);
    for algorithm in ["sha256", "sha512"] {
        let repository = format!("--repo={algorithm}");
        let run = |words: &[&str]| {
            process::output(Command::new(&composefs).current_dir(work.path()).arg(&repository).args(words))
        };
        run(&["init", "--insecure", "--algorithm", algorithm])?;
        for layout in layouts.iter().filter(|layout| ["three-layers", "modes", "basic"].contains(&&*name_of(layout))) {
            run(&["oci", "pull", &format!("oci:{}", layout.display()), "--name", &name_of(layout)])?;
        }
        for stream in list(&work.path().join(algorithm).join("streams"))? {
            if stream.is_file() {
                let seed = [b"r", &fs::read(&stream)?[..]].concat();
                put(dir, max_len, &format!("{algorithm}-{}", name_of(&stream)), &seed)?;
            }
        }
    }
    let inline = |bytes: &[u8]| [&(-(bytes.len() as i64)).to_le_bytes()[..], bytes].concat();
    let chunks = [&inline(b"header")[..], &0i64.to_le_bytes(), &inline(b"tail"), &1i64.to_le_bytes()].concat();
    for (name, kind, pieces) in [
        ("parts", b'p', &[(b's', &[1; 64][..]), (b'o', &[2; 128]), (b'n', b"0:a\0"), (b'c', &chunks), (b'z', b"\xff")]),
        ("written", b'w', &[(b'i', b"abc"), (b'o', b"object"), (b'o', b"object"), (b'n', b"name"), (b'i', b"z")]),
    ] {
        let mut seed = vec![kind];
        pieces.iter().try_for_each(|(kind, bytes)| piece(*kind, bytes, &mut seed))?;
        put(dir, max_len, name, &seed)?;
    }
    let mut many = b"p".to_vec();
    piece(b's', &[1; 64], &mut many)?;
    piece(b'n', "0:ab\0".repeat(1500).as_bytes(), &mut many)?;
    piece(b'c', &inline(b"x").repeat(1000), &mut many)?;
    piece(b'z', &[0xff, 0xff], &mut many)?;
    put(dir, max_len, "many", &many)
}
