//! The text of a recipe: one line of JSON in one form (`docs/format/recipe.md`).

use std::fmt::Write as _;

use serde::Deserialize;

use super::ids::{IdRange, check_ranges};
use super::path_text::{decode, encode};
use super::{
    BaseKind, MAX_BASES, MAX_RANGES, MAX_RECIPE, MAX_STEPS, RECIPE_VERSION, Recipe, RecipeBase, RecipeError, RecipeStep,
};
use crate::digest::{Algorithm, Digest};
use crate::policy::XattrPolicy;
use crate::tree::Timestamp;

const PATH: &str = "a path that begins with / and has no empty, . or .. part, with % and hex digits for special bytes";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeJson {
    algorithm: String,
    bases: Vec<BaseJson>,
    format: u32,
    steps: Vec<StepJson>,
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseJson {
    digest: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
enum StepJson {
    Remove { paths: Vec<String> },
    ShiftIds { by: i64 },
    MapUids { ranges: Vec<[u32; 3]> },
    MapGids { ranges: Vec<[u32; 3]> },
    SetOwner { path: String, uid: u32, gid: u32 },
    KeepXattrs { which: String },
    ClampMtime { sec: i64, nsec: u32 },
    SetLabel { path: String, label: String },
}

/// The version alone, which decides whether the rest can be understood.
#[derive(Deserialize)]
struct VersionJson {
    version: u32,
}

impl Recipe {
    /// Parses the text of a recipe, which must be in the form that [`to_text`](Self::to_text) writes.
    ///
    /// # Errors
    ///
    /// [`RecipeError`]
    pub fn parse(text: &[u8]) -> Result<Self, RecipeError> {
        if text.len() > MAX_RECIPE {
            return Err(RecipeError::TooLong);
        }
        let VersionJson { version } = serde_json::from_slice(text)?;
        if version != RECIPE_VERSION {
            return Err(RecipeError::Version(version));
        }
        let json: RecipeJson = serde_json::from_slice(text)?;
        debug_assert_eq!(json.version, version);
        let algorithm = json.algorithm.parse::<Algorithm>();
        let algorithm = algorithm.map_err(|_| wrong("algorithm", &json.algorithm, "sha256 or sha512"))?;
        let bases = json.bases.iter().map(BaseJson::to_base).collect::<Result<_, _>>()?;
        let steps = json.steps.into_iter().map(StepJson::into_step).collect::<Result<_, _>>()?;
        let recipe = Self { algorithm, format: json.format, bases, steps };
        recipe.check()?;
        let canonical = recipe.to_text();
        if canonical.as_bytes() != text {
            let same = canonical.bytes().zip(text).take_while(|(a, b)| a == *b).count();
            return Err(RecipeError::NotCanonical { at: same });
        }
        Ok(recipe)
    }

    /// Checks the values of a recipe, as its text can have them.
    ///
    /// # Errors
    ///
    /// [`RecipeError`]
    pub fn check(&self) -> Result<(), RecipeError> {
        if self.format > 2 {
            return Err(wrong("format", &self.format.to_string(), "0, 1 or 2"));
        }
        let count = |what, found: usize, least: usize, most: usize| match (least..=most).contains(&found) {
            true => Ok(()),
            false => Err(RecipeError::Count { what, found }),
        };
        count("bases", self.bases.len(), 1, MAX_BASES)?;
        count("steps", self.steps.len(), 0, MAX_STEPS)?;
        if let Some(first) = self.bases.first().filter(|base| base.kind != BaseKind::Layer) {
            return Err(wrong("kind of the first base", first.kind.name(), "layer"));
        }
        for (number, step) in (1..).zip(&self.steps) {
            match step {
                RecipeStep::Remove { paths } => {
                    count("paths of a step", paths.len(), 1, usize::MAX)?;
                    paths.iter().try_for_each(|path| check_path(path, false))?;
                }
                RecipeStep::MapUids { ranges } | RecipeStep::MapGids { ranges } => {
                    count("ranges of a step", ranges.len(), 1, MAX_RANGES)?;
                    check_ranges(ranges).map_err(|source| RecipeError::Ids { step: number, source })?;
                }
                RecipeStep::SetOwner { path, uid, gid } => {
                    check_path(path, true)?;
                    for (field, id) in [("uid", uid), ("gid", gid)] {
                        if *id == u32::MAX {
                            return Err(wrong(field, &id.to_string(), "an ID of 0 to 4294967294"));
                        }
                    }
                }
                RecipeStep::ClampMtime { latest } if latest.nsec > 999_999_999 => {
                    return Err(wrong("nsec", &latest.nsec.to_string(), "less than 1000000000"));
                }
                RecipeStep::SetLabel { path, label } => {
                    check_path(path, true)?;
                    if label.is_empty() || label.len() > 4095 || label.contains(&0) {
                        return Err(wrong("label", &encode(label), "1 to 4095 bytes, none of them NUL"));
                    }
                }
                RecipeStep::ShiftIds { .. } | RecipeStep::KeepXattrs { .. } | RecipeStep::ClampMtime { .. } => {}
            }
        }
        Ok(())
    }

    /// Returns the text: one line of JSON without spaces, keys in order, all of it printable ASCII.
    #[must_use]
    pub fn to_text(&self) -> String {
        let base =
            |base: &RecipeBase| format!(r#"{{"digest":"{}","kind":"{}"}}"#, base.digest.to_hex(), base.kind.name());
        let bases = self.bases.iter().map(base).collect::<Vec<_>>().join(",");
        let steps = self.steps.iter().map(RecipeStep::to_text).collect::<Vec<_>>().join(",");
        let Self { algorithm, format, .. } = self;
        let version = RECIPE_VERSION;
        let head = format!(r#""algorithm":"{algorithm}","bases":[{bases}],"format":{format}"#);
        format!(r#"{{{head},"steps":[{steps}],"version":{version}}}"#) + "\n"
    }
}

impl RecipeStep {
    fn to_text(&self) -> String {
        let ranges = |ranges: &[IdRange]| {
            let mut text = String::new();
            for IdRange { from, to, count } in ranges {
                // Writing to a string does not fail.
                let _ = write!(text, "[{from},{to},{count}],");
            }
            text.pop();
            text
        };
        match self {
            RecipeStep::Remove { paths } => {
                let paths = paths.iter().map(|path| format!("\"{}\"", encode(path))).collect::<Vec<_>>().join(",");
                format!(r#"{{"paths":[{paths}],"step":"remove"}}"#)
            }
            RecipeStep::ShiftIds { by } => format!(r#"{{"by":{by},"step":"shift-ids"}}"#),
            RecipeStep::MapUids { ranges: all } => format!(r#"{{"ranges":[{}],"step":"map-uids"}}"#, ranges(all)),
            RecipeStep::MapGids { ranges: all } => format!(r#"{{"ranges":[{}],"step":"map-gids"}}"#, ranges(all)),
            RecipeStep::SetOwner { path, uid, gid } => {
                format!(r#"{{"gid":{gid},"path":"{}","step":"set-owner","uid":{uid}}}"#, encode(path))
            }
            RecipeStep::KeepXattrs { which } => format!(r#"{{"step":"keep-xattrs","which":"{}"}}"#, which.name()),
            RecipeStep::ClampMtime { latest: Timestamp { sec, nsec } } => {
                format!(r#"{{"nsec":{nsec},"sec":{sec},"step":"clamp-mtime"}}"#)
            }
            RecipeStep::SetLabel { path, label } => {
                format!(r#"{{"label":"{}","path":"{}","step":"set-label"}}"#, encode(label), encode(path))
            }
        }
    }
}

impl BaseJson {
    fn to_base(&self) -> Result<RecipeBase, RecipeError> {
        let digest = Digest::from_hex(&self.digest);
        let digest = digest.map_err(|_| wrong("digest", &self.digest, "64 or 128 hex digits in lower case"))?;
        let kind = BaseKind::NAMES.into_iter().find(|(name, _)| *name == self.kind);
        let (_, kind) = kind.ok_or_else(|| wrong("kind", &self.kind, "layer, sysext, confext or sysext+confext"))?;
        Ok(RecipeBase { digest, kind })
    }
}

impl StepJson {
    fn into_step(self) -> Result<RecipeStep, RecipeError> {
        let path = |text: &str| decode(text).ok_or_else(|| wrong("path", text, PATH));
        let ranges =
            |all: Vec<[u32; 3]>| all.into_iter().map(|[from, to, count]| IdRange { from, to, count }).collect();
        Ok(match self {
            StepJson::Remove { paths } => {
                RecipeStep::Remove { paths: paths.iter().map(|text| path(text)).collect::<Result<_, _>>()? }
            }
            StepJson::ShiftIds { by } => RecipeStep::ShiftIds { by },
            StepJson::MapUids { ranges: all } => RecipeStep::MapUids { ranges: ranges(all) },
            StepJson::MapGids { ranges: all } => RecipeStep::MapGids { ranges: ranges(all) },
            StepJson::SetOwner { path: text, uid, gid } => RecipeStep::SetOwner { path: path(&text)?, uid, gid },
            StepJson::KeepXattrs { which } => {
                let expected = "all, user, none, capability or capability+user";
                let found = XattrPolicy::from_name(&which).ok_or_else(|| wrong("which", &which, expected))?;
                RecipeStep::KeepXattrs { which: found }
            }
            StepJson::ClampMtime { sec, nsec } => RecipeStep::ClampMtime { latest: Timestamp { sec, nsec } },
            StepJson::SetLabel { path: text, label } => {
                let expected = "bytes, with % and hex digits for special ones";
                let found = decode(&label).ok_or_else(|| wrong("label", &label, expected))?;
                RecipeStep::SetLabel { path: path(&text)?, label: found }
            }
        })
    }
}

fn wrong(field: &'static str, value: &str, expected: &'static str) -> RecipeError {
    RecipeError::Value { field, value: crate::display::shown(value.as_bytes()), expected }
}

/// Checks that a path is absolute and in one spelling.
fn check_path(path: &[u8], may_be_root: bool) -> Result<(), RecipeError> {
    let mut parts = path.split(|byte| *byte == b'/');
    let is_absolute = parts.next().is_some_and(<[u8]>::is_empty);
    let is_right = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    let is_root = path == b"/";
    if is_absolute && (is_root && may_be_root || !is_root && parts.all(is_right)) && !path.is_empty() {
        return Ok(());
    }
    Err(wrong("path", &encode(path), PATH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity;

    pub(super) fn recipe() -> Recipe {
        let digest = |text: &[u8]| verity::digest(Algorithm::Sha256, text);
        let range = IdRange { from: 0, to: 100_000, count: 65536 };
        let mut recipe = Recipe::new(Algorithm::Sha256, 1);
        recipe.bases = vec![RecipeBase::layer(digest(b"a")), RecipeBase::new(digest(b"b"), BaseKind::Sysext)];
        recipe.steps = vec![
            RecipeStep::Remove { paths: vec![b"/usr/share/doc".to_vec(), b"/a b\xff".to_vec()] },
            RecipeStep::ShiftIds { by: -1 },
            RecipeStep::MapUids { ranges: vec![range] },
            RecipeStep::MapGids { ranges: vec![range, IdRange { from: 70_000, to: 7, count: 1 }] },
            RecipeStep::SetOwner { path: b"/".to_vec(), uid: 1, gid: 2 },
            RecipeStep::KeepXattrs { which: XattrPolicy::User },
            RecipeStep::ClampMtime { latest: Timestamp { sec: -3, nsec: 4 } },
            RecipeStep::SetLabel { path: b"/usr".to_vec(), label: b"system_u:object_r:usr_t:s0".to_vec() },
        ];
        recipe
    }

    #[test]
    fn a_recipe_is_read_as_it_was_written() {
        let text = recipe().to_text();
        assert_eq!(Recipe::parse(text.as_bytes()).unwrap(), recipe());
        let steps = concat!(
            r#""format":1,"steps":[{"paths":["/usr/share/doc","/a%20b%FF"],"step":"remove"},"#,
            r#"{"by":-1,"step":"shift-ids"},"#,
            r#"{"ranges":[[0,100000,65536]],"step":"map-uids"},"#,
            r#"{"ranges":[[0,100000,65536],[70000,7,1]],"step":"map-gids"},"#,
            r#"{"gid":2,"path":"/","step":"set-owner","uid":1},{"step":"keep-xattrs","which":"user"},"#,
            r#"{"nsec":4,"sec":-3,"step":"clamp-mtime"},"#,
            r#"{"label":"system_u:object_r:usr_t:s0","path":"/usr","step":"set-label"}],"version":1}"#,
            "\n"
        );
        assert!(text.ends_with(steps), "{text}");
        // The form is that of serde_json with sorted keys.
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value.to_string() + "\n", text);
    }

    #[test]
    fn other_forms_of_a_recipe_are_refused() {
        let text = recipe().to_text();
        let refused = |from: &str, to: &str| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            Recipe::parse(changed.as_bytes()).unwrap_err().to_string()
        };
        for (from, to, expected) in [
            ("\"format\":1", "\"format\": 1", "not a canonical recipe: byte "),
            ("\n", "", "not a canonical recipe"),
            ("remove", "r\\u001bmove", "unknown variant `r\u{fffd}move`"),
            ("\n", "\nx", "not a recipe: trailing"),
            ("\"version\":1", "\"version\":2", "a recipe of version 2"),
            ("\"version\":1", "\"version\":1,\"w\":1", "unknown field `w`"),
            ("\"by\":-1", "\"by\":-1,\"c\":1", "unknown field `c`"),
            ("\"by\":-1", "\"by\":-1,\"by\":-1", "duplicate field"),
            ("\"by\":-1", "\"by\":1e3", "not a recipe"),
            ("shift-ids", "shift", "unknown variant `shift`"),
            ("\"format\":1", "\"format\":3", "format of the recipe is \"3\": expected 0, 1 or 2"),
            ("\"sha256\"", "\"md5\"", "expected sha256 or sha512"),
            ("\"kind\":\"layer\"", "\"kind\":\"sysext\"", "kind of the first base"),
            ("\"kind\":\"sysext\"", "\"kind\":\"addon\"", "expected layer, sysext"),
            ("\"which\":\"user\"", "\"which\":\"some\"", "expected all, user"),
            ("/usr/share/doc", "/usr/../doc", "expected a path"),
            ("/usr/share/doc", "/usr//doc", "expected a path"),
            ("/usr/share/doc", "/", "expected a path"),
            ("/usr/share/doc", "usr", "expected a path"),
            ("/usr/share/doc", "/a%2fb", "expected a path"),
            ("[0,100000,65536]", "[0,100000,0]", "step 3 of the recipe: the range"),
            ("[70000,7,1]", "[7,7,1]", "step 4 of the recipe: ID 7 is in two ranges"),
            ("[[0,100000,65536]]", "[]", "0 ranges of a step"),
            ("\"nsec\":4", "\"nsec\":1000000000", "less than 1000000000"),
            ("\"uid\":1", "\"uid\":4294967295", "an ID of 0 to 4294967294"),
        ] {
            let message = refused(from, to);
            assert!(message.contains(expected), "{from} {to}: {message}");
        }
        assert!(matches!(Recipe::parse(&vec![b' '; MAX_RECIPE + 1]), Err(RecipeError::TooLong)));
    }

    #[test]
    fn lists_are_bounded() {
        let mut many = recipe();
        many.steps = vec![RecipeStep::ShiftIds { by: 0 }; MAX_STEPS];
        Recipe::parse(many.to_text().as_bytes()).unwrap();
        many.steps.push(RecipeStep::ShiftIds { by: 0 });
        assert!(matches!(Recipe::parse(many.to_text().as_bytes()), Err(RecipeError::Count { what: "steps", .. })));
        let none = Recipe { bases: Vec::new(), ..recipe() };
        assert!(matches!(none.check(), Err(RecipeError::Count { what: "bases", found: 0 })));
    }
}
