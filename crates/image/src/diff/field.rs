//! The fields of an entry that can differ between two trees.

use std::fmt;
use std::str::FromStr;

/// One thing that can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Regular file, directory, symlink and so on.
    Type,
    /// The permission bits of the mode.
    Mode,
    /// The user ID of the owner.
    Uid,
    /// The group ID of the owner.
    Gid,
    /// The time of modification.
    Mtime,
    /// The size of a regular file.
    Size,
    /// The content of a regular file, by its digest or its bytes.
    Content,
    /// The storage of a regular file's content: in the image, or as an object.
    Storage,
    /// The path of a regular file's object, where it is not the one that follows from its digest.
    Payload,
    /// The target of a symlink.
    Target,
    /// The device number of a device.
    Rdev,
    /// The set of extended attributes.
    Xattrs,
    /// The link count; of directories it is computed, and not compared.
    Nlink,
    /// The set of names that share the inode.
    Links,
    /// The name that is the place of an inode with several names. It only affects the order of inodes in an image.
    Place,
}

impl Field {
    /// All fields, in the order in which they are told.
    pub const ALL: [Field; 15] = [
        Field::Type,
        Field::Mode,
        Field::Uid,
        Field::Gid,
        Field::Mtime,
        Field::Size,
        Field::Content,
        Field::Storage,
        Field::Payload,
        Field::Target,
        Field::Rdev,
        Field::Xattrs,
        Field::Nlink,
        Field::Links,
        Field::Place,
    ];

    /// Its name in options and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Field::Type => "type",
            Field::Mode => "mode",
            Field::Uid => "uid",
            Field::Gid => "gid",
            Field::Mtime => "mtime",
            Field::Size => "size",
            Field::Content => "content",
            Field::Storage => "storage",
            Field::Payload => "payload",
            Field::Target => "target",
            Field::Rdev => "rdev",
            Field::Xattrs => "xattrs",
            Field::Nlink => "nlink",
            Field::Links => "hardlinks",
            Field::Place => "place",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no field {0:?}")]
pub struct UnknownField(String);

impl FromStr for Field {
    type Err = UnknownField;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Field::ALL.into_iter().find(|field| field.name() == name);
        found.ok_or_else(|| UnknownField(name.to_owned()))
    }
}

/// A set of fields.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FieldSet(u16);

impl FieldSet {
    /// The empty set.
    pub const NONE: FieldSet = FieldSet(0);

    /// Adds a field to the set.
    pub fn insert(&mut self, field: Field) {
        self.0 |= field.bit();
    }

    /// Returns `true` if the set contains a field.
    #[must_use]
    pub const fn contains(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }

    /// Returns `true` if the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are not among `others`.
    #[must_use]
    pub const fn without(self, others: FieldSet) -> FieldSet {
        FieldSet(self.0 & !others.0)
    }

    /// Its fields in order.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.contains(*field))
    }
}

impl FromIterator<Field> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        let mut set = FieldSet::NONE;
        fields.into_iter().for_each(|field| set.insert(field));
        set
    }
}

impl fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_name_and_a_bit_of_its_own() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index);
            assert_eq!(field.name().parse(), Ok(field));
            assert_eq!(FieldSet::from_iter([field]).iter().collect::<Vec<_>>(), [field]);
        }
        assert_eq!("owner".parse::<Field>(), Err(UnknownField("owner".to_owned())));
    }
}
