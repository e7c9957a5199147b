//! Unified kernel images: the stub of systemd with further sections, as `ukify` makes them
//! (<https://uapi-group.org/specifications/specs/unified_kernel_image/>).

use anyhow::{Context as _, Result, ensure};

/// Length of the header of a section.
const HEADER_LEN: usize = 40;
/// Initialized data that can be read.
const CHARACTERISTICS: u32 = 0x4000_0040;

/// Adds sections to a stub, in this order. The kernel comes last, as it may need the memory after it.
pub(super) fn unified_kernel(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut image = stub.to_vec();
    let pe = read_u32(&image, 0x3c)? as usize;
    ensure!(image.get(pe..pe + 4) == Some(b"PE\0\0"), "the stub is no EFI program");
    let optional = pe + 24;
    let table = optional + usize::from(read_u16(&image, pe + 20)?);
    let (section_alignment, file_alignment) = (read_u32(&image, optional + 32)?, read_u32(&image, optional + 36)?);
    let (mut size_of_image, headers) = (read_u32(&image, optional + 56)?, read_u32(&image, optional + 60)? as usize);
    let mut count = read_u16(&image, pe + 6)?;
    for (name, content) in sections {
        let at = table + usize::from(count) * HEADER_LEN;
        let is_room = at + HEADER_LEN <= headers && image[at..at + HEADER_LEN].iter().all(|byte| *byte == 0);
        ensure!(is_room, "the headers of the stub have no room for {name}");
        image.resize(image.len().next_multiple_of(file_alignment as usize), 0);
        let (address, offset) = (size_of_image.next_multiple_of(section_alignment), image.len());
        image.extend_from_slice(content);
        image.resize(image.len().next_multiple_of(file_alignment as usize), 0);
        let len = u32::try_from(content.len()).with_context(|| format!("{name} is too large"))?;
        let fields = [len, address, (image.len() - offset) as u32, offset as u32, 0, 0, 0, CHARACTERISTICS];
        image[at..at + name.len().min(8)].copy_from_slice(&name.as_bytes()[..name.len().min(8)]);
        for (number, field) in fields.into_iter().enumerate() {
            write_u32(&mut image, at + 8 + 4 * number, field);
        }
        size_of_image = address + len;
        count += 1;
    }
    image[pe + 6..pe + 8].copy_from_slice(&count.to_le_bytes());
    write_u32(&mut image, optional + 56, size_of_image.next_multiple_of(section_alignment));
    // The check sum, which the firmware does not compare.
    write_u32(&mut image, optional + 64, 0);
    Ok(image)
}

fn read_u16(bytes: &[u8], at: usize) -> Result<u16> {
    let bytes = bytes.get(at..at + 2).context("the stub is cut off")?;
    Ok(u16::from_le_bytes(bytes.try_into()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).context("the stub is cut off")?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

fn write_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stub without sections, whose headers have room for one.
    fn stub() -> Vec<u8> {
        let mut stub = vec![0; 512];
        write_u32(&mut stub, 0x3c, 64);
        stub[64..68].copy_from_slice(b"PE\0\0");
        stub[84..86].copy_from_slice(&240_u16.to_le_bytes());
        for (at, value) in [(32, 4096), (36, 512), (56, 4096), (60, 64 + 24 + 240 + 40)] {
            write_u32(&mut stub, 64 + 24 + at, value);
        }
        stub
    }

    #[test]
    fn a_section_has_its_place_in_file_and_memory() {
        let image = unified_kernel(&stub(), &[(".cmdline", b"quiet")]).unwrap();
        assert_eq!(read_u16(&image, 70).unwrap(), 1);
        let at = 64 + 24 + 240;
        assert_eq!(&image[at..at + 8], b".cmdline");
        let field = |number: usize| read_u32(&image, at + 8 + 4 * number).unwrap();
        assert_eq!([field(0), field(1), field(2), field(3)], [5, 4096, 512, 512]);
        assert_eq!((&image[512..517], image.len()), (&b"quiet"[..], 1024));
        assert_eq!(read_u32(&image, 64 + 24 + 56).unwrap(), 8192);
    }

    #[test]
    fn headers_without_room_are_refused() {
        let error = unified_kernel(&stub(), &[(".osrel", b"a"), (".linux", b"b")]).unwrap_err();
        assert!(error.to_string().contains("no room for .linux"), "{error}");
        assert!(unified_kernel(b"MZ", &[]).is_err());
    }
}
