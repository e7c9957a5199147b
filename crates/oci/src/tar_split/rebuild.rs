//! Rebuilding the archive: a reader that takes the headers from the tar-split and each content from a function.

use std::io::{self, BufRead, Read};

use crc::{CRC_64_GO_ISO, Crc, Digest, Table};

use super::origins::{ContentOrigin, Origins};
use super::{TarPiece, TarSplitError, TarSplitFile, TarSplitReader};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);

/// The reasons why a content cannot be a part of the archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentProblem {
    /// The content is not there.
    #[error("is missing")]
    Missing,
    /// The content cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// The content is too short.
    #[error("ends {0} bytes early")]
    Short(u64),
    /// The content is too long.
    #[error("is longer than {0} bytes, its size in the archive")]
    Long(u64),
    /// The content cannot be cloned.
    #[error("cannot be cloned: {0}")]
    Clone(io::Error),
    /// The content is another one.
    #[error("has another checksum than in the archive: the file was changed")]
    Checksum,
}

/// Opens the contents of an archive.
pub trait ContentOpener {
    /// Reads bytes of the content that was opened last.
    ///
    /// # Errors
    ///
    /// If the content cannot be read.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Opens the content of the file with this number, from 0, of those that have a content. Returns the place that
    /// the content comes from.
    ///
    /// # Errors
    ///
    /// If the content cannot be opened.
    fn open(&mut self, number: u64, file: &TarSplitFile) -> Result<ContentOrigin, ContentProblem>;
}

/// Reads the archive.
///
/// An error of [`Read::read`] says no more than that there is one: [`take_error`](Self::take_error) has it.
#[derive(Debug)]
pub struct ArchiveRebuilder<'c, R, C> {
    pieces: TarSplitReader<R>,
    contents: C,
    origins: &'c Origins<'c>,
    state: RebuildState,
    /// The number of files with content so far.
    files: u64,
    has_checksums: bool,
    error: Option<TarSplitError>,
}

enum RebuildState {
    /// The next piece must be read.
    Between,
    /// Bytes, and the number of those that were passed on.
    Bytes(Vec<u8>, usize),
    Content(Box<CheckedContent>),
    Failed,
}

impl std::fmt::Debug for RebuildState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Between => "Between",
            Self::Bytes(..) => "Bytes",
            Self::Content(_) => "Content",
            Self::Failed => "Failed",
        })
    }
}

struct CheckedContent {
    file: TarSplitFile,
    left: u64,
    crc: Option<Digest<'static, u64, Table<16>>>,
}

impl<'c, R: BufRead, C: ContentOpener> ArchiveRebuilder<'c, R, C> {
    /// Begins to rebuild an archive. `origins` receives the place that each content comes from.
    pub fn new(tar_split: R, contents: C, origins: &'c Origins<'c>) -> Self {
        let pieces = TarSplitReader::new(tar_split);
        Self { pieces, contents, origins, state: RebuildState::Between, files: 0, has_checksums: true, error: None }
    }

    /// Leaves out the comparison of contents with their checksums, for a caller that compares the digest of the whole
    /// archive.
    #[must_use]
    pub fn without_checksums(self) -> Self {
        Self { has_checksums: false, ..self }
    }

    /// Takes the reason why reading has failed.
    pub fn take_error(&mut self) -> Option<TarSplitError> {
        self.error.take()
    }

    /// Returns the opener of contents.
    pub fn contents(&mut self) -> &mut C {
        &mut self.contents
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarSplitError> {
        loop {
            match &mut self.state {
                RebuildState::Failed => return Ok(0),
                RebuildState::Between => match self.pieces.next().transpose()? {
                    None => return Ok(0),
                    Some(TarPiece::Bytes(bytes)) => self.state = RebuildState::Bytes(bytes, 0),
                    Some(TarPiece::File(file)) => self.open(file)?,
                },
                RebuildState::Bytes(bytes, done) => {
                    let rest = &bytes[*done..];
                    let len = rest.len().min(buffer.len());
                    if len > 0 {
                        buffer[..len].copy_from_slice(&rest[..len]);
                        *done += len;
                        return Ok(len);
                    }
                    self.state = RebuildState::Between;
                }
                RebuildState::Content(_) => match self.content(buffer)? {
                    0 => self.state = RebuildState::Between,
                    len => return Ok(len),
                },
            }
        }
    }

    fn open(&mut self, file: TarSplitFile) -> Result<(), TarSplitError> {
        if file.size == 0 {
            return Ok(());
        }
        let number = self.files;
        self.files += 1;
        let opened = self.contents.open(number, &file);
        let noted =
            opened.and_then(|origin| self.origins.push(number, file.size, origin).map_err(ContentProblem::Clone));
        if let Err(problem) = noted {
            return Err(TarSplitError::Content { number, name: file.name, problem });
        }
        let (left, crc) = (file.size, self.has_checksums.then(|| CRC.digest()));
        self.state = RebuildState::Content(Box::new(CheckedContent { file, left, crc }));
        Ok(())
    }

    /// Reads the open content. Returns 0 when all of it was read and checked.
    fn content(&mut self, buffer: &mut [u8]) -> Result<usize, TarSplitError> {
        let RebuildState::Content(content) = &mut self.state else { return Ok(0) };
        let number = self.files - 1;
        let wrong = |content: &CheckedContent, problem| {
            Err(TarSplitError::Content { number, name: content.file.name.clone(), problem })
        };
        let mut byte = [0];
        let len = usize::try_from(content.left).unwrap_or(usize::MAX).min(buffer.len());
        let target = if content.left == 0 { &mut byte[..] } else { &mut buffer[..len] };
        let read = loop {
            match self.contents.read(target) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return wrong(content, ContentProblem::Read(error)),
                Ok(read) => break read.min(target.len()),
            }
        };
        match (content.left, read) {
            (0, 0) => match content.crc.take().map(|crc| crc.finalize()) {
                Some(crc) if Some(crc) != content.file.crc => wrong(content, ContentProblem::Checksum),
                _ => Ok(0),
            },
            (0, _) => wrong(content, ContentProblem::Long(content.file.size)),
            (left, 0) => wrong(content, ContentProblem::Short(left)),
            _ => {
                if let Some(crc) = &mut content.crc {
                    crc.update(&target[..read]);
                }
                content.left -= read as u64;
                Ok(read)
            }
        }
    }
}

