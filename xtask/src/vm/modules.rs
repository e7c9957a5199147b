//! Kernel modules for a guest: which files a module needs, and the tables by which the guest's modprobe finds them.
//!
//! The packages come without `modules.dep` (the installation would make it), so it is made here from what each module
//! says of itself in its `.modinfo` section. With `modules.alias` beside it the kernel's own requests work too, such as
//! `fs-xfs` at the first mount.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// Reads a module and decompresses it.
struct Module {
    object: Vec<u8>,
    depends: Vec<String>,
    aliases: Vec<String>,
}

/// Modules and everything they depend on.
pub(crate) struct ModuleSet {
    modules: BTreeMap<String, Module>,
}

impl ModuleSet {
    /// Collects the named modules from a module tree. A name the kernel does not have as a module is passed over: it is
    /// built in, or the kernel is without it, which the tests that need it will say.
    pub(crate) fn collect(tree: &Path, names: &[&str]) -> Result<Self> {
        let mut files = BTreeMap::new();
        list(tree, &mut files)?;
        let mut modules = BTreeMap::new();
        let mut open: Vec<String> = names.iter().map(|name| canonical(name)).collect();
        while let Some(name) = open.pop() {
            if modules.contains_key(&name) {
                continue;
            }
            let Some(file) = files.get(&name) else { continue };
            let module = Module::read(file)?;
            open.extend(module.depends.iter().cloned());
            modules.insert(name, module);
        }
        Ok(Self { modules })
    }

    /// Name and object code of each.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (String, &[u8])> {
        self.modules.iter().map(|(name, module)| (file_name(name), &*module.object))
    }

    /// The text of `modules.dep`: each module with all it needs, the nearest first.
    pub(crate) fn dependencies(&self) -> String {
        let mut text = String::new();
        for name in self.modules.keys() {
            let mut needs = Vec::new();
            self.needs(name, &mut needs);
            let needs: Vec<_> = needs.iter().rev().map(|need| file_name(need)).collect();
            text.push_str(&format!("{}: {}\n", file_name(name), needs.join(" ")));
        }
        text
    }

    /// Returns the modules that `name` needs, in the order to load.
    fn needs<'a>(&'a self, name: &str, needs: &mut Vec<&'a str>) {
        for need in self.modules.get(name).map_or(&[][..], |module| &module.depends) {
            self.needs(need, needs);
            if !needs.contains(&need.as_str()) && self.modules.contains_key(need) {
                needs.push(need);
            }
        }
    }

    /// File names of all modules, in an order in which they can be loaded.
    pub(crate) fn load_order(&self) -> Vec<String> {
        let mut order = Vec::new();
        for name in self.modules.keys() {
            self.needs(name, &mut order);
            if !order.contains(&name.as_str()) {
                order.push(name);
            }
        }
        order.into_iter().map(file_name).collect()
    }

    /// The text of `modules.alias`.
    pub(crate) fn aliases(&self) -> String {
        let line = |(name, module): (&String, &Module)| {
            module.aliases.iter().map(|alias| format!("alias {alias} {name}\n")).collect::<String>()
        };
        self.modules.iter().map(line).collect()
    }
}

impl Module {
    fn read(file: &Path) -> Result<Self> {
        let object = match file.extension().and_then(|e| e.to_str()) {
            Some("xz") => process::output(Command::new("xz").arg("-dc").arg(file))?,
            Some("zst") => process::output(Command::new("zstd").arg("-qdc").arg(file))?,
            _ => fs::read(file)?,
        };
        let (mut depends, mut aliases) = (Vec::new(), Vec::new());
        for (key, value) in info(&object) {
            match key.as_str() {
                "depends" => depends.extend(value.split(',').filter(|name| !name.is_empty()).map(canonical)),
                // A soft dependency reads `pre: a b post: c`; here all of them are wanted, where the kernel has them.
                "softdep" => depends.extend(value.split_whitespace().filter(|w| !w.ends_with(':')).map(canonical)),
                _ => aliases.push(value),
            }
        }
        Ok(Self { object, depends, aliases })
    }
}

/// The `key=value` strings of a module. They are found by their form, between zero bytes, rather than through the
/// section headers; a string of other sections cannot begin with these keys.
fn info(object: &[u8]) -> Vec<(String, String)> {
    let keys: [&[u8]; 3] = [b"depends=", b"softdep=", b"alias="];
    let strings = object.split(|&byte| byte == 0).filter(|s| keys.iter().any(|key| s.starts_with(key)));
    let pairs = strings.filter_map(|s| std::str::from_utf8(s).ok()?.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Names are written with `-` and `_` alike; the kernel's own form has `_`.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn file_name(name: &str) -> String {
    format!("{name}.ko")
}

fn list(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            list(&path, files)?;
        } else if let Some((name, _)) = entry.file_name().to_str().and_then(|name| name.split_once(".ko")) {
            files.insert(canonical(name), path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(depends: &[&str]) -> Module {
        Module { object: Vec::new(), depends: depends.iter().map(|d| (*d).to_owned()).collect(), aliases: vec![] }
    }

    #[test]
    fn dependencies_are_listed_in_reverse_load_order() {
        let modules = [("a", module(&["b", "c", "built_in"])), ("b", module(&["c"])), ("c", module(&[]))];
        let set = ModuleSet { modules: modules.into_iter().map(|(n, m)| (n.to_owned(), m)).collect() };
        assert_eq!(set.dependencies(), "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko: \n");
        assert_eq!(set.load_order(), ["c.ko", "b.ko", "a.ko"]);
    }

    #[test]
    fn info_is_found_between_zero_bytes() {
        let object = b"\x7fELF\0license=GPL\0depends=x,y-z\0alias=fs-q\0\0";
        assert_eq!(info(object), [("depends".into(), "x,y-z".into()), ("alias".into(), "fs-q".into())]);
    }
}
