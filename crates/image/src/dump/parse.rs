//! From dump lines to a tree.

use std::borrow::Cow;

use super::error::{DumpError, DumpField, LineDefect};
use super::escape::{unescape, unescape_to_nul};
use super::hardlinks::HardLinks;
use super::line_map::LineMap;
use super::value::{digest, number, number32, time};
use crate::digest::Algorithm;
use crate::display::shown;
use crate::tree::{
    FoundName, FreeName, InodeId, Kind, MAX_INLINE, MAX_PATH, NewInode, Tree, TreeBuilder, TreeError, Xattr,
};

/// Options of reading a dump.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The algorithm of the digests in it.
    pub algorithm: Algorithm,
    /// Refuse what a careful writer never writes (`CFS_PARSE_STRICT`).
    pub strict: bool,
}

/// The raw bytes that all extended attributes of a line may take.
const MAX_XATTR_TEXT: usize = 65535;
/// The largest size of an external file: 1024 chunks of 2^43 bytes.
const MAX_EXTERNAL: u64 = 1 << 53;

/// Takes the lines of a dump one by one.
#[derive(Debug)]
pub struct Parser {
    options: Options,
    builder: Option<TreeBuilder>,
    links: HardLinks,
    line: u64,
    /// The directory of the line before, by its path as it stood there: most lines have the same one.
    last_parent: (Vec<u8>, InodeId),
}

/// The result of reading a dump.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parsed {
    /// The tree that the dump describes.
    pub tree: Tree,
    /// The lines from which its inodes came.
    pub lines: LineMap,
}

/// The eleven fixed fields of a line and what follows them.
struct LineFields<'a> {
    fixed: [&'a [u8]; 11],
    xattrs: Option<&'a [u8]>,
}

impl<'a> LineFields<'a> {
    fn split(line: &'a [u8]) -> Self {
        let mut fixed = [&[][..]; 11];
        let mut spaces = memchr::memchr_iter(b' ', line);
        let mut start = 0;
        for field in &mut fixed {
            let Some(space) = spaces.next() else {
                *field = &line[start..];
                return Self { fixed, xattrs: None };
            };
            *field = &line[start..space];
            start = space + 1;
        }
        Self { fixed, xattrs: Some(&line[start..]) }
    }

    fn get(&self, field: DumpField) -> &'a [u8] {
        self.fixed[field.number() - 1]
    }

    /// A field in which a lone `-` says "not set".
    fn optional(&self, field: DumpField) -> Option<&'a [u8]> {
        Some(self.get(field)).filter(|text| *text != b"-")
    }
}

