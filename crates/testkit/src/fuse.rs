//! A FUSE file system of one file whose server lies: it answers `FS_IOC_MEASURE_VERITY` and `FS_IOC_ENABLE_VERITY`
//! itself. Only what the tests need of `include/uapi/linux/fuse.h` is here.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const DEVICE: &str = "/dev/fuse";
const MEASURE_VERITY: u32 = 0xc004_6686;
const ENABLE_VERITY: u32 = 0x4080_6685;
const ROOT: u64 = 1;
const FILE: u64 = 2;
const NO_ENTRY: i32 = 2;
const NO_SUCH_IOCTL: i32 = 25;
const NOT_IMPLEMENTED: i32 = 38;

/// Returns the reason why FUSE is not available here.
#[must_use]
pub fn unavailable() -> Option<String> {
    if !crate::privilege::is_root() {
        return Some("mounting a FUSE file system needs root".into());
    }
    if !Path::new(DEVICE).exists() {
        let _ = Command::new("modprobe").arg("fuse").status();
    }
    File::options().read(true).write(true).open(DEVICE).err().map(|error| format!("{DEVICE}: {error}"))
}

/// The mounted file system. Dropping it unmounts it, which ends the server.
#[derive(Debug)]
pub struct Liar {
    dir: PathBuf,
    lies: Arc<AtomicU32>,
}

impl Liar {
    /// Mounts the file system at `dir`: the file `file` has these bytes, and every request to measure it gets `digest`,
    /// which is one of SHA-256.
    ///
    /// # Panics
    ///
    /// If it cannot be mounted.
    #[must_use]
    pub fn mount(dir: &Path, bytes: Vec<u8>, digest: &[u8]) -> Self {
        let device = File::options().read(true).write(true).open(DEVICE).expect("/dev/fuse");
        let fd = device.as_raw_fd();
        let data = format!("fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions");
        let data = std::ffi::CString::new(data).expect("no zero byte");
        mount("liar", dir, "fuse", MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str()).expect("FUSE is mounted");
        let lies = Arc::default();
        let server = Server { device, bytes, digest: digest.to_vec(), lies: Arc::clone(&lies) };
        std::thread::spawn(move || server.serve());
        Self { dir: dir.to_owned(), lies }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.join("file")
    }

    /// Returns the number of fs-verity requests that the server has answered.
    #[must_use]
    pub fn lies(&self) -> u32 {
        self.lies.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = unmount(&self.dir, UnmountFlags::DETACH);
    }
}

struct Server {
    device: File,
    bytes: Vec<u8>,
    digest: Vec<u8>,
    lies: Arc<AtomicU32>,
}

impl Server {
    /// Until the file system is unmounted.
    fn serve(&self) {
        let mut request = vec![0; 1 << 20];
        while let Ok(len) = (&self.device).read(&mut request) {
            let request = &request[..len];
            let (opcode, unique, node) = (number(request, 4, 4) as u32, &request[8..16], number(request, 16, 8));
            // FORGET, INTERRUPT and BATCH_FORGET get no answer.
            if matches!(opcode, 2 | 36 | 42) {
                continue;
            }
            let (error, body) = match self.answer(opcode, node, &request[40..]) {
                Ok(body) => (0, body),
                Err(errno) => (-errno, Vec::new()),
            };
            let mut reply = Vec::new();
            reply.extend((16 + body.len() as u32).to_le_bytes());
            reply.extend(error.to_le_bytes());
            reply.extend(unique);
            reply.extend(body);
            // The answer to an interrupted request has no recipient.
            let _ = (&self.device).write(&reply);
        }
    }

    fn answer(&self, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        match opcode {
            // LOOKUP
            1 if node == ROOT && body == b"file\0" => {
                let mut entry = [FILE, 0, 60, 60, 0].map(u64::to_le_bytes).concat();
                entry.extend(self.attributes(FILE));
                Ok(entry)
            }
            1 => Err(NO_ENTRY),
            // GETATTR
            3 => Ok([[60, 0].map(u64::to_le_bytes).concat(), self.attributes(node)].concat()),
            // OPEN, OPENDIR
            14 | 27 => Ok(vec![0; 16]),
            // READ
            15 => {
                let bytes = self.bytes.get(number(body, 8, 8) as usize..).unwrap_or_default();
                Ok(bytes[..bytes.len().min(number(body, 16, 4) as usize)].to_vec())
            }
            // STATFS
            17 => Ok(vec![0; 80]),
            // RELEASE, FLUSH, RELEASEDIR, DESTROY
            18 | 25 | 29 | 38 => Ok(Vec::new()),
            // INIT: version 7.31, at most 128 KiB a write
            26 => {
                let words = [7, 31, 0, 0, 0, 1 << 17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                Ok(words.map(u32::to_le_bytes).concat())
            }
            // IOCTL
            39 => self.verity(number(body, 12, 4) as u32, number(body, 28, 4) as usize),
            _ => Err(NOT_IMPLEMENTED),
        }
    }

    fn attributes(&self, node: u64) -> Vec<u8> {
        let (mode, size) = if node == ROOT { (0o040_755, 0) } else { (0o100_644, self.bytes.len() as u64) };
        let mut attributes = [node, size, size.div_ceil(512), 0, 0, 0].map(u64::to_le_bytes).concat();
        attributes.extend([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_le_bytes).concat());
        attributes
    }

    fn verity(&self, command: u32, room: usize) -> Result<Vec<u8>, i32> {
        let digest = match command {
            MEASURE_VERITY => {
                [&1u16.to_le_bytes()[..], &(self.digest.len() as u16).to_le_bytes(), &self.digest].concat()
            }
            ENABLE_VERITY => Vec::new(),
            _ => return Err(NO_SUCH_IOCTL),
        };
        self.lies.fetch_add(1, Ordering::Relaxed);
        // Before Linux 6.10 there is room for the first four bytes only.
        Ok([&[0; 16], &digest[..digest.len().min(room)]].concat())
    }
}

/// A number of the request, whose integers are little-endian here.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
