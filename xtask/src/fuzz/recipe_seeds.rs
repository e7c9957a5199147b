//! Makes the seeds of the fuzz target of recipes: recipes, each followed by the dumps of its bases.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::seeds;

/// Steps that can be made on every tree.
const STEPS: [&str; 7] = [
    r#"{"by":1,"step":"shift-ids"}"#,
    r#"{"ranges":[[0,1,2000000000],[2000000000,2000000001,2000000000]],"step":"map-uids"}"#,
    r#"{"ranges":[[0,1,2000000000],[2000000000,2000000001,2000000000]],"step":"map-gids"}"#,
    r#"{"gid":2,"path":"/","step":"set-owner","uid":1}"#,
    r#"{"step":"keep-xattrs","which":"user"}"#,
    r#"{"nsec":4,"sec":-3,"step":"clamp-mtime"}"#,
    r#"{"label":"system_u:object_r:usr_t:s0","path":"/","step":"set-label"}"#,
];

/// Two trees that hide parts of each other, as the layers of a recipe.
const LAYERS: [&str; 2] = [
    "/ 0 40755 4 0 0 0 0.0 - - -\n/etc 0 40755 2 0 0 0 0.0 - - -\n/etc/f 5 100644 2 1 2 0 1.5 - hello - user.a=b\n\
     /usr 0 40755 2 0 0 0 0.0 - - -\n/usr/g 5 @100644 2 1 2 0 1.5 /etc/f hello -\n",
    "/ 0 40700 4 0 0 0 0.0 - - -\n/etc 0 40700 2 0 0 0 0.0 - - - trusted.overlay.opaque=y\n\
     /usr 0 40700 2 0 0 0 0.0 - - -\n/usr/g 0 20000 1 0 0 0 0.0 - - -\n",
];

fn recipe(kinds: &[&str], format: u32, steps: &[&str]) -> String {
    let (digest, steps) = ("ab".repeat(32), steps.join(","));
    let bases: Vec<String> = kinds.iter().map(|kind| format!(r#"{{"digest":"{digest}","kind":"{kind}"}}"#)).collect();
    let bases = bases.join(",");
    format!(r#"{{"algorithm":"sha256","bases":[{bases}],"format":{format},"steps":[{steps}],"version":1}}"#) + "\n"
}

/// Recipes of golden trees with all steps, and of layers of each kind.
pub(super) fn recipes(dir: &Path, max_len: usize) -> Result<()> {
    let work = tempfile::tempdir()?;
    seeds::dumps(work.path(), max_len / 2)?;
    for (number, entry) in fs::read_dir(work.path())?.enumerate() {
        let path = entry?.path();
        let text = recipe(&["layer"], number as u32 % 3, &STEPS);
        let seed = [text.as_bytes(), b"\0", &fs::read(&path)?].concat();
        seeds::put(dir, max_len, &path.file_stem().context("no name")?.to_string_lossy(), &seed)?;
    }
    let remove = r#"{"paths":["/etc"],"step":"remove"}"#;
    for kind in ["layer", "sysext", "confext", "sysext+confext"] {
        let text = recipe(&["layer", kind], 0, &[STEPS[0], remove]);
        let seed = [text.as_str(), LAYERS[0], LAYERS[1]].join("\0");
        seeds::put(dir, max_len, &format!("layers-{kind}"), seed.as_bytes())?;
    }
    let long = recipe(&["layer"], 0, &[STEPS[0]; 300]);
    seeds::put(dir, max_len, "long", [long.as_str(), LAYERS[0]].join("\0").as_bytes())
}
