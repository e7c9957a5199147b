//! Reads credentials from netrc files, as curl and ftp do.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The longest netrc file.
const LONGEST: u64 = 1 << 20;

/// A user with a password. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

/// Looks for a host in a netrc file. A missing file, or one that cannot be read, has no host.
pub(super) fn find(path: &Path, host: &str, user: Option<&str>) -> Option<Login> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
    parse(&String::from_utf8_lossy(&text), host, user)
}

/// One entry of the file.
#[derive(Default)]
struct Machine {
    is_wanted: bool,
    user: Option<String>,
    password: Option<String>,
}

impl Machine {
    /// Returns the login, if the entry is for the host, and for the user if one is given.
    fn login(&self, user: Option<&str>) -> Option<Login> {
        let own = self.user.as_deref().or(user)?;
        let is_of_user = user.is_none_or(|user| user == own);
        (self.is_wanted && is_of_user)
            .then(|| Login { user: own.to_owned(), password: self.password.clone().unwrap_or_default() })
    }
}

/// Returns the first entry for a host, or the one for all other hosts (`default`).
pub(super) fn parse(text: &str, host: &str, user: Option<&str>) -> Option<Login> {
    let mut words = words(text).into_iter();
    let mut machine = Machine::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "machine" | "default" => {
                if let Some(login) = machine.login(user) {
                    return Some(login);
                }
                let is_wanted = word == "default" || words.next().is_some_and(|name| name.eq_ignore_ascii_case(host));
                machine = Machine { is_wanted, ..Machine::default() };
            }
            "login" => machine.user = words.next(),
            "password" => machine.password = words.next(),
            "account" => drop(words.next()),
            _ => {}
        }
    }
    machine.login(user)
}

/// Splits the text into words. A word may be in double quotes; comments begin with `#`; macros end with an empty line.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let (word, after) = next_word(rest);
            if word == "macdef" {
                for line in lines.by_ref() {
                    if line.trim().is_empty() {
                        break;
                    }
                }
                break;
            }
            words.push(word);
            rest = after.trim_start();
        }
    }
    words
}

/// Takes the first word of a line that is not empty.
fn next_word(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return (word.to_owned(), rest);
    };
    let mut word = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => word.extend(chars.next()),
            c => word.push(c),
        }
    }
    (word, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, user: Option<&str>) -> Option<(String, String)> {
        parse(text, host, user).map(|login| (login.user, login.password))
    }

    #[test]
    fn entries_by_host_and_user() {
        let text = "# comment machine x\nmachine a.x login u password p\n\
                    machine b.x\n  login v\n  account z\n  password \"q \\\" r\"\nmacdef m\nmachine c.x login no\n\n\
                    machine a.x login w password s\ndefault login d password e";
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(find(text, "A.X", None), pair("u", "p"));
        assert_eq!(find(text, "b.x", None), pair("v", "q \" r"));
        assert_eq!(find(text, "a.x", Some("w")), pair("w", "s"));
        assert_eq!(find(text, "c.x", None), pair("d", "e"));
        assert_eq!(find("machine a.x password p", "a.x", None), None);
        assert_eq!(find("machine a.x login u", "a.x", None), pair("u", ""));
        for text in ["", "machine", "machine a.x login", "\"", "machine \"a.x", "macdef"] {
            assert_eq!(find(text, "a.x", None), None, "{text}");
        }
    }
}
