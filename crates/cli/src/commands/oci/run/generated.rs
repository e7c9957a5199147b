//! Generates `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container, as podman does.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use libcomposefs_oci::runtime::{ContainerNetwork, GeneratedFiles};

/// Writes the files into `directory`.
pub(super) fn write(directory: &Path, network: ContainerNetwork, hostname: &str) -> anyhow::Result<GeneratedFiles> {
    let file = |name: &str, text: &[u8]| write_readable(directory.join(name), text);
    let host_file = read_if_any("/etc/hosts")?;
    let own_name = Some(hostname).filter(|_| network == ContainerNetwork::None);
    let resolv_conf = match network {
        // Without a network there is no server to ask.
        ContainerNetwork::None => None,
        ContainerNetwork::Host => Some(file("resolv.conf", &read_if_any("/etc/resolv.conf")?)?),
    };
    Ok(GeneratedFiles {
        hosts: file("hosts", hosts(&String::from_utf8_lossy(&host_file), own_name).as_bytes())?,
        hostname: file("hostname", format!("{hostname}\n").as_bytes())?,
        resolv_conf,
    })
}

/// Returns the lines of the host, without comments, and the container's own name.
fn hosts(of_host: &str, own_name: Option<&str>) -> String {
    let mut text = String::new();
    for line in of_host.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        if let (Some(address), names) = (words.next(), words.collect::<Vec<_>>())
            && !names.is_empty()
        {
            text.push_str(&format!("{address}\t{}\n", names.join(" ")));
        }
    }
    if text.is_empty() {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
    }
    if let Some(name) = own_name {
        text.push_str(&format!("127.0.0.1\t{name}\n"));
    }
    text
}

fn read_if_any(path: &str) -> anyhow::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {path}")),
    }
}

/// The users of the container read the file whatever the umask of the caller is.
fn write_readable(path: PathBuf, text: &[u8]) -> anyhow::Result<PathBuf> {
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_host_and_the_name() {
        let of_host = "127.0.0.1 localhost  a # comment\n# comment\n\n::1\t\tlocalhost\n10.0.0.1\n";
        assert_eq!(hosts(of_host, None), "127.0.0.1\tlocalhost a\n::1\tlocalhost\n");
        assert_eq!(hosts("", Some("x")), "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tx\n");
    }
}
