//! The names that a short name of an image can mean.

/// Returns the names that a short one can mean, the best first.
pub(crate) fn full_names(name: &str) -> Vec<String> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let tagged = if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") };
    let mut names = vec![name.to_owned(), tagged.clone()];
    let host = name.split_once('/').map_or("", |(host, _)| host);
    if !host.contains(['.', ':']) && host != "localhost" {
        names.push(format!("localhost/{tagged}"));
        names.push(if host.is_empty() { format!("docker.io/library/{tagged}") } else { format!("docker.io/{tagged}") });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        assert_eq!(full_names("a"), ["a", "a:latest", "localhost/a:latest", "docker.io/library/a:latest"]);
        assert_eq!(full_names("b/a:1"), ["b/a:1", "b/a:1", "localhost/b/a:1", "docker.io/b/a:1"]);
        assert_eq!(full_names("host:5000/a"), ["host:5000/a", "host:5000/a:latest"]);
        assert_eq!(full_names("localhost/a:1"), ["localhost/a:1", "localhost/a:1"]);
    }
}
