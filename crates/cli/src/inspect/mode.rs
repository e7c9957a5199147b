//! Names of modes and file types, as in ls and find.

use libcomposefs_image::tree::Kind;

/// Returns the letter of a file type, the first character of a mode.
fn letter(kind: Kind) -> char {
    match kind {
        Kind::Regular => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    }
}

/// Returns the name of a file type.
pub(crate) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Regular => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::CharDevice => "character device",
        Kind::BlockDevice => "block device",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    }
}

/// Formats a mode as ls does: `drwxr-xr-t`.
pub(crate) fn text(kind: Kind, mode: u16) -> String {
    let mut text = String::from(letter(kind));
    for (shift, special, marks) in [(6, 0o4000, ['s', 'S']), (3, 0o2000, ['s', 'S']), (0, 0o1000, ['t', 'T'])] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => marks[0],
            (true, false) => marks[1],
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Splits a device number in the kernel's 32-bit encoding (`new_decode_dev`) into major and minor number.
pub(crate) fn device(rdev: u32) -> (u32, u32) {
    ((rdev & 0xf_ff00) >> 8, rdev & 0xff | rdev >> 12 & 0xf_ff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_ls_shows_them() {
        assert_eq!(text(Kind::Directory, 0o41777), "drwxrwxrwt");
        assert_eq!(text(Kind::Regular, 0o107644), "-rwSr-Sr-T");
        assert_eq!(text(Kind::Regular, 0o104755), "-rwsr-xr-x");
        assert_eq!(text(Kind::Symlink, 0o120000), "l---------");
    }

    #[test]
    fn both_halves_of_a_minor_number() {
        assert_eq!(device(0x0001_0803), (0x108, 0x03));
        assert_eq!(device(0xfff0_0103), (1, 0xfff03));
    }
}
