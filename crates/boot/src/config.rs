//! The configuration file in the initramfs: three tables of TOML.

/// The way in which a directory of the new root is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountChoice {
    /// Nothing is mounted: the image's own directory is seen.
    None,
    /// The directory of the state is mounted.
    Bind,
    /// An overlay of the image's directory, whose changes are in the state.
    Overlay,
    /// An overlay of the image's directory, whose changes are in memory.
    Transient,
}

/// The configuration. What is `None` has the default of the face.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootConfig {
    /// Changes of the whole root are in memory.
    pub root_transient: bool,
    /// The way in which `/etc` is mounted.
    pub etc: Option<MountChoice>,
    /// The way in which `/var` is mounted.
    pub var: Option<MountChoice>,
}

/// Reasons why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?}: expected {expected}")]
pub struct ConfigError {
    /// Number of the line, from 1.
    pub line: usize,
    /// Text of the wrong line.
    pub text: String,
    /// Text that is expected in this line.
    pub expected: &'static str,
}

/// Largest configuration, in bytes.
pub(crate) const CONFIG_MAX: u64 = 64 << 10;

impl BootConfig {
    /// Reads a configuration. Tables and keys of other versions are passed over.
    ///
    /// # Errors
    ///
    /// If a line cannot be understood.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (mut config, mut table) = (Self::default(), String::new());
        let mut transient = [None; 2];
        for (index, line) in text.lines().enumerate() {
            let wrong = |expected| ConfigError { line: index + 1, text: line.to_owned(), expected };
            let content = without_comment(line).trim();
            if content.is_empty() {
                continue;
            }
            if let Some(name) = content.strip_prefix('[') {
                let name = name.strip_suffix(']').filter(|name| !name.contains(['[', ']']));
                table = plain_key(name.ok_or_else(|| wrong("[root], [etc] or [var]"))?);
                continue;
            }
            let (key, value) = content.split_once('=').ok_or_else(|| wrong("KEY = VALUE"))?;
            let (key, value) = (plain_key(key), value.trim());
            let full = if table.is_empty() { key } else { format!("{table}.{key}") };
            match full.as_str() {
                "root.transient" => config.root_transient = boolean(value).ok_or_else(|| wrong("true or false"))?,
                "etc.transient" => transient[0] = Some(boolean(value).ok_or_else(|| wrong("true or false"))?),
                "var.transient" => transient[1] = Some(boolean(value).ok_or_else(|| wrong("true or false"))?),
                "etc.mount" => config.etc = Some(quoted_choice(value).ok_or_else(|| wrong(CHOICES))?),
                "var.mount" => config.var = Some(quoted_choice(value).ok_or_else(|| wrong(CHOICES))?),
                // An inline table would be read as nothing.
                "root" | "etc" | "var" => return Err(wrong("[root], [etc] or [var] on a line of its own")),
                _ => {}
            }
        }
        for (mount, transient) in [&mut config.etc, &mut config.var].into_iter().zip(transient) {
            if mount.is_none() && transient == Some(true) {
                *mount = Some(MountChoice::Transient);
            }
        }
        Ok(config)
    }
}

/// Returns a key without the spaces and quotation marks that TOML allows in it: `etc . "mount"` is `etc.mount`.
fn plain_key(key: &str) -> String {
    let parts = key.split('.').map(|part| part.trim().trim_matches(['"', '\'']));
    parts.collect::<Vec<_>>().join(".")
}

const CHOICES: &str = "\"none\", \"bind\", \"overlay\" or \"transient\"";

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let end = line.char_indices().find(|(_, character)| match (quote, character) {
        (None, '#') => true,
        (None, '"' | '\'') => {
            quote = Some(*character);
            false
        }
        (Some(open), character) if open == *character => {
            quote = None;
            false
        }
        _ => false,
    });
    end.map_or(line, |(at, _)| line.get(..at).unwrap_or(line))
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn quoted_choice(value: &str) -> Option<MountChoice> {
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    MountChoice::of(quoted('"').or_else(|| quoted('\''))?)
}

impl MountChoice {
    /// Returns the choice with this name; `root` and `volatile` are bootc's names.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "none" | "root" => Some(MountChoice::None),
            "bind" => Some(MountChoice::Bind),
            "overlay" => Some(MountChoice::Overlay),
            "transient" | "volatile" => Some(MountChoice::Transient),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_keys() {
        let text = "# c\n[root]\ntransient = true # yes\n\n[etc]\nmount = \"bind\"\ntransient = true\n\
                    [var]\nmount='volatile'\n";
        let expected =
            BootConfig { root_transient: true, etc: Some(MountChoice::Bind), var: Some(MountChoice::Transient) };
        assert_eq!(BootConfig::parse(text), Ok(expected));
        let dotted = BootConfig::parse("etc.transient = true\nvar.mount = \"root\"\n[other]\nx = 1\n").unwrap();
        assert_eq!((dotted.etc, dotted.var), (Some(MountChoice::Transient), Some(MountChoice::None)));
        let quoted = BootConfig::parse("etc . \"mount\" = \"none\"\r\n[ 'var' ]\r\ntransient = true").unwrap();
        assert_eq!((quoted.etc, quoted.var), (Some(MountChoice::None), Some(MountChoice::Transient)));
        assert_eq!(BootConfig::parse(""), Ok(BootConfig::default()));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, line) in [
            ("[root]\ntransient = 1", 2),
            ("[etc\n", 1),
            ("[etc]\nmount = bind", 2),
            ("[var]\nmount = \"#\"", 2),
            ("nothing", 1),
            ("etc = { mount = \"bind\" }", 1),
        ] {
            assert_eq!(BootConfig::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
