//! Messages of the protocol: requests to the server, and its replies.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libcomposefs_delivery::{ExpectedFile, FileKind, FileName, FileVersion, ListedFile, Sha256Digest};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::RefName;

use super::wire::WireError;

/// Most bytes of a version.
const VERSION_MAX: usize = 1024;
/// Most bytes of a reason.
const REASON_MAX: usize = 4096;

/// Kinds of frames that carry bytes of a file, in both directions.
pub(super) const DATA: u8 = 1;
/// The end of the bytes.
pub(super) const END: u8 = 2;
/// The sender has no more bytes, though more were announced.
pub(super) const ABORT: u8 = 3;

/// A request. The bytes of `Create` and `Replace` follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Read { name: FileName, limit: u64 },
    ReadRange { name: FileName, range: Range<u64> },
    Length { name: FileName },
    Create { name: FileName, length: u64 },
    Replace { name: FileName, expected: ExpectedFile, length: u64 },
    List { kind: FileKind },
    Delete { name: FileName },
}

/// A reply. Bytes follow those that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The server is ready. `read_only` says why it cannot be written.
    Ready {
        read_only: Option<String>,
    },
    /// There is no such file.
    Absent,
    /// A whole file: its bytes follow.
    File {
        version: Option<FileVersion>,
    },
    /// The range: its bytes follow.
    Part,
    Length(u64),
    Created,
    Existed,
    Replaced(Option<FileVersion>),
    Changed,
    /// Some files of a list; more lists may follow, and an empty one is the last.
    Files(Vec<ListedFile>),
    Removed,
    /// The request failed.
    Failed {
        is_temporary: bool,
        reason: String,
    },
}

/// Reads values from a payload, and refuses what is left.
struct Fields<'a>(&'a [u8]);

const CUT: WireError = WireError::Protocol("a message is cut");

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.bytes(N)?.try_into().map_err(|_| CUT)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self, limit: usize) -> Result<&'a str, WireError> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length > limit {
            return Err(WireError::Protocol("a text is too long"));
        }
        std::str::from_utf8(self.bytes(length)?).map_err(|_| WireError::Protocol("a text is not UTF-8"))
    }

    fn version(&mut self) -> Result<Option<FileVersion>, WireError> {
        match self.byte()? {
            0 => Ok(None),
            1 => Ok(Some(FileVersion(self.text(VERSION_MAX)?.to_owned()))),
            _ => Err(WireError::Protocol("a version has an unknown kind")),
        }
    }

    fn name(&mut self) -> Result<FileName, WireError> {
        let kind = self.byte()?;
        let digest = |fields: &mut Self| -> Result<Digest, WireError> {
            let algorithm = Algorithm::from_kernel_number(fields.byte()?);
            let algorithm = algorithm.ok_or(WireError::Protocol("a digest has an unknown algorithm"))?;
            let raw = fields.bytes(algorithm.digest_len())?;
            Digest::new(algorithm, raw).ok_or(WireError::Protocol("a digest has a wrong length"))
        };
        Ok(match kind {
            0 => FileName::Version,
            1 => {
                let name = RefName::new(self.text(u16::MAX.into())?);
                FileName::Ref(name.map_err(|_| WireError::Protocol("the name of a ref is not valid"))?)
            }
            2 => FileName::Image(Sha256Digest::new(self.array()?)),
            3 => FileName::Index(Sha256Digest::new(self.array()?)),
            4 => FileName::Pack(Sha256Digest::new(self.array()?)),
            5 => FileName::Object(digest(self)?),
            6 => FileName::ImageByDigest(digest(self)?),
            7 => FileName::Collection,
            _ => return Err(WireError::Protocol("a file has an unknown kind")),
        })
    }

    fn end<T>(self, value: T) -> Result<T, WireError> {
        if self.0.is_empty() { Ok(value) } else { Err(WireError::Protocol("a message has more than its values")) }
    }
}

fn put_text(payload: &mut Vec<u8>, text: &str, limit: usize) {
    let mut end = text.len().min(limit).min(u16::MAX.into());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    payload.extend((end as u16).to_le_bytes());
    payload.extend(text.as_bytes().get(..end).unwrap_or_default());
}

fn put_version(payload: &mut Vec<u8>, version: Option<&FileVersion>) {
    match version {
        None => payload.push(0),
        Some(version) => {
            payload.push(1);
            put_text(payload, &version.0, VERSION_MAX);
        }
    }
}

