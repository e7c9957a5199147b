//! Reading the TOC: its entries are checked one after the other, so that memory is used for what it really has.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::toc::{ChunkData, Toc, TocChunk, TocFile};
use super::{ByteRange, NotPartial};
use crate::BlobDigest;

/// Largest number of entries, as of a layer.
const ENTRIES_MAX: u64 = 1 << 24;

impl Toc {
    /// Reads the JSON text, which the caller has decompressed.
    ///
    /// # Errors
    ///
    /// If the text is malformed or has another version, or if the chunks of a file are not its content from the
    /// beginning to the end, or if compressed bytes are not in ascending order.
    pub fn parse(json: impl Read) -> Result<Self, NotPartial> {
        let document: TocDocument =
            serde_json::from_reader(json).map_err(|error| NotPartial::Toc(error.to_string()))?;
        if document.version != 1 {
            return Err(NotPartial::Version("version", document.version));
        }
        let mut toc = document.entries.0;
        toc.tar_split_digest = digest("tarSplitDigest", &document.tar_split_digest).map_err(NotPartial::Toc)?;
        Ok(toc)
    }
}

#[derive(Deserialize)]
struct TocDocument {
    version: u64,
    #[serde(default)]
    entries: TocEntries,
    #[serde(default, rename = "tarSplitDigest")]
    tar_split_digest: String,
}

/// The fields that are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TocEntry {
    r#type: TocEntryType,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    end_offset: u64,
    #[serde(default)]
    chunk_size: u64,
    #[serde(default)]
    chunk_offset: u64,
    #[serde(default)]
    chunk_digest: String,
    #[serde(default)]
    chunk_type: String,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum TocEntryType {
    Reg,
    Chunk,
    #[serde(other)]
    Other,
}

#[derive(Default)]
struct TocEntries(Toc);

impl<'de> Deserialize<'de> for TocEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = TocEntries;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of entries")
            }

            fn visit_unit<E>(self) -> Result<TocEntries, E> {
                Ok(TocEntries::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<TocEntries, A::Error> {
                let mut builder = TocBuilder::default();
                while let Some(entry) = entries.next_element()? {
                    builder.count += 1;
                    let number = builder.count;
                    let wrong = |problem| A::Error::custom(format!("entry {number}: {problem}"));
                    builder.entry(entry).map_err(wrong)?;
                }
                builder.end_file().map_err(A::Error::custom)?;
                Ok(TocEntries(builder.toc))
            }
        }
        deserializer.deserialize_any(EntriesVisitor)
    }
}

/// Collects the entries.
#[derive(Default)]
struct TocBuilder {
    toc: Toc,
    file: Option<OpenFile>,
    count: u64,
    /// The end of the last compressed byte of a content.
    end: u64,
}

/// A file whose chunks are not complete.
struct OpenFile {
    digest: BlobDigest,
    size: u64,
    end_offset: u64,
    first: usize,
    /// The number of bytes that the chunks so far have.
    done: u64,
}

impl TocBuilder {
    fn entry(&mut self, entry: TocEntry) -> Result<(), String> {
        if self.count > ENTRIES_MAX {
            return Err(format!("the TOC has more than {ENTRIES_MAX} entries"));
        }
        if entry.r#type != TocEntryType::Chunk {
            self.end_file()?;
        }
        if entry.r#type == TocEntryType::Reg && entry.size > 0 {
            let digest = digest("digest", &entry.digest)?.ok_or("a file with content has no digest")?;
            let (size, end_offset, first) = (entry.size, entry.end_offset, self.toc.chunks.len());
            self.file = Some(OpenFile { digest, size, end_offset, first, done: 0 });
        } else if entry.r#type != TocEntryType::Chunk {
            return Ok(());
        }
        let file = self.file.as_mut().ok_or("a chunk does not follow a file with content")?;
        if entry.chunk_offset != file.done {
            return Err(format!("the chunk begins at byte {}, but {} comes next", entry.chunk_offset, file.done));
        }
        let left = file.size - file.done;
        let size = if entry.chunk_size == 0 { left } else { entry.chunk_size };
        if size > left || left == 0 {
            return Err("the chunk goes beyond the end of the file".to_owned());
        }
        file.done += size;
        let data = match (&*entry.chunk_type, digest("chunkDigest", &entry.chunk_digest)?) {
            ("zeros", _) => ChunkData::Zeros,
            ("", Some(digest)) => ChunkData::Bytes(digest),
            // A file of one chunk.
            ("", None) if size == file.size => ChunkData::Bytes(file.digest),
            ("", None) => return Err("a chunk of several has no digest".to_owned()),
            (other, _) => return Err(format!("the chunk has the unknown type {:?}", short(other))),
        };
        if entry.offset < self.end {
            return Err("the bytes of the chunk are before those of an earlier one".to_owned());
        }
        // The end is known when the next chunk or the end of the file is.
        self.end_chunk(entry.offset)?;
        let range = ByteRange { start: entry.offset, end: entry.offset };
        self.toc.chunks.push(TocChunk { range, size, data });
        self.end = entry.offset;
        Ok(())
    }

    /// Ends the last chunk of the open file.
    fn end_chunk(&mut self, end: u64) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(chunk) = self.toc.chunks.get_mut(file.first..).and_then(<[TocChunk]>::last_mut) {
            if end < chunk.range.start || end == chunk.range.start && chunk.data != ChunkData::Zeros {
                return Err("a chunk has no compressed bytes".to_owned());
            }
            chunk.range.end = end;
            self.end = end;
        }
        Ok(())
    }

    /// Ends the open file.
    fn end_file(&mut self) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let end = file.end_offset;
        if file.done != file.size {
            return Err(format!("the chunks of the file before have {} of {} bytes", file.done, file.size));
        }
        self.end_chunk(end)?;
        if let Some(file) = self.file.take() {
            let chunks = file.first..self.toc.chunks.len();
            self.toc.files.push(TocFile { digest: file.digest, size: file.size, chunks });
        }
        Ok(())
    }
}

