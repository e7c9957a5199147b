//! The parser: is told header blocks and the data of extension headers, and says what follows.

use super::TarError;
use super::block::BLOCK;
use super::header::{EntryKind, TarEntry, TarHeader};
use super::pax::PaxRecords;
use super::sparse::OldSparse;
use super::sparse_map::SparseMap;

/// Limits of an archive.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Largest size of the data of an extension header, and of all those before one entry, in bytes.
    pub extension: u64,
    /// Longest name and link target, in bytes.
    pub path: u64,
    /// Largest number of entries.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { extension: 1 << 20, path: 4095, entries: 1 << 24 }
    }
}

/// The meaning of a header block, and what follows it in the archive.
#[derive(Debug)]
pub enum TarStep {
    /// Another header block follows.
    Header,
    /// The data of an extension header follows: this number of bytes, padded to whole blocks. It must be passed to
    /// [`TarParser::extension`] whole.
    Extension(u64),
    /// The data of this entry follows: [`TarEntry::stored_size`] bytes, padded to whole blocks; then a header block.
    Entry(Box<TarEntry>),
    /// The archive ends here. Whatever follows has no meaning.
    End,
}

#[derive(Debug)]
enum ParserState {
    Header,
    /// The data of an extension header of this type must follow.
    Extension(u8),
    /// A further block of the map of a sparse file must follow.
    SparseBlock(Box<TarEntry>, OldSparse),
    ZeroBlock,
    End,
}

/// Reads the headers of an archive.
///
/// ```
/// use libcomposefs_oci::tar::{BLOCK, EntryKind, Limits, TarParser, TarStep};
///
/// let mut block = [0; BLOCK];
/// block[..4].copy_from_slice(b"etc/");
/// block[100..107].copy_from_slice(b"0000755");
/// block[156] = b'5';
/// block[148..156].fill(b' ');
/// let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
/// block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
///
/// let mut parser = TarParser::new(Limits::default());
/// let TarStep::Entry(entry) = parser.header(&block)? else { panic!("an entry") };
/// assert_eq!((entry.kind, entry.path.as_slice()), (EntryKind::Directory, &b"etc/"[..]));
/// # Ok::<(), libcomposefs_oci::tar::TarError>(())
/// ```
#[derive(Debug)]
pub struct TarParser {
    limits: Limits,
    state: ParserState,
    pax: PaxRecords,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// Bytes of extension headers before the next entry.
    extension_bytes: u64,
    has_extension: bool,
    entries: u64,
}

