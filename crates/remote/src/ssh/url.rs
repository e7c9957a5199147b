//! URLs of remotes on other machines, and the arguments of ssh that reach them.

use std::ffi::OsString;
use std::fmt;

/// `ssh://[USER@]HOST[:PORT]/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SshUrl {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// Path on the other machine: `/~/x` is relative to the home directory.
    path: String,
}

impl SshUrl {
    /// Parses a URL.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let rest = url.strip_prefix("ssh://").ok_or("the URL does not begin with ssh://")?;
        let (authority, path) = rest.split_at(rest.find('/').ok_or("the URL has no path")?);
        let (user, server) = match authority.rsplit_once('@') {
            Some((user, server)) => (Some(user), server),
            None => (None, authority),
        };
        let (host, port) = match server.strip_prefix('[') {
            Some(address) => {
                let (host, port) = address.split_once(']').ok_or("the address has no `]`")?;
                let port = match port.strip_prefix(':') {
                    None if port.is_empty() => None,
                    None => return Err("the port is no number"),
                    port => port,
                };
                (host, port)
            }
            None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse::<u16>().map_err(|_| "the port is no number")).transpose()?;
        // ssh reads options from words that begin with a hyphen, and expands some characters.
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
        let is_host = !host.is_empty() && !host.starts_with('-') && host.chars().all(is_name);
        let is_user = user.is_none_or(|user| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '+' | '\\');
            !user.is_empty() && !user.starts_with('-') && user.chars().all(is_plain)
        });
        if !is_host {
            return Err("the host is not valid");
        }
        if !is_user {
            return Err("the user is not valid; a password cannot be in the URL: ssh asks for it, or use a key");
        }
        if path.len() < 2 || path.chars().any(char::is_control) {
            return Err("the path is empty or has control characters");
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, path: path.to_owned() })
    }

    /// Returns `USER@HOST`, for a message.
    pub(super) fn destination(&self) -> String {
        self.user.as_ref().map_or_else(|| self.host.clone(), |user| format!("{user}@{}", self.host))
    }

    /// Returns the arguments of ssh.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut option = |text: &str| arguments.push(text.into());
        // No terminal, no forwarding, and an end within a minute if the network is gone.
        for word in ["-T", "-x", "-a", "-o", "ClearAllForwardings=yes", "-o", "ServerAliveInterval=20"] {
            option(word);
        }
        if let Some(port) = self.port {
            option("-p");
            option(&port.to_string());
        }
        if let Some(user) = &self.user {
            option("-l");
            option(user);
        }
        option("--");
        option(&self.host);
        let path = match self.path.strip_prefix("/~/") {
            Some(path) => format!("./{path}"),
            None => self.path.clone(),
        };
        option(&format!("composefs remote serve --stdio {}", quoted(&path)));
        arguments
    }
}

/// Quotes a word for the shell of the other machine.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

impl fmt::Display for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "ssh://{user}{host}{port}{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(url: &str) -> Vec<String> {
        let arguments = SshUrl::parse(url).unwrap().arguments();
        arguments.iter().skip(7).map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn urls_become_arguments() {
        let serve = |path: &str| format!("composefs remote serve --stdio {path}");
        assert_eq!(words("ssh://h/a/b"), ["--", "h", &serve("/a/b")]);
        assert_eq!(words("ssh://u@h.x:22/~/it's"), ["-p", "22", "-l", "u", "--", "h.x", &serve("'./it'\\''s'")]);
        assert_eq!(words("ssh://[::1]:5/a;b"), ["-p", "5", "--", "::1", &serve("'/a;b'")]);
        for url in ["ssh://u@[::1]:5/a", "ssh://h/a b", "ssh://h:1/~/x"] {
            assert_eq!(SshUrl::parse(url).unwrap().to_string(), url);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "ssh://h",
            "ssh://h/",
            "ssh:///a",
            "ssh://-oProxyCommand=x/a",
            "ssh://-o@h/a",
            "ssh://u:p@h/a",
            "ssh://h:x/a",
            "ssh://h:99999/a",
            "ssh://[::1/a",
            "ssh://[::1]x/a",
            "ssh://h/a\nb",
            "ssh://$(x)/a",
            "http://h/a",
        ] {
            assert!(SshUrl::parse(url).is_err(), "{url}");
        }
    }
}