fn digest(field: &str, text: &str) -> Result<Option<BlobDigest>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| format!("{field}: {error}"))
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &str) -> Result<Toc, NotPartial> {
        let a = BlobDigest::of(b"a");
        let entries =
            entries.replace("@D", &format!(r#""digest":"{a}""#)).replace("@C", &format!(r#""chunkDigest":"{a}""#));
        Toc::parse(format!(r#"{{"version":1,"entries":[{entries}]}}"#).as_bytes())
    }

    #[test]
    fn files_and_chunks() {
        let toc = parse(concat!(
            r#"{"type":"dir","name":"../x","xattrs":{"a":"b"}},{"type":"reg","name":"empty"},"#,
            r#"{"type":"reg","size":10,@D,"offset":5,"endOffset":9},"#,
            r#"{"type":"reg","size":10,@D,"offset":20,"endOffset":40,"chunkSize":4,@C},"#,
            r#"{"type":"chunk","offset":30,"chunkOffset":4,"chunkSize":5,"chunkType":"zeros"},"#,
            r#"{"type":"chunk","offset":30,"chunkOffset":9,@C},{"type":"new"}"#
        ))
        .unwrap();
        let ranges: Vec<_> =
            toc.chunks().iter().map(|chunk| (chunk.range.start, chunk.range.end, chunk.size)).collect();
        assert_eq!(ranges, [(5, 9, 10), (20, 30, 4), (30, 30, 5), (30, 40, 1)]);
        assert_eq!(toc.chunks()[2].data, ChunkData::Zeros);
        assert_eq!(toc.files().iter().map(|file| file.chunks.clone()).collect::<Vec<_>>(), [0..1, 1..4]);
    }

    #[test]
    fn damaged_tables_are_refused() {
        let first = r#"{"type":"reg","size":10,@D,"offset":5,"endOffset":40,"chunkSize":4,@C}"#;
        let next = r#"{"type":"chunk","offset":9,"chunkOffset":4,"chunkSize":6,@C}"#;
        assert!(parse(&format!("{first},{next}")).is_ok());
        for (from, to) in [
            (r#""chunkOffset":4"#, r#""chunkOffset":3"#),
            (r#""chunkSize":6"#, r#""chunkSize":5"#),
            (r#""chunkSize":6"#, r#""chunkSize":7"#),
            (r#""offset":9"#, r#""offset":5"#),
            (r#""offset":9"#, r#""offset":4"#),
            (r#""offset":9"#, r#""offset":40"#),
            (r#""offset":9"#, r#""offset":41"#),
            (r#""offset":9"#, r#""offset":-9"#),
            (r#""endOffset":40"#, r#""endOffset":0"#),
            (r#""type":"reg""#, r#""type":"dir""#),
            ("6,@C", "6"),
            ("6,@C", r#"6,@C,"chunkType":"ones""#),
            ("10,@D", "10"),
            ("10,@D", r#"10,"digest":"sha512:00""#),
            (r#""chunkSize":6"#, r#""chunkSize":18446744073709551615"#),
        ] {
            let json = format!("{first},{next}").replace(from, to);
            assert!(parse(&json).is_err(), "{json}");
        }
        assert!(parse(next).is_err());
        assert!(parse(&format!("{first},{next},{next}")).is_err());
        assert!(parse(&format!("{first},{next},{first},{next}")).is_err(), "the same bytes twice");
        assert!(matches!(Toc::parse(&br#"{"version":2,"entries":null}"#[..]), Err(NotPartial::Version(_, 2))));
        assert!(Toc::parse(&br#"{"version":1,"entries":null}"#[..]).is_ok());
        assert!(Toc::parse(&br#"{"version":1,"entries":[]} x"#[..]).is_err());
    }
}
