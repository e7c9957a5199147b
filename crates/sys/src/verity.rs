//! Enables fs-verity on a file and asks the kernel for the digest.
//!
//! The interface is `include/uapi/linux/fsverity.h`; `Documentation/filesystems/fsverity.rst` explains the error
//! numbers.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, Updater, ioctl, opcode};

use crate::fs_magic::FsMagic;

/// The longest digest the kernel knows (`FS_VERITY_MAX_DIGEST_SIZE`): SHA-512's.
const MAX_DIGEST_LEN: usize = 64;

/// The fixed part of `struct fsverity_digest`, which alone counts for the request number.
type DigestHeader = [u16; 2];

/// `struct fsverity_digest` with room for the longest digest.
#[repr(C)]
struct DigestArg {
    algorithm: u16,
    /// In: room for the digest. Out: its length.
    size: u16,
    digest: [u8; MAX_DIGEST_LEN],
}

/// The parameters of enabling, `struct fsverity_enable_arg`.
#[repr(C)]
struct EnableArg {
    version: u32,
    algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved1: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// The parameters of reading metadata, `struct fsverity_read_metadata_arg`.
#[repr(C)]
struct ReadMetadataArg {
    kind: u64,
    offset: u64,
    length: u64,
    buffer: u64,
    reserved: u64,
}

const FS_IOC_ENABLE_VERITY: Opcode = opcode::write::<EnableArg>(b'f', 133);
const FS_IOC_MEASURE_VERITY: Opcode = opcode::read_write::<DigestHeader>(b'f', 134);
const FS_IOC_READ_VERITY_METADATA: Opcode = opcode::read_write::<ReadMetadataArg>(b'f', 135);

/// The signature as a kind of metadata (`FS_VERITY_METADATA_TYPE_SIGNATURE`).
const METADATA_SIGNATURE: u64 = 3;

/// The longest signature that the kernel stores (`FS_VERITY_MAX_SIGNATURE_SIZE`).
pub const SIGNATURE_MAX: usize = 16128;

/// A file of the kernel that exists if it verifies the signatures of files (`CONFIG_FS_VERITY_BUILTIN_SIGNATURES`).
const REQUIRE_SIGNATURES: &str = "/proc/sys/fs/verity/require_signatures";

/// The digest the kernel holds for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The kernel's number of the hash algorithm (`FS_VERITY_HASH_ALG_*`).
    pub algorithm: u16,
    /// The digest, as long as the algorithm makes it.
    pub digest: Vec<u8>,
}

/// The kernel's answer about the fs-verity of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// fs-verity is on: every read is checked against this digest.
    Digest(Measured),
    /// The file system has fs-verity, this file does not use it (`ENODATA`).
    NotEnabled,
    /// The file system, or this instance of it, has no fs-verity (`ENOTTY`, `EOPNOTSUPP`), or the kernel does not
    /// check reads against the digest: FUSE.
    Unsupported,
    /// Something refused the request before the file system saw it: a sandbox such as a seccomp filter or SELinux, or
    /// FUSE before Linux 6.0 (`EPERM`, `EACCES`, `EINVAL`, `ENOSYS`). [`is_enabled`] still tells whether the file has
    /// fs-verity, but not the digest.
    Refused(Errno),
}

/// Asks the kernel for the fs-verity digest of an open file (`FS_IOC_MEASURE_VERITY`).
///
/// Nothing is read or hashed: the digest is the one that the kernel checks reads against. Since Linux 6.10 FUSE hands
/// the request on to its server, which can answer anything, and nothing checks what the server returns to later reads.
/// So an answer counts only if `statx` says that the file has fs-verity (`STATX_ATTR_VERITY`).
///
/// # Errors
///
/// What `ioctl` gives, other than the numbers that [`Measurement`] stands for.
pub fn measure(file: impl AsFd) -> io::Result<Measurement> {
    let mut arg = DigestArg { algorithm: 0, size: MAX_DIGEST_LEN as u16, digest: [0; MAX_DIGEST_LEN] };
    // SAFETY: the request takes a pointer to `struct fsverity_digest`, whose layout `DigestArg` has, and writes at most
    // `size` bytes after the header; `size` is the number of bytes there. Any bytes are a valid `DigestArg`.
    let answer = unsafe { ioctl(&file, Updater::<FS_IOC_MEASURE_VERITY, DigestArg>::new(&mut arg)) };
    match answer {
        Ok(()) => {
            let digest = arg.digest.get(..usize::from(arg.size)).ok_or(io::ErrorKind::InvalidData)?.to_vec();
            if !is_checked_by_the_kernel(&file)? {
                return Ok(Measurement::Unsupported);
            }
            Ok(Measurement::Digest(Measured { algorithm: arg.algorithm, digest }))
        }
        Err(Errno::NODATA) if is_on_fuse(&file) => Ok(Measurement::Unsupported),
        Err(Errno::NODATA) => Ok(Measurement::NotEnabled),
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(Measurement::Unsupported),
        Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NOSYS)) => Ok(Measurement::Refused(errno)),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns true if a file has fs-verity, with any digest, without a request that a sandbox could refuse.
