//! Checking that bytes are a GVariant in normal form, in time linear in their length.
//!
//! A GVariant reader returns a value for any bytes: framing offsets may go backwards, so that a few bytes represent
//! many long elements, each read as if it existed. Normal form is what a serialiser writes, and the only form that
//! `ostree` commits. Every GVariant goes through [`check`] first. In a value that passes each byte belongs to one
//! place, so a reader takes time and memory linear in its length.
//!
//! The rules are those of the GVariant specification, section 2.7, and of `g_variant_is_normal_form`: framing offsets
//! do not decrease and lie inside their container, no more bytes are used for them than needed, padding is zero,
//! strings end with their only NUL and are UTF-8, and values of a fixed size have it. Object paths and signatures are
//! checked as strings: ostree's objects have none.

use crate::signature::{Signature, TypeKind};

/// The deepest nesting of containers, as in GLib.
pub(crate) const MAX_DEPTH: usize = 128;

/// Checks that `bytes` is a value of the type in normal form.
///
/// # Errors
///
/// The rule that is broken.
pub(crate) fn check(signature: &str, bytes: &[u8]) -> Result<(), String> {
    let parsed = Signature::parse(signature.as_bytes(), MAX_DEPTH).ok_or_else(|| not_a_type(signature.as_bytes()))?;
    value(&parsed, bytes, MAX_DEPTH).map_err(|rule| format!("not a GVariant {signature} in normal form: {rule}"))
}

fn not_a_type(signature: &[u8]) -> String {
    format!(
        "{:?} is not one complete type, or is nested too deep",
        String::from_utf8_lossy(signature.get(..64).unwrap_or(signature))
    )
}

/// Each container takes one of `depth`, which bounds the recursion for nested variants.
fn value(signature: &Signature, bytes: &[u8], depth: usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("containers are nested more than {MAX_DEPTH} deep"));
    };
    if let Some(size) = signature.fixed_size().filter(|size| *size != bytes.len()) {
        return Err(format!("a value of {size} bytes has {} bytes", bytes.len()));
    }
    match signature.kind() {
        TypeKind::Number => Ok(()),
        TypeKind::Bool if bytes[0] <= 1 => Ok(()),
        TypeKind::Bool => Err("a boolean is neither 0 nor 1".into()),
        TypeKind::String => string(bytes),
        TypeKind::Variant => variant(bytes, depth),
        TypeKind::Maybe(element) => maybe(element, bytes, depth),
        TypeKind::Array(element) => array(element, bytes, depth),
        TypeKind::Tuple(members) => tuple(signature, members, bytes, depth),
    }
}

fn string(bytes: &[u8]) -> Result<(), String> {
    match bytes.split_last() {
        Some((0, text)) if text.contains(&0) => Err("a string holds a NUL".into()),
        Some((0, text)) if std::str::from_utf8(text).is_err() => Err("a string is not UTF-8".into()),
        Some((0, _)) => Ok(()),
        _ => Err("a string does not end with NUL".into()),
    }
}

/// The value, a NUL, and its type.
fn variant(bytes: &[u8], depth: usize) -> Result<(), String> {
    let nul = bytes.iter().rposition(|byte| *byte == 0).ok_or("a variant has no type")?;
    let (child, signature) = (&bytes[..nul], &bytes[nul + 1..]);
    let parsed = Signature::parse(signature, depth).ok_or_else(|| not_a_type(signature))?;
    value(&parsed, child, depth)
}

fn maybe(element: &Signature, bytes: &[u8], depth: usize) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    match (element.fixed_size(), bytes.split_last()) {
        (Some(_), _) => value(element, bytes, depth),
        (None, Some((0, inner))) => value(element, inner, depth),
        (None, _) => Err("an optional value does not end with NUL".into()),
    }
}

fn array(element: &Signature, bytes: &[u8], depth: usize) -> Result<(), String> {
    if let Some(size) = element.fixed_size() {
        // Plain numbers may be any bytes: an array of bytes need not be checked one by one.
        let (elements, rest) = (bytes.chunks_exact(size), bytes.len() % size);
        return match element.kind() {
            _ if rest != 0 => Err(format!("an array of elements of {size} bytes has {} bytes", bytes.len())),
            TypeKind::Number => Ok(()),
            _ => elements.into_iter().try_for_each(|bytes| value(element, bytes, depth)),
        };
    }
    if bytes.is_empty() {
        return Ok(());
    }
    let offsets = Offsets::of(bytes);
    // The last offset is the end of the elements, where the offsets begin.
    let end = offsets.read(bytes.len() - offsets.width.min(bytes.len()))?;
    let table = bytes.len().checked_sub(end).filter(|len| *len > 0 && len % offsets.width == 0);
    let count = table.ok_or("the offset table of an array does not have a whole number of entries")? / offsets.width;
    offsets.expect_smallest(end, count)?;
    let mut position = 0;
    for index in 0..count {
        let end = offsets.read(end + index * offsets.width)?;
        position = child(element, bytes, position, end, depth)?;
    }
    Ok(())
}

