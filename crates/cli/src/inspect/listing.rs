//! Formats the lines of a listing, short or long.

use libcomposefs_image::tree::Kind;

use crate::inspect::inode_info::InodeInfo;
use crate::inspect::names::{NameArgs, NameFormat};
use crate::inspect::size::SizeFormat;
use crate::timestamp;

/// Options for the format of a listing.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct ListingArgs {
    /// Also print mode, links, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Print sizes with units, such as 1.2M
    #[arg(short = 'H', long)]
    human: bool,
    #[command(flatten)]
    pub(crate) names: NameArgs,
}

impl ListingArgs {
    /// Returns the format that the options select.
    pub(crate) fn format(self) -> LineFormat {
        LineFormat {
            long: self.long,
            names: self.names.names(),
            sizes: SizeFormat::human(self.human),
            line_end: self.names.line_end(),
        }
    }
}

/// Format of the lines of a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineFormat {
    pub(crate) long: bool,
    pub(crate) names: NameFormat,
    pub(crate) sizes: SizeFormat,
    pub(crate) line_end: u8,
}

/// Columns of a long line, before they are padded.
#[derive(Debug)]
struct Columns {
    mode: String,
    /// Link count, owner, group, and size or device number, all aligned to the right.
    numbers: [String; 4],
    time: String,
}

/// Column widths of lines that are printed one at a time.
const LONE_WIDTHS: [usize; 4] = [2, 4, 4, 9];

impl Columns {
    fn of(info: &InodeInfo<'_>, sizes: SizeFormat) -> Self {
        let record = info.node.raw().record();
        let size = match info.device() {
            Some((major, minor)) => format!("{major},{minor}"),
            None => sizes.show(info.size),
        };
        Self {
            mode: info.mode_text(),
            numbers: [record.nlink.to_string(), record.uid.to_string(), record.gid.to_string(), size],
            time: timestamp::seconds(record.mtime.sec),
        }
    }

    fn push(&self, widths: [usize; 4], line: &mut Vec<u8>) {
        line.extend_from_slice(self.mode.as_bytes());
        for (number, width) in self.numbers.iter().zip(widths) {
            line.extend_from_slice(format!(" {number:>width$}").as_bytes());
        }
        line.extend_from_slice(format!(" {} ", self.time).as_bytes());
    }
}

impl LineFormat {
    /// Appends a short line with a name.
    pub(crate) fn push_short(&self, name: &[u8], lines: &mut Vec<u8>) {
        self.names.push(name, lines);
        lines.push(self.line_end);
    }

    /// Appends a long line with a name, using fixed column widths.
    pub(crate) fn push_long(&self, info: &InodeInfo<'_>, name: &[u8], lines: &mut Vec<u8>) {
        self.push_columns(&Columns::of(info, self.sizes), LONE_WIDTHS, info, name, lines);
    }

    /// Appends the lines of several entries; the columns of long lines are aligned.
    pub(crate) fn push(&self, rows: &[(Vec<u8>, InodeInfo<'_>)], lines: &mut Vec<u8>) {
        if !self.long {
            rows.iter().for_each(|(name, _)| self.push_short(name, lines));
            return;
        }
        let columns: Vec<_> = rows.iter().map(|(_, info)| Columns::of(info, self.sizes)).collect();
        let width = |index: usize| columns.iter().map(|columns| columns.numbers[index].len()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        for ((name, info), columns) in rows.iter().zip(&columns) {
            self.push_columns(columns, widths, info, name, lines);
        }
    }

    fn push_columns(
        &self,
        columns: &Columns,
        widths: [usize; 4],
        info: &InodeInfo<'_>,
        name: &[u8],
        lines: &mut Vec<u8>,
    ) {
        columns.push(widths, lines);
        self.names.push(name, lines);
        if info.node.kind() == Kind::Symlink {
            lines.extend_from_slice(b" -> ");
            self.names.push(info.target, lines);
        }
        lines.push(self.line_end);
    }
}