fn put_name(payload: &mut Vec<u8>, name: &FileName) {
    let digest = |payload: &mut Vec<u8>, kind: u8, digest: &Digest| {
        payload.extend([kind, digest.algorithm().kernel_number()]);
        payload.extend(digest.as_bytes());
    };
    match name {
        FileName::Version => payload.push(0),
        FileName::Ref(name) => {
            payload.push(1);
            put_text(payload, name.as_str(), u16::MAX.into());
        }
        FileName::Image(sha256) => payload.extend([&[2], &sha256.as_bytes()[..]].concat()),
        FileName::Index(sha256) => payload.extend([&[3], &sha256.as_bytes()[..]].concat()),
        FileName::Pack(sha256) => payload.extend([&[4], &sha256.as_bytes()[..]].concat()),
        FileName::Object(object) => digest(payload, 5, object),
        FileName::ImageByDigest(image) => digest(payload, 6, image),
        FileName::Collection => payload.push(7),
    }
}

fn kind_number(kind: FileKind) -> u8 {
    FileKind::ALL.iter().position(|known| *known == kind).map_or(u8::MAX, |at| at as u8)
}

impl Request {
    /// Returns the kind and the payload of the frame.
    pub(super) fn encode(&self) -> (u8, Vec<u8>) {
        let mut payload = Vec::new();
        let kind = match self {
            Self::Read { name, limit } => {
                payload.extend(limit.to_le_bytes());
                put_name(&mut payload, name);
                16
            }
            Self::ReadRange { name, range } => {
                payload.extend(range.start.to_le_bytes());
                payload.extend(range.end.to_le_bytes());
                put_name(&mut payload, name);
                17
            }
            Self::Length { name } => {
                put_name(&mut payload, name);
                18
            }
            Self::Create { name, length } => {
                payload.extend(length.to_le_bytes());
                put_name(&mut payload, name);
                19
            }
            Self::Replace { name, expected, length } => {
                payload.extend(length.to_le_bytes());
                match expected {
                    ExpectedFile::Absent => put_version(&mut payload, None),
                    ExpectedFile::Version(version) => put_version(&mut payload, Some(version)),
                }
                put_name(&mut payload, name);
                20
            }
            Self::List { kind } => {
                payload.push(kind_number(*kind));
                21
            }
            Self::Delete { name } => {
                put_name(&mut payload, name);
                22
            }
        };
        (kind, payload)
    }

    /// Reads a request from a frame.
    pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields(payload);
        let request = match kind {
            16 => {
                let limit = fields.number()?;
                Self::Read { name: fields.name()?, limit }
            }
            17 => {
                let range = fields.number()?..fields.number()?;
                if range.is_empty() {
                    return Err(WireError::Protocol("a range is empty"));
                }
                Self::ReadRange { name: fields.name()?, range }
            }
            18 => Self::Length { name: fields.name()? },
            19 => {
                let length = fields.number()?;
                Self::Create { name: fields.name()?, length }
            }
            20 => {
                let length = fields.number()?;
                let expected = fields.version()?.map_or(ExpectedFile::Absent, ExpectedFile::Version);
                Self::Replace { name: fields.name()?, expected, length }
            }
            21 => {
                let kind = FileKind::ALL.get(usize::from(fields.byte()?)).copied();
                Self::List { kind: kind.ok_or(WireError::Protocol("an unknown kind of files"))? }
            }
            22 => Self::Delete { name: fields.name()? },
            _ => return Err(WireError::Protocol("an unknown request")),
        };
        fields.end(request)
    }
}

impl Reply {
    /// Returns the kind and the payload of the frame.
    pub(super) fn encode(&self) -> (u8, Vec<u8>) {
        let mut payload = Vec::new();
        let kind = match self {
            Self::Ready { read_only } => {
                payload.push(u8::from(read_only.is_some()));
                put_text(&mut payload, read_only.as_deref().unwrap_or_default(), REASON_MAX);
                32
            }
            Self::Absent => 33,
            Self::File { version } => {
                put_version(&mut payload, version.as_ref());
                34
            }
            Self::Part => 35,
            Self::Length(length) => {
                payload.extend(length.to_le_bytes());
                36
            }
            Self::Created => 37,
            Self::Existed => 38,
            Self::Replaced(version) => {
                put_version(&mut payload, version.as_ref());
                39
            }
            Self::Changed => 40,
            Self::Files(files) => {
                for file in files {
                    let modified = file.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
                    payload.extend(file.length.to_le_bytes());
                    payload.extend(modified.as_secs().to_le_bytes());
                    put_name(&mut payload, &file.name);
                }
                41
            }
            Self::Removed => 42,
            Self::Failed { is_temporary, reason } => {
                payload.push(u8::from(*is_temporary));
                put_text(&mut payload, reason, REASON_MAX);
                48
            }
        };
        (kind, payload)
    }

