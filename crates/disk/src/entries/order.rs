//! The order of entries: systemd-boot starts the first one, unless a person or a variable chooses.

use std::cmp::Ordering;

use super::{EntryFileName, compare_versions};

/// What systemd-boot sorts an entry by (`boot_entry_compare` in `src/boot/efi/boot.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRank {
    /// The name of the file.
    pub name: EntryFileName,
    /// Value of `sort-key`.
    pub sort_key: Option<String>,
    /// Value of `machine-id`.
    pub machine_id: Option<String>,
    /// Value of `version`.
    pub version: Option<String>,
}

impl EntryRank {
    /// Compares two entries: the smaller one is started before the other one.
    ///
    /// Entries without an attempt left come last, whatever their keys are: this is how a system falls back. Then the
    /// sort key decides, and then the version, the newest first.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let failed = self.name.is_failed().cmp(&other.name.is_failed());
        let keyed = self.sort_key.is_none().cmp(&other.sort_key.is_none());
        let mut order = failed.then(keyed);
        if self.sort_key.is_some() && other.sort_key.is_some() {
            order = order
                .then_with(|| self.sort_key.cmp(&other.sort_key))
                .then_with(|| text(&self.machine_id).cmp(&text(&other.machine_id)))
                .then_with(|| compare_versions(&text(&self.version), &text(&other.version)).reverse());
        }
        order
            .then_with(|| compare_versions(&self.name.id(), &other.name.id()).reverse())
            .then_with(|| self.attempts(other))
    }

    fn attempts(&self, other: &Self) -> Ordering {
        match (self.name.counter, other.name.counter) {
            (Some(one), Some(two)) => two.left.cmp(&one.left).then(one.done.cmp(&two.done)),
            _ => Ordering::Equal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(name: &str, sort_key: &str, version: &str) -> EntryRank {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        EntryRank {
            name: EntryFileName::parse(name),
            sort_key: some(sort_key),
            machine_id: None,
            version: some(version),
        }
    }

    #[test]
    fn the_order_is_that_of_systemd_boot() {
        let list = [
            rank("z+1-2.conf", "composefs", "11"),
            rank("b.conf", "composefs", "10"),
            rank("a.conf", "composefs", "9"),
            rank("x.efi", "debian", "13"),
            rank("x.efi", "debian", "12"),
            rank("b-10.conf", "", ""),
            rank("b-9+3.conf", "", ""),
            rank("b-9+2.conf", "", ""),
            rank("b-9+2-1.conf", "", ""),
            rank("new+0-3.conf", "composefs", "99"),
            rank("new+0.conf", "debian", "99"),
        ];
        for (at, one) in list.iter().enumerate() {
            for (other, two) in list.iter().enumerate() {
                assert_eq!(one.compare(two), at.cmp(&other), "{one:?} {two:?}");
            }
        }
    }
}
