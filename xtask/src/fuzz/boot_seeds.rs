//! Makes the seeds of the fuzz target of boot entries: EFI programs without code, and entries.

use std::path::Path;

use anyhow::Result;

use super::seeds;

/// Programs with the sections that are read, entries with both kinds of kernels, and an `os-release`.
pub(super) fn entries(dir: &Path, max_len: usize) -> Result<()> {
    let digest = "ab".repeat(32);
    let line = format!("root=LABEL=x rw composefs.digest=?v1-sha256-12:{digest} composefs={digest}");
    let release = "ID=test\nPRETTY_NAME=\"Test OS\"\nVERSION_ID='1.2~rc1'\nIMAGE_ID=x\n";
    for (name, machine) in [("program", 0x8664_u16), ("program-arm", 0xaa64)] {
        let program = efi_program(machine, &[(b".cmdline", &line), (b".osrel\0\0", release)]);
        seeds::put(dir, max_len, name, &[b"p", &program[..]].concat())?;
    }
    let kernel = format!(
        "# comment\ntitle Test OS\nsort-key composefs\nversion 7\nlinux /composefs/{digest}/vmlinuz\n\
         initrd \\composefs\\{digest}\\initrd\noptions {line}\noptions \"a=\\\"b c\\\"\"\n"
    );
    for (name, text) in [
        ("entry", format!("composefs-7-0123456789abcdef+3-1.conf\0os-13.1+0-3.efi\0{kernel}")),
        ("entry-unified", "a.conf\0b+2.conf\0title t\nefi /EFI/Linux/os.efi\nmachine-id x\n".to_owned()),
        ("entry-long", format!("a\0b\0{}", "initrd /x\n".repeat(200))),
        ("entry-options", format!("a~1\0a-1\0options {}", "a=b composefs=c \"x y\" ".repeat(100))),
    ] {
        seeds::put(dir, max_len, name, &[b"e", text.as_bytes()].concat())?;
    }
    seeds::put(dir, max_len, "os-release", &[b"o", release.as_bytes()].concat())
}

/// Returns a program (PE32+) without code, with these sections.
fn efi_program(machine: u16, sections: &[(&[u8; 8], &str)]) -> Vec<u8> {
    let mut head = vec![0; 64];
    head[..2].copy_from_slice(b"MZ");
    head[60] = 64;
    head.extend_from_slice(b"PE\0\0");
    head.extend_from_slice(&machine.to_le_bytes());
    head.extend_from_slice(&(sections.len() as u16).to_le_bytes());
    head.resize(64 + 24, 0);
    let mut at = head.len() + 40 * sections.len();
    let mut contents = Vec::new();
    for (name, text) in sections {
        let mut section = [0; 40];
        section[..8].copy_from_slice(&name[..]);
        for field in [8, 16] {
            section[field..field + 4].copy_from_slice(&(text.len() as u32).to_le_bytes());
        }
        section[20..24].copy_from_slice(&(at as u32).to_le_bytes());
        head.extend_from_slice(&section);
        contents.extend_from_slice(text.as_bytes());
        at += text.len();
    }
    [head, contents].concat()
}