fn tuple(signature: &Signature, members: &[Signature], bytes: &[u8], depth: usize) -> Result<(), String> {
    let offsets = Offsets::of(bytes);
    // The offsets are at the end, the first one last.
    let (mut position, mut table, mut count) = (0, bytes.len(), 0);
    for (index, member) in members.iter().enumerate() {
        let end = match member.fixed_size() {
            Some(size) => align(position, member).saturating_add(size),
            None if index + 1 == members.len() => table,
            None => {
                table = table.checked_sub(offsets.width).ok_or("the offsets of a tuple are missing")?;
                count += 1;
                offsets.read(table)?
            }
        };
        if end > table {
            return Err("an offset of a tuple points outside of it".into());
        }
        position = child(member, bytes, position, end, depth)?;
    }
    if signature.fixed_size().is_some() {
        return zero(bytes.get(position..).unwrap_or_default());
    }
    if position != table {
        return Err("a tuple has bytes that belong to no member".into());
    }
    offsets.expect_smallest(position, count)
}

/// Checks an element or member that begins after `position`, the end of the one before. Returns its end.
fn child(signature: &Signature, bytes: &[u8], position: usize, end: usize, depth: usize) -> Result<usize, String> {
    let start = align(position, signature);
    let Some(child) = bytes.get(start..end) else {
        return Err(format!("an offset points from {position} to {end}: offsets must not decrease"));
    };
    zero(&bytes[position..start])?;
    value(signature, child, depth)?;
    Ok(end)
}

fn align(position: usize, signature: &Signature) -> usize {
    position.next_multiple_of(signature.alignment())
}

fn zero(padding: &[u8]) -> Result<(), String> {
    if padding.iter().all(|byte| *byte == 0) { Ok(()) } else { Err("padding is not zero".into()) }
}

/// The framing offsets of a container.
#[derive(Clone, Copy)]
struct Offsets<'a> {
    container: &'a [u8],
    /// Number of bytes in each offset.
    width: usize,
}

impl<'a> Offsets<'a> {
    fn of(container: &'a [u8]) -> Self {
        Self { container, width: width_for(container.len()) }
    }

    fn read(self, at: usize) -> Result<usize, String> {
        let bytes = self.container.get(at..).and_then(|rest| rest.get(..self.width));
        let bytes = bytes.ok_or("an offset is missing")?;
        let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        match usize::try_from(number) {
            Ok(number) if number <= self.container.len() => Ok(number),
            _ => Err(format!("an offset points to {number}, past the end at {}", self.container.len())),
        }
    }

    /// Checks that `count` offsets after a body of `body` bytes need this width.
    fn expect_smallest(self, body: usize, count: usize) -> Result<(), String> {
        let fits = |width: &usize| width_for(body + count * width) <= *width;
        match [1, 2, 4, 8].into_iter().find(fits) {
            Some(width) if count > 0 && width != self.width => Err("offsets are wider than needed".into()),
            _ => Ok(()),
        }
    }
}

