//! The running system: which image it was booted from, and what the firmware says of that boot.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use libcomposefs_image::Digest;
use serde_json::Value;

/// File that `composefs-setup-root` leaves.
const RECORD: &str = "/run/composefs/boot.json";
const RECORD_MAX: u64 = 65536;
const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// Vendors of the variables (UEFI specification; systemd's Boot Loader Interface).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const VARIABLE_MAX: u64 = 4096;

/// The image that the running system was booted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BootedImage {
    /// fs-verity digest of the image.
    pub(super) digest: Digest,
    /// `require` or `off`, if the boot has left a record.
    pub(super) verity: Option<String>,
    /// The word of the kernel command line, if the boot has left a record.
    pub(super) word: Option<String>,
    /// The statement by which the image was booted, if it was booted by a name.
    pub(super) signed: Option<BootedStatement>,
    /// True if the mount of the root says so, and not the record alone.
    pub(super) is_mounted: bool,
}

/// A statement by which `composefs-setup-root` has chosen an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BootedStatement {
    /// Name on the kernel command line.
    pub(super) name: String,
    /// Name pattern of the rule of the policy in the initramfs.
    pub(super) rule: String,
    /// Serial number of the statement.
    pub(super) serial: u64,
    /// Keys that have signed, by their names in that policy.
    pub(super) keys: Vec<String>,
}

impl BootedStatement {
    fn of_record(record: &Value) -> Option<Self> {
        let of = |key: &str| record[key].as_str().map(str::to_owned);
        let keys = record["keys"].as_array()?.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
        Some(Self { name: of("name")?, rule: of("rule")?, serial: record["serial"].as_u64()?, keys })
    }
}

impl BootedImage {
    /// Finds the image; `None` for a system that was booted in another way.
    ///
    /// The mount of the root takes precedence over the record of the boot: after a soft reboot, the record is that of
    /// the system before.
    pub(super) fn find() -> Option<Self> {
        let mounts = libcomposefs_mount::mounts().unwrap_or_default();
        let root = mounts.iter().rev().find(|mount| mount.target == Path::new("/")).and_then(|mount| mount.digest);
        let record = read_limited(Path::new(RECORD), RECORD_MAX).and_then(|bytes| Self::of_record(&bytes));
        match (root, record) {
            (Some(root), Some(record)) if record.digest == root => Some(Self { is_mounted: true, ..record }),
            (Some(digest), _) => Some(Self { digest, verity: None, word: None, signed: None, is_mounted: true }),
            (None, record) => record,
        }
    }

    fn of_record(bytes: &[u8]) -> Option<Self> {
        let record: Value = serde_json::from_slice(bytes).ok()?;
        let of = |key: &str| record[key].as_str().map(str::to_owned);
        let digest = Digest::from_hex(of("digest")?).ok()?;
        let signed = BootedStatement::of_record(&record["signed"]);
        Some(Self { digest, verity: of("verity"), word: of("word"), signed, is_mounted: false })
    }
}

/// What the firmware and the boot loader say of this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FirmwareFacts {
    /// Whether Secure Boot is on; `None` if that cannot be found out.
    pub(super) secure_boot: Option<bool>,
    /// Whether a unified kernel image was started.
    pub(super) is_unified: bool,
    /// Entry that a variable makes the default, in place of the order.
    pub(super) default: Option<String>,
    /// Entry that a variable makes the next one, once.
    pub(super) once: Option<String>,
}

impl FirmwareFacts {
    /// Reads the variables of the firmware.
    pub(super) fn read() -> Self {
        let secure_boot = variable("SecureBoot", GLOBAL).and_then(|value| match value[..] {
            [value] => Some(value == 1),
            _ => None,
        });
        let text = |name: &str| variable(name, LOADER).map(|value| utf16(&value)).filter(|text| !text.is_empty());
        Self {
            secure_boot,
            is_unified: variable("StubInfo", LOADER).is_some(),
            default: text("LoaderEntryDefault"),
            once: text("LoaderEntryOneShot"),
        }
    }
}

/// Returns the value of a variable: the file has four bytes of attributes before it.
fn variable(name: &str, vendor: &str) -> Option<Vec<u8>> {
    let bytes = read_limited(&Path::new(VARIABLES).join(format!("{name}-{vendor}")), VARIABLE_MAX)?;
    bytes.get(4..).map(<[u8]>::to_vec)
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
}

fn read_limited(path: &Path, max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(max + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= max).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_setup_root_writes_them() {
        let hex = "ab".repeat(32);
        let record = format!(
            "{{\"digest\":\"{hex}\",\"algorithm\":\"sha256\",\"verity\":\"require\",\"word\":\"composefs={hex}\",\
             \"source\":\"composefs:{hex}\"}}\n"
        );
        let booted = BootedImage::of_record(record.as_bytes()).unwrap();
        assert_eq!((booted.digest.to_hex(), booted.verity.as_deref()), (hex, Some("require")));
        assert_eq!(booted.signed, None);
        let more = r#","signed":{"name":"os","rule":"o*","serial":7,"keys":["a\"b"]}}"#;
        let signed = BootedImage::of_record(record.replace('}', more).as_bytes()).unwrap().signed.unwrap();
        assert_eq!(
            (&*signed.name, &*signed.rule, signed.serial, &*signed.keys),
            ("os", "o*", 7, &["a\"b".to_owned()][..])
        );
        for wrong in ["", "{}", "[]", "{\"digest\":5}", "{\"digest\":\"ab\"}"] {
            assert_eq!(BootedImage::of_record(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn variables_are_utf_16() {
        assert_eq!(utf16(b"a\0.\0\0\0"), "a.");
        assert_eq!(utf16(b"a"), "");
    }
}