    /// Reads a reply from a frame.
    pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields(payload);
        let reply = match kind {
            32 => {
                let is_read_only = fields.byte()? != 0;
                let reason = fields.text(REASON_MAX)?.to_owned();
                Self::Ready { read_only: is_read_only.then_some(reason) }
            }
            33 => Self::Absent,
            34 => Self::File { version: fields.version()? },
            35 => Self::Part,
            36 => Self::Length(fields.number()?),
            37 => Self::Created,
            38 => Self::Existed,
            39 => Self::Replaced(fields.version()?),
            40 => Self::Changed,
            41 => Self::Files(files(&mut fields)?),
            42 => Self::Removed,
            48 => {
                let is_temporary = fields.byte()? != 0;
                Self::Failed { is_temporary, reason: fields.text(REASON_MAX)?.to_owned() }
            }
            _ => return Err(WireError::Protocol("an unknown reply")),
        };
        fields.end(reply)
    }
}

fn files(fields: &mut Fields<'_>) -> Result<Vec<ListedFile>, WireError> {
    let mut files = Vec::new();
    while !fields.0.is_empty() {
        let (length, seconds) = (fields.number()?, fields.number()?);
        let modified = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let modified: SystemTime = modified.ok_or(WireError::Protocol("a time is not valid"))?;
        files.push(ListedFile { name: fields.name()?, length, modified });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<FileName> {
        let digest = |length| Digest::from_hex("ab".repeat(length)).unwrap();
        vec![
            FileName::Version,
            FileName::Collection,
            FileName::Ref(RefName::new("a/\u{e4}").unwrap()),
            FileName::Image(Sha256Digest::of(b"a")),
            FileName::Index(Sha256Digest::of(b"b")),
            FileName::Pack(Sha256Digest::of(b"c")),
            FileName::Object(digest(32)),
            FileName::ImageByDigest(digest(64)),
        ]
    }

    fn requests() -> Vec<Request> {
        let version = ExpectedFile::Version(FileVersion("v".to_owned()));
        let mut requests = vec![Request::List { kind: FileKind::Pack }];
        for name in names() {
            let name = || name.clone();
            requests.extend([
                Request::Read { name: name(), limit: 7 },
                Request::ReadRange { name: name(), range: 1..u64::MAX },
                Request::Length { name: name() },
                Request::Create { name: name(), length: 1 << 40 },
                Request::Replace { name: name(), expected: version.clone(), length: 0 },
                Request::Replace { name: name(), expected: ExpectedFile::Absent, length: 1 },
                Request::Delete { name: name() },
            ]);
        }
        requests
    }

    fn replies() -> Vec<Reply> {
        let version = Some(FileVersion("v".to_owned()));
        let modified = UNIX_EPOCH + Duration::from_secs(5);
        let files = names().into_iter().map(|name| ListedFile { name, length: 9, modified }).collect();
        vec![
            Reply::Ready { read_only: None },
            Reply::Ready { read_only: Some("because".to_owned()) },
            Reply::Absent,
            Reply::File { version: version.clone() },
            Reply::File { version: None },
            Reply::Part,
            Reply::Length(1),
            Reply::Created,
            Reply::Existed,
            Reply::Replaced(version),
            Reply::Changed,
            Reply::Files(files),
            Reply::Removed,
            Reply::Failed { is_temporary: true, reason: "r".to_owned() },
        ]
    }

    #[test]
    fn messages_are_read_as_they_are_written() {
        for request in requests() {
            let (kind, payload) = request.encode();
            assert_eq!(Request::decode(kind, &payload).unwrap(), request);
            assert!(Request::decode(kind, &[&payload[..], &[0]].concat()).is_err(), "{request:?}");
            for end in 0..payload.len() {
                assert!(Request::decode(kind, &payload[..end]).is_err(), "{request:?}");
            }
        }
        for reply in replies() {
            let (kind, payload) = reply.encode();
            assert_eq!(Reply::decode(kind, &payload).unwrap(), reply);
        }
        for kind in [0, DATA, END, ABORT, 23, 32, 255] {
            assert!(Request::decode(kind, &[]).is_err(), "{kind}");
        }
    }

    #[test]
    fn long_reasons_are_cut_at_a_character() {
        let reply = Reply::Failed { is_temporary: false, reason: "\u{e4}".repeat(REASON_MAX) };
        let (kind, payload) = reply.encode();
        let Reply::Failed { reason, .. } = Reply::decode(kind, &payload).unwrap() else { panic!("another reply") };
        assert_eq!(reason.len(), REASON_MAX);
    }
}