impl TarParser {
    /// Returns a parser at the beginning of an archive.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: ParserState::Header,
            pax: PaxRecords::default(),
            long_name: None,
            long_link: None,
            extension_bytes: 0,
            has_extension: false,
            entries: 0,
        }
    }

    /// Returns the number of entries so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads a header block.
    ///
    /// # Errors
    ///
    /// If the block is no valid header or breaks a limit. The parser must not be used any more.
    ///
    /// # Panics
    ///
    /// If the last step was [`TarStep::Extension`].
    pub fn header(&mut self, block: &[u8; BLOCK]) -> Result<TarStep, TarError> {
        let header = TarHeader(block);
        match std::mem::replace(&mut self.state, ParserState::Header) {
            ParserState::Extension(_) => panic!("the data of the extension header was not passed on"),
            ParserState::End => {
                self.state = ParserState::End;
                return Ok(TarStep::End);
            }
            ParserState::SparseBlock(entry, mut map) => {
                map.block(block)?;
                return self.sparse_entry(entry, map);
            }
            ParserState::ZeroBlock if header.is_zero() => return self.end(),
            ParserState::ZeroBlock => return Err(TarError::LoneZeroBlock),
            ParserState::Header if header.is_zero() => {
                self.state = ParserState::ZeroBlock;
                return Ok(TarStep::Header);
            }
            ParserState::Header => {}
        }
        header.check()?;
        match header.type_flag() {
            // X is the PAX header of Solaris, from before it had a standard.
            kind @ (b'x' | b'X' | b'g' | b'L' | b'K') => self.extension_header(kind, header.size()?),
            _ => self.entry(&header),
        }
    }

    fn extension_header(&mut self, kind: u8, size: u64) -> Result<TarStep, TarError> {
        self.extension_bytes = self.extension_bytes.saturating_add(size).saturating_add(BLOCK as u64);
        if size > self.limits.extension || self.extension_bytes > 2 * self.limits.extension {
            return Err(TarError::ExtensionSize(size, self.limits.extension));
        }
        self.has_extension |= kind != b'g';
        self.state = ParserState::Extension(kind);
        Ok(TarStep::Extension(size))
    }

    /// Reads the data of an extension header. A header block follows.
    ///
    /// # Errors
    ///
    /// If the data is malformed.
    ///
    /// # Panics
    ///
    /// If the last step was not [`TarStep::Extension`].
    pub fn extension(&mut self, data: &[u8]) -> Result<(), TarError> {
        let ParserState::Extension(kind) = std::mem::replace(&mut self.state, ParserState::Header) else {
            panic!("no data of an extension header was asked for")
        };
        let until_nul = || data.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match kind {
            b'x' | b'X' => self.pax.read(data)?,
            b'L' => self.long_name = Some(until_nul()),
            b'K' => self.long_link = Some(until_nul()),
            // The records of a global header are not applied (section 1.1.9): no other program does.
            _ => {}
        }
        Ok(())
    }

    /// Takes note of the end of the input after `len` bytes of a block, fewer than a whole one.
    ///
    /// # Errors
    ///
    /// If the archive must not end here.
    pub fn end_of_input(&mut self, block: &[u8]) -> Result<(), TarError> {
        match self.state {
            ParserState::End => Ok(()),
            ParserState::ZeroBlock if block.iter().all(|byte| *byte == 0) => self.end().map(drop),
            ParserState::ZeroBlock => Err(TarError::LoneZeroBlock),
            ParserState::Header if block.is_empty() => self.end().map(drop),
            ParserState::Header | ParserState::Extension(_) | ParserState::SparseBlock(..) => {
                Err(TarError::TruncatedHeader)
            }
        }
    }

    fn end(&mut self) -> Result<TarStep, TarError> {
        if self.has_extension {
            return Err(TarError::LoneExtension);
        }
        self.state = ParserState::End;
        Ok(TarStep::End)
    }

    fn entry(&mut self, header: &TarHeader<'_>) -> Result<TarStep, TarError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(TarError::TooManyEntries(self.limits.entries));
        }
        let mut entry = Box::new(header.entry()?);
        let mut pax = std::mem::take(&mut self.pax);
        (self.extension_bytes, self.has_extension) = (0, false);
        let (long_name, long_link) = (self.long_name.take(), self.long_link.take());
        if let Some(name) = long_name {
            entry.path = name;
        }
        if let Some(link) = long_link {
            entry.link = link;
        }
        let size = pax.size().map_or_else(|| header.size(), Ok)?;
        // Data follows files, and hard links if they have a size. Other kinds have none, whatever the size says.
        if matches!(entry.kind, EntryKind::File | EntryKind::HardLink) {
            entry.stored_size = size;
        }
        pax.complete(&mut entry);
        pax.sparse.complete(&mut entry)?;
        let limit = self.limits.path;
        for (what, text) in [("a name", &entry.path), ("a link target", &entry.link)] {
            if text.len() as u64 > limit {
                return Err(TarError::TooLong(what, text.len() as u64, limit));
            }
        }
        if header.type_flag() == b'S' {
            let map = OldSparse::header(header.0)?;
            return self.sparse_entry(entry, map);
        }
        Self::finish(entry)
    }

    fn sparse_entry(&mut self, mut entry: Box<TarEntry>, map: OldSparse) -> Result<TarStep, TarError> {
        if map.continues {
            self.state = ParserState::SparseBlock(entry, map);
            return Ok(TarStep::Header);
        }
        entry.sparse = Some(SparseMap { size: map.size, segments: Some(map.segments) });
        Self::finish(entry)
    }

    fn finish(entry: Box<TarEntry>) -> Result<TarStep, TarError> {
        if let Some(map) = &entry.sparse
            && let Some(segments) = &map.segments
        {
            map.check(segments, entry.stored_size)?;
        }
        Ok(TarStep::Entry(entry))
    }
}
