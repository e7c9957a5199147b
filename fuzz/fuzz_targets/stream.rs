//! Hostile streams of layers, and streams of any chunks: what was written is read back. The first byte tells which: `r`
//! for the file of a stream, `p` for one whose parts follow as pieces, before they are compressed, `w` for chunks to be
//! written.
#![no_main]

use std::io::Write as _;

use composefs_fuzz::{Budget, Linear, Piece, pieces};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_oci::stream::{ContentType, NamedRef, StreamChunk, StreamError, StreamReader, StreamWriter};
use libfuzzer_sys::fuzz_target;

// A file of some bytes can have names of 1 MiB, each of which is kept with its digest.
static FILE: Budget =
    Budget::new("file", Linear { base: 48 << 20, per_byte: 16 }, Linear { base: 100_000_000, per_byte: 10_000 });
static PARTS: Budget =
    Budget::new("parts", Linear { base: 512 << 10, per_byte: 64 }, Linear { base: 5_000_000, per_byte: 2_000 });
static WRITTEN: Budget =
    Budget::new("written", Linear { base: 512 << 10, per_byte: 64 }, Linear { base: 20_000_000, per_byte: 5_000 });

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else { return };
    for algorithm in Algorithm::ALL {
        match kind {
            b'r' => FILE.check(input.len(), || check_file(input, algorithm)),
            b'p' => {
                let file = assemble(input, algorithm);
                PARTS.check(input.len(), || check_file(&file, algorithm));
            }
            b'w' => WRITTEN.check(input.len(), || write_and_read(input, algorithm)),
            _ => return,
        }
    }
});

/// The content of a stream, without that of its objects.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    chunks: Vec<Digest>,
    inline: Vec<u8>,
    refs: Vec<NamedRef>,
}

fn read(file: &[u8], algorithm: Algorithm) -> Result<(Content, ContentType, u64), StreamError> {
    let mut stream = StreamReader::new(file, algorithm)?;
    let mut content = Content { refs: stream.refs().to_vec(), ..Content::default() };
    let mut buffer = [0; 1000];
    while let Some(chunk) = stream.next()? {
        match chunk {
            StreamChunk::Object(digest) => {
                assert!(stream.objects().contains(&digest));
                content.chunks.push(digest);
            }
            StreamChunk::Inline(len) => {
                assert_eq!(stream.inline_left(), len);
                while stream.inline_left() > 0 {
                    let read = stream.read_inline(&mut buffer)?;
                    content.inline.extend_from_slice(&buffer[..read]);
                }
            }
        }
        assert!(content.inline.len() as u64 <= stream.size());
    }
    Ok((content, stream.content_type(), stream.size()))
}

/// Reads a hostile file. The bytes and references of an accepted one are the same after they were written again.
fn check_file(file: &[u8], algorithm: Algorithm) {
    let Ok((mut content, content_type, _)) = read(file, algorithm) else { return };
    let mut writer = StreamWriter::new(algorithm).expect("memory takes all");
    content.chunks.iter().for_each(|digest| writer.object(*digest, 1).expect("memory takes all"));
    writer.inline(&content.inline).expect("memory takes all");
    let size = content.chunks.len() + content.inline.len();
    let again = writer.finish(content_type, &content.refs).expect("memory takes all");
    let (found, found_type, found_size) = read(&again, algorithm).expect("what was written is read");
    // The writer sorts the names, and writes the last one of several that are the same.
    content.refs.reverse();
    content.refs.sort_by(|a, b| a.name.cmp(&b.name));
    content.refs.dedup_by(|a, b| a.name == b.name);
    assert_eq!(found, content);
    assert_eq!((found_type, found_size), (content_type, size as u64));
}

/// Makes a file of the pieces `s` and `o`, digests of streams and objects, `n`, the names, `c`, the chunks, and `z`,
/// the size.
fn assemble(input: &[u8], algorithm: Algorithm) -> Vec<u8> {
    let part = |kind: u8| pieces(input).find(|piece| piece.kind == kind).map_or(&[][..], |piece| piece.bytes);
    let compress = |bytes: &[u8]| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("memory takes all");
        encoder.write_all(bytes).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    };
    let (streams, objects, names, chunks) = (part(b's'), part(b'o'), compress(part(b'n')), compress(part(b'c')));
    let mut file = b"SplitStream\0\0\0".to_vec();
    file.extend_from_slice(&[algorithm.kernel_number(), 12]);
    let mut put = |number: u64| file.extend_from_slice(&number.to_le_bytes());
    put(32);
    put(112);
    let mut at = 112;
    let mut range = |len: usize| {
        let start = at;
        at += len as u64;
        [start, at]
    };
    let (streams_at, objects_at) = (range(streams.len()), range(objects.len()));
    let (names_at, chunks_at) = (range(names.len()), range(chunks.len()));
    [streams_at, objects_at, chunks_at, names_at].into_iter().flatten().for_each(&mut put);
    file.extend_from_slice(b"ocilayer");
    let mut size = [0; 8];
    part(b'z').iter().zip(&mut size).for_each(|(from, to)| *to = *from);
    file.extend_from_slice(&size);
    [streams, objects, &names, &chunks].iter().for_each(|part| file.extend_from_slice(part));
    file
}

/// Writes the pieces: `o` for an object of this content, `n` for a named reference, others for plain bytes.
fn write_and_read(input: &[u8], algorithm: Algorithm) {
    let mut writer = StreamWriter::new(algorithm).expect("memory takes all");
    let (mut content, mut size) = (Content::default(), 0);
    for Piece { kind, bytes } in pieces(input) {
        let digest = verity::digest(algorithm, bytes);
        match kind {
            b'o' => {
                writer.object(digest, bytes.len() as u64).expect("memory takes all");
                content.chunks.push(digest);
                size += bytes.len();
            }
            b'n' => {
                let name = String::from_utf8_lossy(bytes).replace('\0', "");
                content.refs.retain(|known| known.name != name);
                content.refs.push(NamedRef { name, digest });
            }
            _ => {
                writer.inline(bytes).expect("memory takes all");
                content.inline.extend_from_slice(bytes);
                size += bytes.len();
            }
        }
    }
    let file = writer.finish(ContentType::BLOB, &content.refs).expect("memory takes all");
    let found = read(&file, algorithm).expect("what was written is read");
    content.refs.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(found, (content, ContentType::BLOB, size as u64));
}
