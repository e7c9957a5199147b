//! The trace of an image: its objects in the order in which a program reads them first. A hint, from which lazy mounts
//! fetch ahead.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use libcomposefs_delta::NamedObject;
use libcomposefs_image::Digest;

use crate::ImageIndex;

/// First line of the file of a trace.
const HEAD: &str = "composefs-trace 1";
/// The type of the record of an index.
pub(crate) const TRACE_RECORD: u16 = 6;
/// Most objects of a trace.
const OBJECTS_MAX: usize = 1 << 16;
/// Most bytes of the file of a trace.
pub const TRACE_FILE_MAX: u64 = 64 << 20;

/// The objects that a program has read, in the order of the first reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Digest of each object, and a path of it, from `/`.
    pub objects: Vec<(Digest, Vec<u8>)>,
}

/// Reason why a file is no trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file is of another kind or version.
    #[error("it does not begin with the line {HEAD:?}: `composefs trace` makes such files")]
    Head,
    /// A line breaks a rule.
    #[error("line {0} is not the digest of an object, a space and a path from /")]
    Line(usize),
    /// There are too many lines.
    #[error("it has more than {OBJECTS_MAX} objects: trace a shorter command")]
    TooLong,
}

impl Trace {
    /// Reads the bytes of a file.
    ///
    /// # Errors
    ///
    /// [`TraceError`]
    pub fn parse(text: &[u8]) -> Result<Self, TraceError> {
        let mut lines = text.split(|byte| *byte == b'\n');
        if lines.next() != Some(HEAD.as_bytes()) {
            return Err(TraceError::Head);
        }
        let mut objects = Vec::new();
        for (number, line) in (2..).zip(lines) {
            if line.is_empty() {
                continue;
            }
            if objects.len() == OBJECTS_MAX {
                return Err(TraceError::TooLong);
            }
            objects.push(parse_line(line).ok_or(TraceError::Line(number))?);
        }
        Ok(Self { objects })
    }

    /// Returns the text of the file. Objects after the first 65,536 are left out.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for (digest, path) in self.objects.iter().take(OBJECTS_MAX) {
            let _ = write!(text, "{digest} ");
            for &byte in path {
                match byte {
                    b'!'..=b'~' if byte != b'\\' => text.push(byte.into()),
                    _ => drop(write!(text, "\\x{byte:02x}")),
                }
            }
            text.push('\n');
        }
        text
    }

    /// Returns the objects of an image that the trace names, each once: by the digest, and where the image has no such
    /// object, by the path.
    #[must_use]
    pub fn objects_of(&self, needed: &[NamedObject]) -> Vec<Digest> {
        let paths: HashMap<_, _> = needed.iter().map(|object| (&object.path[..], object.digest)).collect();
        let digests: HashSet<_> = needed.iter().map(|object| object.digest).collect();
        let mut seen = HashSet::new();
        let found = self.objects.iter().filter_map(|(digest, path)| {
            if digests.contains(digest) { Some(*digest) } else { paths.get(&path[..]).copied() }
        });
        found.filter(|digest| seen.insert(*digest)).collect()
    }
}

fn parse_line(line: &[u8]) -> Option<(Digest, Vec<u8>)> {
    let line = std::str::from_utf8(line).ok()?;
    let (digest, path) = line.split_once(' ')?;
    let digest = Digest::from_hex(digest).ok()?;
    let mut pieces = path.split('\\');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (hex, rest) = piece.strip_prefix('x')?.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes.starts_with(b"/").then_some((digest, bytes))
}

impl ImageIndex {
    /// Returns the numbers of the objects in the trace, in its order, each once. A remote may say anything: what is no
    /// object of the image is passed over, and so is all after the first 65,536 numbers.
    #[must_use]
    pub fn trace(&self) -> Vec<u32> {
        let payload = self.records.iter().find(|(kind, _)| *kind == TRACE_RECORD);
        let numbers = payload.map_or(&[][..], |(_, payload)| payload).as_chunks::<4>().0;
        let mut seen = HashSet::new();
        let is_object = |number: &u32| (1..=self.objects.len()).contains(&(*number as usize));
        let numbers = numbers.iter().take(OBJECTS_MAX).map(|number| u32::from_le_bytes(*number));
        numbers.filter(|number| is_object(number) && seen.insert(*number)).collect()
    }