impl Parser {
    /// A parser before its first line.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let last_parent = (Vec::new(), InodeId::ROOT);
        Self { options, builder: None, links: HardLinks::default(), line: 0, last_parent }
    }

    /// The number of lines taken so far.
    #[must_use]
    pub fn line_count(&self) -> u64 {
        self.line
    }

    /// Takes the next line, without its newline.
    pub fn push_line(&mut self, line: &[u8]) -> Result<(), DumpError> {
        self.line += 1;
        self.take_line(line).map_err(|defect| defect.at(self.line))
    }

    /// The error for a last line that no newline ends, which strict mode refuses.
    pub fn check_last_line(&self, has_newline: bool) -> Result<(), DumpError> {
        if self.options.strict && !has_newline {
            let defect = LineDefect::new(DumpField::Path, "Missing trailing newline", "CFS_PARSE_STRICT is set");
            return Err(defect.at(self.line));
        }
        Ok(())
    }

    /// Resolves the links and gives the tree.
    pub fn finish(self) -> Result<Parsed, DumpError> {
        let Some(mut builder) = self.builder else {
            let rule = "the first line must be the root, /";
            return Err(LineDefect::new(DumpField::Path, "No files in dump file", rule).at(self.line.max(1)));
        };
        let lines = self.links.resolve(&mut builder)?;
        Ok(Parsed { tree: builder.finish(), lines })
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), LineDefect> {
        if let Some(nul) = memchr::memchr(0, line) {
            let field = field_at(line, nul);
            let message = format!("Invalid embedded NUL character at position {nul}");
            return Err(LineDefect::new(field, message, "a NUL is written \\x00"));
        }
        let fields = LineFields::split(line);
        let path = unescape_to_nul(DumpField::Path, fields.get(DumpField::Path))?;
        if path.is_empty() {
            return Err(LineDefect::new(DumpField::Path, "Invalid empty path", "a blank line is no node"));
        }
        let place = self.find_place(&path, fields.get(DumpField::Path))?;
        let mode_text = fields.get(DumpField::Mode);
        let is_link = mode_text.first() == Some(&b'@');
        // A hard link's own size is not even looked at.
        let size = if is_link { 0 } else { number(DumpField::Size, fields.get(DumpField::Size), 10)? };
        let mode = number(DumpField::Mode, &mode_text[usize::from(is_link)..], 8)? as u32;
        let kind = Kind::from_mode(mode).ok_or_else(|| {
            LineDefect::new(DumpField::Mode, format!("Invalid mode {mode:o}"), "the type bits tell no type of file")
        })?;
        if is_link && kind == Kind::Directory {
            return Err(LineDefect::new(DumpField::Mode, "Directories can't be hardlinked", ""));
        }
        match place {
            Place::Below(claim, name) if is_link => self.take_link(&fields, claim, name),
            Place::Root if is_link => Err(LineDefect::new(DumpField::Mode, "Root must be a directory", "")),
            place => self.take_inode(&fields, &place, Basics { size, mode, kind }),
        }
    }

    /// Returns the directory and the name of a path; for the first line, the root.
    fn find_place<'p>(&mut self, path: &'p [u8], shown_path: &[u8]) -> Result<Place<'p>, LineDefect> {
        let defect = |message: &str, rule| {
            Err(LineDefect::new(DumpField::Path, format!("{message}{}", shown(shown_path)), rule))
        };
        if path == b"/" {
            return match self.builder {
                None => Ok(Place::Root),
                Some(_) => {
                    Err(LineDefect::new(DumpField::Path, "Can't have multiple roots", "/ is the first line only"))
                }
            };
        }
        let Some(builder) = &self.builder else {
            return Err(LineDefect::new(
                DumpField::Path,
                "Root node not present",
                "the first line must be the root, /",
            ));
        };
        let split = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
        let (parent_path, name) = path.split_at(split);
        if self.last_parent.0 != parent_path {
            let mut parent = InodeId::ROOT;
            for component in parent_path.split(|&b| b == b'/').filter(|c| !c.is_empty()) {
                if !builder.is_directory(parent) {
                    return defect("Parent must be a directory for ", "");
                }
                parent = match builder.find(parent, component) {
                    Some(FoundName::Inode(id)) => id,
                    Some(FoundName::Link(_)) => {
                        return defect("Parent must be a directory for ", "a hard link is no directory");
                    }
                    None => return defect("Parent directory missing for ", "a directory stands before what it holds"),
                };
            }
            self.last_parent = (parent_path.to_vec(), parent);
        }
        let parent = self.last_parent.1;
        if !builder.is_directory(parent) {
            return defect("Parent must be a directory for ", "");
        }
        if name == b"." || name == b".." {
            return defect("Invalid . or .. in path: ", "");
        }
        Ok(Place::Below(builder.claim(parent, name).map_err(cannot_add)?, name))
    }

    fn take_link(&mut self, fields: &LineFields<'_>, claim: FreeName, name: &[u8]) -> Result<(), LineDefect> {
        let Some(target) = fields.optional(DumpField::Payload) else {
            let rule = "PAYLOAD is the path of the link's target";
            return Err(LineDefect::new(DumpField::Payload, "No target path for the hardlink", rule));
        };
        let target = unescape_to_nul(DumpField::Payload, target)?;
        let builder = self.builder.as_mut().expect("a link's parent was found");
        let link = builder.add_pending_link(claim, name).map_err(cannot_add)?;
        self.links.push(link, self.line, &target, fields.get(DumpField::Path));
        Ok(())
    }

    fn take_inode(&mut self, fields: &LineFields<'_>, place: &Place<'_>, basics: Basics) -> Result<(), LineDefect> {
        let Basics { size, mode, kind } = basics;
        let nlink = number32(DumpField::Nlink, fields.get(DumpField::Nlink))?;
        let uid = number(DumpField::Uid, fields.get(DumpField::Uid), 10)?;
        // The reference checks these two for errors only when uid is 0, before it is cut to 32 bits, and otherwise
        // reads 0.
        let lenient = |field| match number32(field, fields.get(field)) {
            Err(_) if uid != 0 => Ok(0),
            result => result,
        };
        let (gid, rdev) = (lenient(DumpField::Gid)?, lenient(DumpField::Rdev)?);
        let mtime = time(fields.get(DumpField::Mtime))?;
        let payload =
            fields.optional(DumpField::Payload).map(|p| unescape_to_nul(DumpField::Payload, p)).transpose()?;
        if kind == Kind::Symlink {
            self.check_symlink(payload.as_deref(), size)?;
        } else if payload.as_ref().is_some_and(|p| p.len() > MAX_PATH) {
            return Err(LineDefect::new(DumpField::Payload, "Invalid payload", "at most 4095 bytes are allowed"));
        }
        let content = fields.optional(DumpField::Content).map(|c| unescape(DumpField::Content, c)).transpose()?;
        self.check_content(kind, size, content.as_deref())?;
        let external = kind == Kind::Regular && size > 0 && content.is_none();
        if external && size > MAX_EXTERNAL {
            let rule = "an external file has at most 2^53 bytes";
            return Err(LineDefect::new(DumpField::Size, "cannot write file: File too large", rule));
        }
        if self.options.strict && rdev != 0 && !matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            return Err(LineDefect::new(DumpField::Rdev, "Non-zero devnum on non-device", "CFS_PARSE_STRICT is set"));
        }
        let digest = match fields.optional(DumpField::Digest) {
            // A line may stop early where the digest has no effect.
            Some(b"") if !external => None,
            Some(text) if kind == Kind::Regular => Some(digest(self.options.algorithm, text)?),
            _ => None,
        };
        let texts = XattrTexts::unescape(fields.xattrs)?;
        let xattrs = texts.list();
        let payload = payload.as_deref();
        let content = content.as_deref().filter(|_| kind == Kind::Regular);
        let inode = NewInode {
            mode,
            size,
            nlink,
            uid: uid as u32,
            gid,
            rdev,
            mtime,
            payload,
            content,
            digest,
            is_object: false,
            xattrs: &xattrs,
        };
        self.add_inode(place, &inode)
    }

    fn check_symlink(&self, target: Option<&[u8]>, size: u64) -> Result<(), LineDefect> {
        let target = target.filter(|t| (1..=MAX_PATH).contains(&t.len())).ok_or_else(|| {
            LineDefect::new(DumpField::Payload, "Invalid symlink", "PAYLOAD is the target, 1 to 4095 bytes")
        })?;
        if self.options.strict && size != target.len() as u64 {
            let message = format!("Invalid symlink size {size}, must match size {}", target.len());
            return Err(LineDefect::new(DumpField::Size, message, "CFS_PARSE_STRICT is set"));
        }
        Ok(())
    }

    fn check_content(&self, kind: Kind, size: u64, content: Option<&[u8]>) -> Result<(), LineDefect> {
        let Some(content) = content else { return Ok(()) };
        let defect = |message, rule| Err(LineDefect::new(DumpField::Content, message, rule));
        if self.options.strict && kind == Kind::Symlink {
            return defect("Symlink cannot have content".to_owned(), "CFS_PARSE_STRICT is set");
        }
        if content.len() as u64 != size {
            return defect(
                format!("Invalid content size {}, must match size {size}", content.len()),
                "SIZE is the length of CONTENT",
            );
        }
        if content.len() > MAX_INLINE {
            return defect(
                format!("Inline content size {} exceeds maximum {MAX_INLINE}", content.len()),
                "larger contents belong into the object store",
            );
        }
        Ok(())
    }

    fn add_inode(&mut self, place: &Place<'_>, inode: &NewInode<'_>) -> Result<(), LineDefect> {
        match (*place, &mut self.builder) {
            (Place::Below(claim, name), Some(builder)) => {
                builder.add_claimed(claim, name, inode).map_err(cannot_add)?;
            }
            (_, builder) => {
                let root = TreeBuilder::new(self.options.algorithm, inode).map_err(|error| match error {
                    TreeError::ParentNotDirectory => LineDefect::new(DumpField::Mode, "Root must be a directory", ""),
                    other => cannot_add(other),
                })?;
                *builder = Some(root);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Root,
    /// Under a name that is free.
    Below(FreeName, &'a [u8]),
}

/// The fields that are read before it is known what kind of line it is.
struct Basics {
    size: u64,
    mode: u32,
    kind: Kind,
}

/// The extended attributes of a line, names and values unescaped.
struct XattrTexts<'a>(Vec<(Unescaped<'a>, Unescaped<'a>)>);

type Unescaped<'a> = Cow<'a, [u8]>;

impl<'a> XattrTexts<'a> {
    fn unescape(text: Option<&'a [u8]>) -> Result<Self, LineDefect> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self(Vec::new())) };
        if text.len() > MAX_XATTR_TEXT {
            return Err(LineDefect::new(
                DumpField::Xattr(0),
                "Too many xattrs",
                "at most 65535 bytes of a line are allowed",
            ));
        }
        // One blank at the end of a line is no empty attribute.
        let text = text.strip_suffix(b" ").unwrap_or(text);
        let attribute = |(index, text): (usize, &'a [u8])| {
            let field = DumpField::Xattr(index);
            let equals = text.iter().position(|&b| b == b'=');
            let equals = equals.ok_or_else(|| LineDefect::new(field, "Missing = in xattr", "expected NAME=VALUE"))?;
            Ok((unescape_to_nul(field, &text[..equals])?, unescape(field, &text[equals + 1..])?))
        };
        text.split(|&b| b == b' ').enumerate().map(attribute).collect::<Result<_, _>>().map(Self)
    }

    fn list(&self) -> Vec<Xattr<'_>> {
        self.0.iter().map(|(name, value)| Xattr { name, value }).collect()
    }
}

/// Returns the reference's message for an error of the tree.
fn cannot_add(error: TreeError) -> LineDefect {
    let (field, message, rule) = match error {
        TreeError::Duplicate(_) => (DumpField::Path, "Can't add child", "the directory has such an entry already"),
        TreeError::Name(_) => (DumpField::Path, "Can't add child", "a name has 1 to 255 bytes"),
        TreeError::Xattr(_) => (
            DumpField::Xattr(0),
            "Can't set xattr",
            "a name has 1 to 255 bytes, a value at most 65535, all of an inode at most 32767 (12 + 7 each)",
        ),
        other => return LineDefect::new(DumpField::Path, other.to_string(), ""),
    };
    LineDefect::new(field, message, rule)
}

/// The field that a position of a line belongs to.
fn field_at(line: &[u8], position: usize) -> DumpField {
    const FIXED: [DumpField; 11] = [
        DumpField::Path,
        DumpField::Size,
        DumpField::Mode,
        DumpField::Nlink,
        DumpField::Uid,
        DumpField::Gid,
        DumpField::Rdev,
        DumpField::Mtime,
        DumpField::Payload,
        DumpField::Content,
        DumpField::Digest,
    ];
    let index = line[..position].iter().filter(|&&b| b == b' ').count();
    FIXED.get(index).copied().unwrap_or(DumpField::Xattr(index.saturating_sub(11)))
}
