//! The grammar of references, as in the distribution specification and in other clients.

/// Splits a text into the name, the tag and the digest.
pub(super) fn split_identifiers(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash separates a port.
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag), digest),
        _ => (rest, None, digest),
    }
}

/// Splits a name into the host, if it has one, and the path.
pub(super) fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        // Paths have no uppercase letters, so this is a host of one word.
        Some((host, path)) if is_host_by_case(host) => (Some(host), path),
        _ => (None, name),
    }
}

/// Reports whether only an uppercase letter tells that the first part of a name is a host, as in `Registry/image`.
pub(super) fn is_host_by_case(host: &str) -> bool {
    !host.contains(['.', ':']) && host != "localhost" && host.contains(|c: char| c.is_ascii_uppercase())
}

/// Reports whether a host is well-formed: `name[:port]`, `a.b.c.d[:port]` or `[ipv6][:port]`.
pub(super) fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_port && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    port.is_none_or(is_port) && name.split('.').all(is_label)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_label(label: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(is_inside)
}

/// Reports whether a path is well-formed.
pub(super) fn is_path(path: &str) -> bool {
    path.split('/').all(is_component)
}

/// Checks `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(component: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_are_words = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    let is_separator = |run: &[u8]| matches!(run, [b'.'] | [b'_'] | [b'_', b'_']) || run.iter().all(|b| *b == b'-');
    ends_are_words && bytes.split(is_word).filter(|run| !run.is_empty()).all(is_separator)
}

/// Reports whether a tag is well-formed.
pub(super) fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.bytes().next().is_some_and(is_word)
        && tag.len() <= 128
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}
