//! The modules of each crate, by the paths of their files.

use std::collections::BTreeMap;

use super::Source;

/// The path of a module in its crate; the crate's own root has none.
pub(super) type ModulePath = Vec<String>;

/// The modules of one crate with their files.
#[derive(Default)]
pub(super) struct Modules<'a> {
    pub(super) files: BTreeMap<ModulePath, &'a Source>,
}

/// Returns the crates by the directory that holds their `src`, such as `crates/image`.
pub(super) fn crates(sources: &[Source]) -> BTreeMap<String, Modules<'_>> {
    let mut crates: BTreeMap<String, Modules<'_>> = BTreeMap::new();
    for source in sources {
        let path = source.path.to_string_lossy();
        let Some((dir, file)) = path.split_once("/src/") else { continue };
        if let Some(module) = module_path(file) {
            crates.entry(dir.to_owned()).or_default().files.insert(module, source);
        }
    }
    crates
}

/// Returns the module of a file below `src`, unless it has tests.
fn module_path(file: &str) -> Option<ModulePath> {
    let mut path: ModulePath = file.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    match path.last().map(String::as_str) {
        Some("tests") => return None,
        Some("mod") => drop(path.pop()),
        Some("lib" | "main") if path.len() == 1 => path.clear(),
        _ => {}
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_their_modules() {
        let path = |file| module_path(file).map(|path| path.join("::"));
        assert_eq!(path("lib.rs").as_deref(), Some(""));
        assert_eq!(path("tree/mod.rs").as_deref(), Some("tree"));
        assert_eq!(path("tree/main.rs").as_deref(), Some("tree::main"));
        assert_eq!(path("erofs/read/map.rs").as_deref(), Some("erofs::read::map"));
        assert_eq!((path("erofs/tests.rs"), path("a.sh")), (None, None));
    }
}
