//! The records of PAX headers, and those that describe a layer's entry.

use libcomposefs_image::tree::Timestamp;

use super::number::{decimal, pax_time};
use super::sparse::PaxSparse;
use super::{TarEntry, TarError};

/// The records of the PAX headers before an entry.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Timestamp>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

impl PaxRecords {
    /// Reads the records of one header. Later records replace earlier ones of the same key.
    pub(super) fn read(&mut self, mut data: &[u8]) -> Result<(), TarError> {
        while !data.is_empty() {
            let record = record(data)?;
            self.apply(record.key, record.value)?;
            data = record.rest;
        }
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation)]
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        // An empty value is the same as no record.
        let value_or_none = (!value.is_empty()).then_some(value);
        let number = |name| value_or_none.map(|value| decimal(value).ok_or(TarError::Pax(name))).transpose();
        match key {
            b"path" => self.path = value_or_none.map(<[u8]>::to_vec),
            b"linkpath" => self.link = value_or_none.map(<[u8]>::to_vec),
            b"size" => self.size = number("size is no decimal number")?,
            b"uid" => self.uid = number("uid is no decimal number")?.map(|id| id as u32),
            b"gid" => self.gid = number("gid is no decimal number")?.map(|id| id as u32),
            b"mtime" => {
                let time = |value| pax_time(value).ok_or(TarError::Pax("mtime is no decimal number"));
                self.mtime = value_or_none.map(time).transpose()?.map(|(sec, nsec)| Timestamp { sec, nsec });
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.record(key, value)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Replaces the fields of the header by those of the records.
    pub(super) fn complete(&mut self, entry: &mut TarEntry) {
        if let Some(path) = self.path.take() {
            entry.path = path;
        }
        if let Some(link) = self.link.take() {
            entry.link = link;
        }
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.mtime = self.mtime.unwrap_or(entry.mtime);
        entry.xattrs = std::mem::take(&mut self.xattrs);
    }
}

/// A record and the data after it.
struct PaxRecord<'d> {
    key: &'d [u8],
    value: &'d [u8],
    rest: &'d [u8],
}

/// Divides the first record, `LENGTH KEY=VALUE\n`, from the rest.
fn record(data: &[u8]) -> Result<PaxRecord<'_>, TarError> {
    let space = data.iter().take(20).position(|byte| *byte == b' ');
    let space = space.ok_or(TarError::Pax("a record has no length"))?;
    let length = decimal(&data[..space]).and_then(|length| usize::try_from(length).ok());
    let length = length.ok_or(TarError::Pax("the length of a record is no decimal number"))?;
    let outside = TarError::Pax("the length of a record does not fit to the header");
    let (whole, rest) = data.split_at_checked(length).ok_or(outside.clone())?;
    let record = whole.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or(outside)?;
    let equals = record.iter().position(|byte| *byte == b'=').ok_or(TarError::Pax("a record has no equals sign"))?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() {
        return Err(TarError::Pax("a record has no key"));
    }
    if key.contains(&0) {
        return Err(TarError::Pax("the key of a record has a NUL"));
    }
    if value.contains(&0) && matches!(key, b"path" | b"linkpath") {
        return Err(TarError::Pax("a name has a NUL"));
    }
    Ok(PaxRecord { key, value, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_divided_by_their_length() {
        let PaxRecord { key, value, rest } = record(b"11 path=a\n\nrest").ok().unwrap();
        assert_eq!((key, value, rest), (&b"path"[..], &b"a\n"[..], &b"rest"[..]));
        for wrong in [
            &b"path=a\n"[..],
            b"9 path=a",
            b"99 path=a\n",
            b"3 path=a\n",
            b"0 path=a\n",
            b"7 patha\n",
            b"5 =a\n",
            b"-9 path=a\n",
            b"12 path=a\0b\n",
            b"8 a\0b=c\n",
            b"99999999999999999999 a=b\n",
        ] {
            assert!(record(wrong).is_err(), "{wrong:?}");
        }
    }
}
