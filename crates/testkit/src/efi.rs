//! EFI programs without code.

/// Returns a program for this machine (the number in its header), with this command line in a section, if any.
#[must_use]
pub fn efi_program(machine: u16, line: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, b"MZ");
    put(60, &[64]);
    put(64, b"PE\0\0");
    put(68, &machine.to_le_bytes());
    if let Some(line) = line {
        let len = u32::try_from(line.len()).expect("the line is short").to_le_bytes();
        put(70, &[1]);
        put(88, b".cmdline");
        put(96, &len);
        put(104, &len);
        put(108, &512_u32.to_le_bytes());
        bytes.extend_from_slice(line.as_bytes());
    }
    bytes
}