///
/// # Errors
///
/// What `statx` gives.
pub fn is_enabled(file: impl AsFd) -> io::Result<bool> {
    is_checked_by_the_kernel(&file)
}

/// Returns the probable cause of a refused request of fs-verity, for a message; `None` for an error number that
/// explains itself.
#[must_use]
pub fn refusal_cause(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::PERM => Some(
            "a sandbox (seccomp) refuses the request, or the kernel demands signatures \
             (sysctl fs.verity.require_signatures)",
        ),
        Errno::ACCESS => Some("the permissions of the file or a security module such as SELinux refuse the request"),
        Errno::INVAL => Some("a sandbox refuses the request, or the file system cannot use blocks of 4096 bytes"),
        Errno::NOSYS => Some("a sandbox (seccomp), or FUSE before Linux 6.0, does not know the request"),
        _ => None,
    }
}

/// Returns true if the kernel checks reads of the file against its fs-verity digest: `statx` returns
/// `STATX_ATTR_VERITY`, which ext4, f2fs and btrfs set and a FUSE server cannot set.
fn is_checked_by_the_kernel(file: &impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    // Not `stx_attributes_mask`: btrfs of Linux 6.12 sets the attribute and omits it from the mask. FUSE sets none of
    // the attributes from its server's answer (`fuse_fill_attr` in `fs/fuse/dir.c`), so this one call is enough.
    Ok(stat.stx_attributes.contains(StatxAttributes::VERITY))
}

/// Returns true if the file is on a FUSE server (including virtiofs). Where `statfs` fails, which a server can cause,
/// the file counts as being on one.
fn is_on_fuse(file: &impl AsFd) -> bool {
    FsMagic::of(file).map_or(true, |magic| magic == FsMagic::FUSE)
}

/// The state in which [`enable`] left the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enabled {
    /// fs-verity is on since this call.
    Now,
    /// fs-verity was enabled before (`EEXIST`), with parameters that were not compared: [`measure`] returns the digest.
    Before,
    /// The file system, or this instance of it, has no fs-verity (`ENOTTY`, `EOPNOTSUPP`), or it is FUSE, whose server
    /// would be asked ([`measure`]).
    Unsupported,
}

/// Switches fs-verity on for a file, without salt and without a signature (`FS_IOC_ENABLE_VERITY`).
///
/// `file` is open for reading only, and no process has the file open for writing. The kernel reads it whole and builds
/// the Merkle tree; from then on the file cannot be written.
///
/// # Errors
///
/// What `ioctl` gives: `ETXTBSY` if the file is open for writing, `EINVAL` for a block size the file system cannot
/// use, `ENOPKG` for an algorithm this kernel does not know, `EROFS`, `EPERM`, `EACCES`.
pub fn enable(file: impl AsFd, algorithm: u8, block_size: u32) -> io::Result<Enabled> {
    enable_signed(file, algorithm, block_size, &[])
}