fn width_for(len: usize) -> usize {
    match len {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

#[cfg(test)]
// The code that the macro generates for a type is unsafe.
#[allow(unsafe_code)]
mod tests {
    use gvariant::{Marker as _, Structure as _, gv};

    use super::*;

    /// Serialises an `a{sv}` of byte arrays.
    fn dictionary(entries: &[(&str, usize)]) -> Vec<u8> {
        let (mut body, mut ends) = (Vec::new(), Vec::new());
        for (key, len) in entries {
            body.resize(body.len().next_multiple_of(8), 0);
            let start = body.len();
            body.extend_from_slice(key.as_bytes());
            body.push(0);
            let key_end = body.len() - start;
            body.resize(body.len().next_multiple_of(8), 0);
            body.resize(body.len() + len, 7);
            body.extend_from_slice(b"\0ay");
            let offset = (key_end as u64).to_le_bytes();
            let used = body.len() - start;
            let width = [1, 2, 4].into_iter().find(|width| width_for(used + width) <= *width).unwrap();
            body.extend_from_slice(&offset[..width]);
            ends.push(body.len());
        }
        let width = [1, 2, 4].into_iter().find(|width| width_for(body.len() + ends.len() * width) <= *width).unwrap();
        ends.iter().for_each(|end| body.extend_from_slice(&(*end as u64).to_le_bytes()[..width]));
        body
    }

    #[test]
    fn serialised_values_are_in_normal_form() {
        let dirmeta = |count: usize| {
            let names: Vec<Vec<u8>> = (0..count).map(|n| format!("user.{n}\0").into_bytes()).collect();
            let pairs: Vec<(&[u8], &[u8])> = names.iter().map(|name| (&name[..], &b"value"[..])).collect();
            gv!("(uuua(ayay))").serialize_to_vec(&(1u32, 2u32, 3u32, &pairs[..]))
        };
        for count in [0, 1, 2, 12, 13, 14, 15, 16, 2000, 5000] {
            assert_eq!(check("(uuua(ayay))", &dirmeta(count)), Ok(()), "{count}");
        }
        for text in ["", "a", &"b".repeat(250), &"c".repeat(251), &"d".repeat(70_000)] {
            let header = gv!("(tuuuusa(ayay))").serialize_to_vec(&(
                9u64,
                1u32,
                2u32,
                3u32,
                4u32,
                text,
                &[][..] as &[(&[u8], &[u8])],
            ));
            assert_eq!(check("(tuuuusa(ayay))", &header), Ok(()), "{}", text.len());
            let tree = gv!("(a(say)a(sayay))").serialize_to_vec(&(
                &[(text, &[1u8; 32][..]), ("b", &[2; 32])][..],
                &[("c", &[3u8; 32][..], &[4u8; 32][..])][..],
            ));
            assert_eq!(check("(a(say)a(sayay))", &tree), Ok(()), "{}", text.len());
        }
        for entries in [&[][..], &[("k", 0)], &[("key", 32), ("k", 1), ("kk", 300)], &[("k", 70_000), ("", 3)]] {
            assert_eq!(check("a{sv}", &dictionary(entries)), Ok(()), "{entries:?}");
        }
    }

    /// Any changed bit changes a number or a letter of a string, or is rejected: no byte is read twice.
    #[test]
    fn every_byte_belongs_to_one_place() {
        let tree = gv!("(a(say)a(sayay))").serialize_to_vec(&(
            &[("aa", &[1u8; 32][..]), ("b", &[2; 32])][..],
            &[("c", &[3u8; 32][..], &[4u8; 32][..])][..],
        ));
        for at in 0..tree.len() {
            for bit in 0..8 {
                let mut changed = tree.clone();
                changed[at] ^= 1 << bit;
                if check("(a(say)a(sayay))", &changed).is_ok() {
                    let aligned = gvariant::aligned_bytes::copy_to_align(&changed);
                    let (files, directories) = gv!("(a(say)a(sayay))").cast(aligned.as_ref()).to_tuple();
                    let files =
                        files.iter().map(|file| file.to_tuple()).map(|(name, id)| name.to_str().len() + id.len());
                    let below = directories.iter().map(|below| below.to_tuple());
                    let below = below.map(|(name, tree, meta)| name.to_str().len() + tree.len() + meta.len());
                    assert!(files.chain(below).sum::<usize>() <= tree.len(), "bit {bit} of byte {at}");
                }
            }
            assert!(check("(a(say)a(sayay))", &tree[..at]).is_err(), "cut off at {at}");
        }
    }

    #[test]
    fn each_rule_has_a_message() {
        let nested = |depth: usize| [vec![b'x'], [0, b'v'].repeat(depth)].concat();
        let inner = |depth: usize| [&[1, 0, b'y'][..], &nested(depth)[1..]].concat();
        let cases: &[(&str, &[u8], &str)] = &[
            ("s", b"", "end with NUL"),
            ("s", b"ab", "end with NUL"),
            ("s", b"a\0b\0", "holds a NUL"),
            ("s", b"\xff\0", "not UTF-8"),
            ("u", b"123", "4 bytes has 3 bytes"),
            ("b", b"\x02", "boolean"),
            ("au", b"12345", "elements of 4 bytes"),
            ("as", b"a\0b\0\x02\x09", "past the end"),
            ("as", b"a\0\x02\x00\x02", "must not decrease"),
            ("as", b"a\0\0\x04", "whole number"),
            ("aas", b"\x00\x00\x02", "end with NUL"),
            ("(su)", b"a\0\x01\x011234\x02", "padding"),
            ("(yu)", b"\x01\0\0\x011234", "padding"),
            ("(uy)", b"1234\x01\0\0\x01", "padding"),
            ("(ss)", b"", "missing"),
            ("(ss)", b"a\0b\0\x07", "past the end"),
            ("(sy)", b"a\0\x01\x09\x02", "no member"),
            ("v", b"", "no type"),
            ("v", b"\x01\0", "complete type"),
            ("v", b"\x01\0yy", "complete type"),
            ("v", b"\x01\0\xff\xfe", "complete type"),
            ("v", b"\x01\x02\0y", "1 bytes has 2 bytes"),
            ("ms", b"a\0\x01", "optional value"),
            ("v", &inner(200), "nested too deep"),
        ];
        for (signature, bytes, rule) in cases {
            let found = check(signature, bytes).unwrap_err();
            assert!(found.contains(rule), "{signature} {bytes:?}: {found}");
        }
        for (signature, bytes) in [
            ("s", &b"a\0"[..]),
            ("as", b"a\0b\0\x02\x04"),
            ("aay", b"\0"),
            ("(su)", b"a\0\0\x001234\x02"),
            ("(yu)", b"\x01\0\0\x001234"),
            ("()", b"\0"),
            ("v", b"\x01\0y"),
            ("ms", b""),
            ("ms", b"a\0\0"),
            ("my", b"a"),
            ("v", &inner(100)),
        ] {
            assert_eq!(check(signature, bytes), Ok(()), "{signature} {bytes:?}");
        }
        // A hundred bytes and one offset of two bytes: one byte would do.
        let wide = [&[b'a'; 99][..], b"\0", &[100, 0]].concat();
        assert!(check("as", &wide).is_err());
        assert!(check("as", &[&[b'a'; 300][..], b"\0", &[45, 1]].concat()).is_ok());
    }
}