impl<R: BufRead, C: ContentOpener> Read for ArchiveRebuilder<'_, R, C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if matches!(self.state, RebuildState::Failed) {
            return Err(io::Error::other("rebuilding the archive has failed before"));
        }
        self.fill(buffer).map_err(|error| {
            self.state = RebuildState::Failed;
            let text = error.to_string();
            self.error = Some(error);
            io::Error::other(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Contents in memory, which are read in pieces of at most 3 bytes.
    struct Pieces(Vec<&'static [u8]>, &'static [u8]);

    impl ContentOpener for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(3);
            (&mut self.1).take(3).read(&mut buffer[..len])
        }

        fn open(&mut self, number: u64, _: &TarSplitFile) -> Result<ContentOrigin, ContentProblem> {
            self.1 = self.0.get(number as usize).copied().ok_or(ContentProblem::Missing)?;
            Ok(ContentOrigin::Unknown)
        }
    }

    /// Lines of an archive `h1`, a content, `h2`, another content, `end`.
    fn lines() -> String {
        let bytes =
            |text: &str, at| format!("{{\"type\":2,\"payload\":\"{}\",\"position\":{at}}}\n", STANDARD.encode(text));
        let file = |text: &str, at| {
            let crc = STANDARD.encode(CRC.checksum(text.as_bytes()).swap_bytes().to_le_bytes());
            let size = text.len();
            format!("{{\"type\":1,\"name\":\"n\",\"size\":{size},\"payload\":\"{crc}\",\"position\":{at}}}\n")
        };
        [bytes("h1", 0), file("content", 1), bytes("h2", 2), file("x", 3), bytes("end", 4)].concat()
    }

    fn rebuild(contents: &[&'static [u8]], step: usize) -> Result<Vec<u8>, String> {
        let (lines, origins) = (lines(), Origins::default());
        let mut rebuilder = ArchiveRebuilder::new(lines.as_bytes(), Pieces(contents.to_vec(), b""), &origins);
        let mut archive = Vec::new();
        let mut buffer = vec![0; step];
        loop {
            match rebuilder.read(&mut buffer) {
                Ok(0) => return Ok(archive),
                Ok(len) => archive.extend_from_slice(&buffer[..len]),
                Err(error) => {
                    assert!(rebuilder.read(&mut buffer).is_err(), "reading continues after an error");
                    let typed = rebuilder.take_error().unwrap().to_string();
                    assert_eq!(error.to_string(), typed);
                    return Err(typed);
                }
            }
        }
    }

    #[test]
    fn the_parts_are_joined() {
        for step in 1..30 {
            assert_eq!(rebuild(&[b"content", b"x"], step).unwrap(), b"h1contenth2xend", "{step}");
        }
    }

    #[test]
    fn wrong_contents_are_named() {
        let cases: [(&[&'static [u8]], &str); 5] = [
            (&[b"content"], "(file 1 of the tar-split data) is missing"),
            (&[b"conten", b"x"], "(file 0 of the tar-split data) ends 1 bytes early"),
            (&[b"contents", b"x"], "is longer than 7 bytes"),
            (&[b"Content", b"x"], "has another checksum"),
            (&[b"content", b""], "(file 1 of the tar-split data) ends 1 bytes early"),
        ];
        for (contents, message) in cases {
            for step in [1, 7, 100] {
                let error = rebuild(contents, step).unwrap_err();
                assert!(error.contains(message) && error.contains("\"n\""), "{error}");
            }
        }
    }
}
