//! Finds out if this process is in a user namespace of its own, where the kernel lets even root mount few file systems.

/// The mapping of the initial user namespace: every id stands for itself.
const IDENTITY: [u64; 3] = [0, 0, 0xffff_ffff];

/// Returns true if the process is in a user namespace other than the initial one; `None` if `/proc` does not tell.
#[must_use]
pub fn is_in_one() -> Option<bool> {
    std::fs::read_to_string("/proc/self/uid_map").ok().map(|map| !is_identity(&map))
}

/// Returns true for the mapping of the initial user namespace. Another namespace may have the same mapping; ids then
/// make no difference, and it is not recognized.
fn is_identity(map: &str) -> bool {
    let numbers: Vec<u64> = map.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    numbers == IDENTITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_tells() {
        assert!(is_identity("         0          0 4294967295\n"));
        for other in ["0 1000 1\n", "0 0 65536\n", "0 1000 1\n1 100000 65536\n", ""] {
            assert!(!is_identity(other), "{other:?}");
        }
    }
}
