//! Parses `WWW-Authenticate`.

/// The longest header that is read.
const LONGEST: usize = 16 << 10;

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token of an authorization server.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Returns the challenge to answer among the values of the headers: a token is preferred.
pub(crate) fn choose<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let challenges: Vec<_> = values.flat_map(parse).collect();
    let bearer = challenges.iter().find(|challenge| **challenge != Challenge::Basic);
    bearer.or(challenges.first()).cloned()
}

/// Parses the challenges of one header that are known: `SCHEME key=value, key="value", SCHEME ...`.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.get(..header.len().min(LONGEST)).unwrap_or_default();
    let mut scheme = "";
    let mut parameters: Vec<(&str, String)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        let is_scheme = !after.trim_start().starts_with('=');
        if !is_scheme {
            let Some((value, after)) = value(after.trim_start().trim_start_matches('=').trim_start()) else { break };
            parameters.push((word, value));
            rest = after;
            continue;
        }
        found.extend(challenge(scheme, &parameters));
        (scheme, rest) = (word, after);
        parameters.clear();
    }
    found.extend(challenge(scheme, &parameters));
    found
}

fn challenge(scheme: &str, parameters: &[(&str, String)]) -> Option<Challenge> {
    let find = |key: &str| parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    let get = |key: &str| find(key).map(|(_, value)| value.clone());
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
        _ => None,
    }
}

/// Splits a value, with or without quotes, from the rest.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn known_challenges() {
        let hub = r#"Bearer realm="https://auth.x/token",service="registry.x",scope="repository:a/b:pull,push""#;
        let expected = bearer("https://auth.x/token", Some("registry.x"), Some("repository:a/b:pull,push"));
        assert_eq!(parse(hub), std::slice::from_ref(&expected));
        assert_eq!(parse("Basic realm=\"a, b\""), [Challenge::Basic]);
        assert_eq!(parse("bearer REALM=https://r"), [bearer("https://r", None, None)]);
        let both = format!("Digest realm=\"x\", nonce=y, Basic realm=\"z\", {hub}");
        assert_eq!(parse(&both), [Challenge::Basic, expected.clone()]);
        assert_eq!(choose([both.as_str()].into_iter()), Some(expected));
        assert_eq!(choose(["Negotiate", "Basic"].into_iter()), Some(Challenge::Basic));
        assert_eq!(parse(r#"Bearer realm="a\"b\\c""#), [bearer("a\"b\\c", None, None)]);
    }

    #[test]
    fn other_texts_have_no_challenge() {
        for text in ["", ",", "Bearer", "Bearer service=\"a\"", "Bearer realm=\"open", "=", "Digest realm=x", "\u{e4}"]
        {
            assert_eq!(parse(text), [], "{text}");
        }
    }
}