    /// Sets the trace. Objects that are not of the image are left out.
    pub(crate) fn set_trace(&mut self, traced: &[Digest]) {
        self.records.retain(|(kind, _)| *kind != TRACE_RECORD);
        let numbers: HashMap<_, u32> =
            self.objects.iter().zip(1..).map(|((digest, _), number)| (*digest, number)).collect();
        let numbers = traced.iter().filter_map(|digest| numbers.get(digest)).take(OBJECTS_MAX);
        let payload: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
        if !payload.is_empty() {
            self.records.push((TRACE_RECORD, payload));
        }
    }

    /// Returns the digests of the objects in the trace.
    pub(crate) fn traced_digests(&self) -> Vec<Digest> {
        self.trace().into_iter().filter_map(|number| Some(self.entry(number)?.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RefImage;

    fn digest(number: u8) -> Digest {
        Digest::from_hex(format!("{number:02x}").repeat(32)).unwrap()
    }

    #[test]
    fn a_file_has_any_path() {
        let objects = vec![(digest(1), b"/a b\n\\x41\xff".to_vec()), (digest(2), b"/usr/bin/env".to_vec())];
        let trace = Trace { objects };
        let text = trace.to_text();
        assert!(text.contains(" /a\\x20b\\x0a\\x5cx41\\xff\n"), "{text}");
        assert_eq!(Trace::parse(text.as_bytes()).unwrap(), trace);
    }

    #[test]
    fn wrong_files_are_refused() {
        let line = |line: &str| Trace::parse(format!("{HEAD}\n{line}\n").as_bytes());
        let hex = "01".repeat(32);
        assert!(line(&format!("{hex} /a")).is_ok());
        for wrong in [&hex, &format!("{hex} a"), "01 /a", &format!("{hex} /a\\x4"), &format!("{hex} /\\n")] {
            assert!(matches!(line(wrong), Err(TraceError::Line(2))), "{wrong}");
        }
        assert!(matches!(Trace::parse(b"{}"), Err(TraceError::Head)));
        let long = format!("{hex} /a\n").repeat(OBJECTS_MAX + 1);
        assert!(matches!(line(&long), Err(TraceError::TooLong)));
        assert_eq!(line(&long[..long.len() - 68]).unwrap().objects.len(), OBJECTS_MAX);
    }

    #[test]
    fn an_object_of_a_newer_image_is_found_by_its_path() {
        let object = |path: &str, number| NamedObject { path: path.into(), digest: digest(number), size: 1 };
        let needed = [object("/a", 1), object("/b", 9), object("/c", 3)];
        let traced = |path: &str, number| (digest(number), path.as_bytes().to_vec());
        let trace = Trace { objects: vec![traced("/moved", 3), traced("/b", 2), traced("/gone", 4), traced("/c", 3)] };
        assert_eq!(trace.objects_of(&needed), [digest(3), digest(9)]);
    }

    #[test]
    fn numbers_of_a_remote_are_a_hint() {
        let image = RefImage { digest: digest(9), size: 1 };
        let objects = (1..=3).map(|number| (digest(number), 1)).collect();
        let (packs, others, frames) = (Vec::new(), vec![(digest(7), 1)], Vec::new());
        let mut index = ImageIndex { image, packs, objects, others, frames, records: Vec::new() };
        assert!(index.trace().is_empty());
        index.set_trace(&[digest(3), digest(7), digest(1)]);
        assert_eq!(index.trace(), [3, 1]);
        let read = ImageIndex::parse(&index.to_bytes().unwrap()).unwrap();
        assert_eq!((read.trace(), read.traced_digests()), (vec![3, 1], vec![digest(3), digest(1)]));
        let payload =
            [0u32, 2, 2, 4, 5, u32::MAX, 1].iter().flat_map(|number| number.to_le_bytes()).chain([1]).collect();
        index.records = vec![(TRACE_RECORD, payload), (TRACE_RECORD, vec![3, 0, 0, 0])];
        assert_eq!(ImageIndex::parse(&index.to_bytes().unwrap()).unwrap().trace(), [2, 1]);
        index.set_trace(&[]);
        assert!(index.records.is_empty());
    }
}
