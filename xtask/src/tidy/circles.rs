//! Circles of files: files that need each other, directly or through others, can only be understood together.
//!
//! An edge leads from a file to the file that defines a name it uses, by `use` or by a path from `crate` or `super`;
//! re-exports are followed. Edges between a module and one inside it do not count: a module declares its parts, and
//! they share its types. A trait's methods and the methods of one type in several files are not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;
use super::modules::{self, ModulePath, Modules};

/// Re-exports are followed so often at most.
const HOPS: usize = 8;

/// Returns a problem for each circle.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for (dir, modules) in modules::crates(sources) {
        for circle in circles(&edges(&modules)) {
            let names: Vec<_> = circle.iter().map(|module| module.join("::")).collect();
            problems.push(format!("{dir}: {} need each other", names.join(", ")));
        }
    }
    problems
}

type Edges = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

/// The edges between the files of a crate.
fn edges(modules: &Modules<'_>) -> Edges {
    let uses: BTreeMap<_, _> =
        modules.files.iter().map(|(module, source)| (module.clone(), uses(module, modules, &source.text))).collect();
    let mut edges = Edges::new();
    for (from, used) in &uses {
        for path in used {
            let to = defining(path.clone(), modules, &uses);
            if !from.starts_with(&to) && !to.starts_with(from) {
                edges.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    edges
}

/// The module that defines the item at a path, which may lead through re-exports.
fn defining(mut path: ModulePath, modules: &Modules<'_>, uses: &BTreeMap<ModulePath, Vec<ModulePath>>) -> ModulePath {
    for _ in 0..HOPS {
        let depth = (0..=path.len()).rev().find(|&depth| modules.files.contains_key(&path[..depth])).unwrap_or(0);
        let (module, rest) = path.split_at(depth);
        let Some(name) = rest.first() else { return path };
        let module = module.to_vec();
        // A re-export is a use in the module whose last part is the name.
        let Some(again) = uses.get(&module).and_then(|used| used.iter().find(|used| used.last() == Some(name))) else {
            return module;
        };
        if again.starts_with(&module) && again.len() == module.len() + 1 {
            return module;
        }
        path = again.clone();
    }
    path
}

/// The paths that a file uses, from the root of its crate.
fn uses(module: &ModulePath, modules: &Modules<'_>, text: &str) -> Vec<ModulePath> {
    let code: String = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let begins = code[..at].chars().next_back().is_none_or(|c| c.is_whitespace());
        if let Some(tree) = code[at + 4..].split(';').next().filter(|_| begins) {
            flatten(tree.trim(), &[], &mut paths);
        }
    }
    for word in ["crate::", "super::"] {
        for (at, _) in code.match_indices(word) {
            let path = code[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next();
            // One that ends so is the beginning of a group, seen above.
            let path = path.filter(|path| !path.ends_with("::"));
            paths.extend(path.map(|path| path.split("::").map(str::to_owned).collect::<ModulePath>()));
        }
    }
    paths.into_iter().filter_map(|path| from_root(module, modules, path)).collect()
}

/// Splits a tree of `use` into its paths.
fn flatten(tree: &str, prefix: &[String], paths: &mut Vec<ModulePath>) {
    let Some((before, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        let parts = path.split("::").filter(|part| !part.is_empty() && *part != "self" || prefix.is_empty());
        paths.push(prefix.iter().cloned().chain(parts.map(|part| part.trim().to_owned())).collect());
        return;
    };
    let parts = before.trim().split("::").filter(|part| !part.is_empty()).map(str::to_owned);
    let prefix: Vec<_> = prefix.iter().cloned().chain(parts).collect();
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                let part = group[start..at].trim();
                if !part.is_empty() {
                    flatten(part, &prefix, paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// A path as seen in a module, from the crate's root; `None` if it leads to another crate.
fn from_root(module: &ModulePath, modules: &Modules<'_>, path: ModulePath) -> Option<ModulePath> {
    let mut base = module.clone();
    let mut parts = path.into_iter().peekable();
    match parts.peek()?.as_str() {
        "crate" => base.clear(),
        "self" | "super" => {
            while parts.peek().is_some_and(|part| part == "super") {
                base.pop();
                parts.next();
            }
            return Some(base.into_iter().chain(parts.filter(|part| part != "self")).collect());
        }
        child => {
            base.push(child.to_owned());
            modules.files.contains_key(&base).then_some(())?;
        }
    }
    parts.next();
    Some(base.into_iter().chain(parts).collect())
}

/// The sets of modules that reach each other.
fn circles(edges: &Edges) -> Vec<BTreeSet<ModulePath>> {
    let reach = |from: &ModulePath| {
        let (mut seen, mut pending) = (BTreeSet::new(), vec![from]);
        while let Some(module) = pending.pop() {
            let next = edges.get(module).into_iter().flatten();
            pending.extend(next.filter(|next| seen.insert((*next).clone())));
        }
        seen
    };
    let reached: BTreeMap<_, _> = edges.keys().map(|module| (module, reach(module))).collect();
    let mut circles = BTreeSet::new();
    for (module, seen) in &reached {
        let returns = |other: &&ModulePath| reached.get(other).is_some_and(|seen| seen.contains(*module));
        let circle: BTreeSet<_> = seen.iter().filter(returns).cloned().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let source =
            |&(path, text): &(&str, &str)| Source { path: format!("crates/one/src/{path}").into(), text: text.into() };
        check(&files.iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn files_that_need_each_other() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a.rs", "use std::fs;\nuse crate::b::{B, other::{X, Y}};\n"),
            ("b.rs", "fn b() { super::c::d() }\n"),
            ("c.rs", "pub(crate) use super::a;\n"),
        ];
        assert_eq!(found(&files), ["crates/one: a, b, c need each other"]);
    }

    #[test]
    fn re_exports_lead_to_the_file() {
        let files = [
            ("lib.rs", "pub mod set;\nmod user;\n"),
            (
                "set/mod.rs",
                "mod item;\nmod list;\npub use item::Item;\npub use self::list::List;\nuse crate::user::User;\n",
            ),
            ("set/item.rs", "use crate::user::User;\n"),
            ("set/list.rs", ""),
            ("user.rs", "use crate::set::{List, Item as Other};\n"),
        ];
        assert_eq!(found(&files), ["crates/one: set::item, user need each other"]);
    }

    #[test]
    fn trees_parents_and_tests_are_no_circles() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a/mod.rs", "mod part;\nuse part::Part;\npub struct A;\n"),
            ("a/part.rs", "use super::A;\n// use crate::b::B;\n"),
            ("b.rs", "use crate::a::A;\n"),
            ("a/other.rs", "#[cfg(test)]\nmod tests { use crate::b::B; }\n"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }
}