/// Does the same with a signature, which the kernel stores and verifies now and whenever it opens the file anew: PKCS#7
/// in DER, detached, of the digest as `struct fsverity_formatted_digest`. A kernel without
/// `CONFIG_FS_VERITY_BUILTIN_SIGNATURES` stores any bytes: see [`verifies_signatures`].
///
/// # Errors
///
/// As [`enable`], and `ENOKEY` if the key is not in the keyring `.fs-verity`, `EKEYREJECTED` and `EBADMSG` if the
/// signature is wrong, `EMSGSIZE` if it is longer than [`SIGNATURE_MAX`].
pub fn enable_signed(file: impl AsFd, algorithm: u8, block_size: u32, signature: &[u8]) -> io::Result<Enabled> {
    if is_on_fuse(&file) {
        return Ok(Enabled::Unsupported);
    }
    let signature_size = u32::try_from(signature.len()).map_err(|_| Errno::MSGSIZE)?;
    let arg = EnableArg {
        version: 1,
        algorithm: algorithm.into(),
        block_size,
        salt_size: 0,
        salt: 0,
        signature_size,
        reserved1: 0,
        signature: if signature.is_empty() { 0 } else { signature.as_ptr().expose_provenance() as u64 },
        reserved2: [0; 11],
    };
    // SAFETY: the request takes a pointer to `struct fsverity_enable_arg`, whose layout `EnableArg` has, and only reads
    // it; of the pointers inside, the salt is null with the length zero, and the signature is null with the length
    // zero or the start of `signature` with its length, which lives until the call returns.
    match unsafe { ioctl(file, Setter::<FS_IOC_ENABLE_VERITY, EnableArg>::new(arg)) } {
        Ok(()) => Ok(Enabled::Now),
        Err(Errno::EXIST) => Ok(Enabled::Before),
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(Enabled::Unsupported),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns the signature that is stored with a file (`FS_IOC_READ_VERITY_METADATA`, Linux 5.12); `None` without one, or
/// without fs-verity that the kernel checks. The kernel has verified it, if [`verifies_signatures`].
///
/// # Errors
///
/// What `ioctl` and `statx` give.
pub fn read_signature(file: impl AsFd) -> io::Result<Option<Vec<u8>>> {
    if !is_checked_by_the_kernel(&file)? {
        return Ok(None);
    }
    let mut bytes = vec![0; SIGNATURE_MAX];
    let mut arg = ReadMetadataArg {
        kind: METADATA_SIGNATURE,
        offset: 0,
        length: bytes.len() as u64,
        buffer: bytes.as_mut_ptr().expose_provenance() as u64,
        reserved: 0,
    };
    // SAFETY: the request takes a pointer to `struct fsverity_read_metadata_arg`, whose layout `ReadMetadataArg` has,
    // and writes at most `length` bytes at `buffer`, which is the start of as many bytes.
    let read = unsafe { ioctl(&file, CountedUpdater(&mut arg)) };
    match read {
        Ok(read) => {
            bytes.truncate(read);
            Ok(Some(bytes))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The request to read metadata, whose result is the number of bytes.
struct CountedUpdater<'a>(&'a mut ReadMetadataArg);

// SAFETY: the number of the request belongs to the struct that the pointer leads to, which the kernel reads; its
// result is a number of bytes.
unsafe impl Ioctl for CountedUpdater<'_> {
    type Output = usize;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        FS_IOC_READ_VERITY_METADATA
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<usize> {
        usize::try_from(output).map_err(|_| Errno::RANGE)
    }
}

/// Returns true if this kernel verifies the signatures of files. Without /proc the answer is no.
#[must_use]
pub fn verifies_signatures() -> bool {
    Path::new(REQUIRE_SIGNATURES).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_are_the_kernels() {
        // As `strace` and the kernel's headers spell them on x86-64, arm64 and riscv64.
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")) {
            assert_eq!(FS_IOC_ENABLE_VERITY, 0x4080_6685);
            assert_eq!(FS_IOC_MEASURE_VERITY, 0xc004_6686);
            assert_eq!(FS_IOC_READ_VERITY_METADATA, 0xc028_6687);
        }
        assert_eq!(size_of::<EnableArg>(), 128);
        assert_eq!(size_of::<DigestArg>(), 68);
    }

    #[test]
    fn a_file_without_verity_is_no_error() {
        // /proc has no fs-verity anywhere.
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(measure(&file).unwrap(), Measurement::Unsupported);
        assert_eq!(enable(&file, 1, 4096).unwrap(), Enabled::Unsupported);
        assert_eq!(read_signature(&file).unwrap(), None);
    }
}
