//! The extended attributes of an inode as the image has them, overlayfs's own included.

use super::error::{Defect, ReadError};
use super::reader::{ImageReader, RawInode};
use crate::display::shown;
use crate::erofs::constants::{BLOCK, XATTR_HEADER_LEN, round_up};
use crate::erofs::xattr::{ENTRY_HEAD_LEN, EntryHead, LUSTRE, filter_bit, prefix, split_name};
use crate::tree::MAX_XATTR_NAME;

/// An attribute of the image.
#[derive(Clone, Copy, Debug)]
pub struct RawXattr<'a> {
    prefix: u8,
    suffix: &'a [u8],
    /// The value of the attribute.
    pub value: &'a [u8],
    /// The offset of the attribute's entry in the file.
    pub offset: u64,
    /// The reference, if it is shared.
    pub reference: Option<u32>,
}

impl<'a> RawXattr<'a> {
    /// The name, in two parts: a prefix and the rest.
    #[must_use]
    pub fn name_parts(&self) -> (&'static [u8], &'a [u8]) {
        (prefix(self.prefix).unwrap_or_default(), self.suffix)
    }

    /// Returns the full name with its prefix.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let (prefix, suffix) = self.name_parts();
        [prefix, suffix].concat()
    }

    /// Returns `true` if the attribute has this name.
    #[must_use]
    pub fn is_named(&self, name: &[u8]) -> bool {
        let (prefix, suffix) = self.name_parts();
        name.strip_prefix(prefix) == Some(suffix)
    }

    /// The name as a prefix's number and the rest, the same for all ways to write it.
    pub(in crate::erofs) fn name_key(&self) -> (u8, &'a [u8]) {
        match self.suffix.strip_prefix(prefix_of_lustre()) {
            Some(rest) if self.prefix == 0 => (LUSTRE, rest),
            _ => (self.prefix, self.suffix),
        }
    }

    /// The bit of the name filter that would hide it.
    pub(in crate::erofs) fn filter_bit(&self) -> u32 {
        filter_bit(self.prefix, self.suffix)
    }

    /// Length of the entry without its padding.
    pub(in crate::erofs) fn entry_len(&self) -> u64 {
        (ENTRY_HEAD_LEN + self.suffix.len() + self.value.len()) as u64
    }
}

/// Iterates over the attributes of an inode: first those stored after it, then the shared ones, as the kernel looks for
/// them. Ends at the first invalid one, unless it is set to continue.
#[derive(Clone, Debug)]
pub struct RawXattrs<'r, 'a> {
    reader: &'r ImageReader<'a>,
    inode: RawInode,
    filter: u32,
    /// The entries after the inode that are still to be read.
    entries: &'a [u8],
    entries_offset: u64,
    /// References yet to come.
    references: std::slice::Iter<'a, [u8; 4]>,
    goes_on: bool,
}

impl<'a> ImageReader<'a> {
    /// The attributes of an inode.
    pub fn xattrs(&self, inode: &RawInode) -> Result<RawXattrs<'_, 'a>, ReadError> {
        let (offset, len) = (inode.xattr_offset(), inode.xattr_len());
        let area = self.slice(offset, len).unwrap_or_default();
        let Some((head, rest)) = area.split_first_chunk::<{ XATTR_HEADER_LEN as usize }>() else {
            let (entries, references) = (&[][..], [].iter());
            return Ok(RawXattrs {
                reader: self,
                inode: *inode,
                filter: 0,
                entries,
                entries_offset: offset,
                references,
                goes_on: false,
            });
        };
        let [a, b, c, d, count, ..] = *head;
        let filter = if self.has_xattr_filter() { u32::from_le_bytes([a, b, c, d]) } else { 0 };
        let room = (rest.len() / 4) as u64;
        let Some((references, entries)) = rest.split_at_checked(4 * usize::from(count)) else {
            return Err(inode.error(Defect::SharedCount { count, room }, offset + 4));
        };
        let entries_offset = offset + XATTR_HEADER_LEN + references.len() as u64;
        let references = references.as_chunks().0.iter();
        Ok(RawXattrs { reader: self, inode: *inode, filter, entries, entries_offset, references, goes_on: false })
    }

    /// The attribute of this name: the one a mount shows.
    pub fn xattr(&self, inode: &RawInode, name: &[u8]) -> Result<Option<&'a [u8]>, ReadError> {
        for xattr in self.xattrs(inode)? {
            let xattr = xattr?;
            if xattr.is_named(name) {
                return Ok(Some(xattr.value));
            }
        }
        Ok(None)
    }

    /// Returns the shared attribute to which a reference points.
    fn shared(&self, inode: &RawInode, reference: u32) -> Result<RawXattr<'a>, ReadError> {
        let offset = u64::from(self.superblock().xattr_block) * BLOCK + 4 * u64::from(reference);
        let outside = || inode.error(Defect::SharedOutside { reference }, inode.xattr_offset());
        let bytes = self.from(offset).ok_or_else(outside)?;
        let xattr = entry(inode, bytes, offset)?;
        Ok(RawXattr { reference: Some(reference), ..xattr })
    }
}

impl<'a> Iterator for RawXattrs<'_, 'a> {
    type Item = Result<RawXattr<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let xattr = if self.entries.is_empty() {
            let reference = u32::from_le_bytes(*self.references.next()?);
            self.reader.shared(&self.inode, reference)
        } else {
            self.next_entry()
        };
        let xattr = xattr.and_then(|xattr| self.check_filter(xattr));
        if xattr.is_err() && !self.goes_on {
            (self.entries, self.references) = (&[], [].iter());
        }
        Some(xattr)
    }
}

impl<'a> RawXattrs<'_, 'a> {
    /// Continues after an invalid entry: no entry can be found after it, but the shared ones can.
    pub(in crate::erofs) fn going_on(self) -> Self {
        Self { goes_on: true, ..self }
    }

    /// Without the filter, which is as if nothing was hidden.
    pub(in crate::erofs) fn unfiltered(self) -> Self {
        Self { filter: 0, ..self }
    }

    fn next_entry(&mut self) -> Result<RawXattr<'a>, ReadError> {
        let entries = std::mem::take(&mut self.entries);
        let xattr = entry(&self.inode, entries, self.entries_offset)?;
        // The last one's padding is part of the area as well.
        let len = round_up(xattr.entry_len(), 4);
        let room = entries.len() as u64;
        let rest = entries.get(len as usize..);
        let wrong = || self.inode.error(Defect::XattrLength { len, room }, self.entries_offset);
        self.entries = rest.ok_or_else(wrong)?;
        self.entries_offset += len;
        Ok(xattr)
    }

    fn check_filter(&self, xattr: RawXattr<'a>) -> Result<RawXattr<'a>, ReadError> {
        if self.filter & xattr.filter_bit() != 0 {
            return Err(self.inode.error(Defect::XattrHidden(shown(&xattr.name())), self.inode.xattr_offset()));
        }
        Ok(xattr)
    }
}

/// The entry at the beginning of `bytes`.
fn entry<'a>(inode: &RawInode, bytes: &'a [u8], offset: u64) -> Result<RawXattr<'a>, ReadError> {
    let room = bytes.len() as u64;
    let too_short = |len: usize| inode.error(Defect::XattrLength { len: len as u64, room }, offset);
    let (head, rest) = bytes.split_first_chunk().ok_or_else(|| too_short(ENTRY_HEAD_LEN))?;
    let EntryHead { name_len, prefix: number, value_len } = EntryHead::parse(*head);
    let (name_len, value_len) = (usize::from(name_len), usize::from(value_len));
    let (suffix, rest) =
        rest.split_at_checked(name_len).ok_or_else(|| too_short(ENTRY_HEAD_LEN + name_len + value_len))?;
    let value = rest.get(..value_len).ok_or_else(|| too_short(ENTRY_HEAD_LEN + name_len + value_len))?;
    let Some(prefix) = prefix(number) else {
        return Err(inode.error(Defect::XattrPrefix(number), offset + 1));
    };
    // One escape of overlayfs's own names makes them longer by eight than a file system would allow.
    let len = prefix.len() + suffix.len();
    if len == 0 || len > MAX_XATTR_NAME + ESCAPE || memchr::memchr(0, suffix).is_some() {
        return Err(inode.error(Defect::XattrName(len), offset));
    }
    if number == 0 && split_name(suffix, false).0 != 0 {
        return Err(inode.error(Defect::XattrPrefixUnused(shown(suffix)), offset));
    }
    Ok(RawXattr { prefix: number, suffix, value, offset, reference: None })
}

/// By how much an escaped name is longer.
const ESCAPE: usize = b"overlay.".len();

fn prefix_of_lustre() -> &'static [u8] {
    prefix(LUSTRE).unwrap_or_default()
}
