//! The exported functions: they check what comes from C and turn it into references, and turn errors into error
//! numbers.
//!
//! A null pointer where the C library expects none is `EINVAL`. No panic crosses the boundary: it becomes `EIO`.
#![allow(unsafe_code)]

mod attributes;
mod content;
mod load;
mod mount;
mod refcount;
mod tree;
mod verity;
mod write;
mod xattrs;

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use rustix::io::Errno;

use crate::node::Node;

/// Runs the body of a function. An error is stored in `errno`, and the function returns `failed`.
fn guarded<T>(failed: T, body: impl FnOnce() -> Result<T, Errno>) -> T {
    let errno = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(errno)) => errno,
        Err(_) => Errno::IO,
    };
    set_errno(errno);
    failed
}

/// The same for the functions that return 0 or -1.
fn status(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    guarded(-1, || body().map(|()| 0))
}

/// The same for the functions that return 0 or the negated error number.
fn negated(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    let mut answer = 0;
    guarded((), || body().inspect_err(|errno| answer = -errno.raw_os_error()));
    answer
}

fn set_errno(errno: Errno) {
    // SAFETY: the C library gives the address of this thread's `errno`.
    unsafe { *libc::__errno_location() = errno.raw_os_error() };
}

fn errno() -> Errno {
    // SAFETY: as above.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Returns an owner of the node to which a pointer of the caller points.
///
/// # Safety
///
/// The pointer is null or one that this library gave out, to a node that still lives.
unsafe fn node(pointer: *const Node) -> Result<Rc<Node>, Errno> {
    if pointer.is_null() {
        return Err(Errno::INVAL);
    }
    // SAFETY: every node is made by `Rc` and given out by `Rc::as_ptr` or `Rc::into_raw`.
    unsafe {
        Rc::increment_strong_count(pointer);
        Ok(Rc::from_raw(pointer))
    }
}

/// Gives the caller a reference, which one `lcfs_node_unref` gives back.
fn hand_out(node: Rc<Node>) -> *mut Node {
    let handles = node.handles.get();
    node.handles.set(handles + 1);
    // All references of the caller together are one owner.
    if handles == 0 { Rc::into_raw(node).cast_mut() } else { Rc::as_ptr(&node).cast_mut() }
}

/// A pointer for a caller who gets no reference.
fn lend(node: Option<Rc<Node>>) -> *mut Node {
    node.map_or(std::ptr::null_mut(), |node| Rc::as_ptr(&node).cast_mut())
}

/// Takes a reference of the caller's back. One too many changes nothing: what is part of a tree stays.
fn take_back(node: &Rc<Node>) {
    match node.handles.get() {
        0 => {}
        handles => {
            node.handles.set(handles - 1);
            if handles == 1 {
                // SAFETY: the owner that `hand_out` let go of; `node` itself is another one.
                unsafe { Rc::decrement_strong_count(Rc::as_ptr(node)) };
            }
        }
    }
}

/// A string of the caller's.
///
/// # Safety
///
/// The pointer is null or to a string that ends with a NUL and stays as it is during the call.
unsafe fn text<'a>(pointer: *const c_char) -> Result<&'a CStr, Errno> {
    if pointer.is_null() {
        return Err(Errno::INVAL);
    }
    // SAFETY: what the caller promises.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

/// Bytes of the caller's.
///
/// # Safety
///
/// The pointer is null or to `len` bytes that stay as they are during the call.
unsafe fn bytes<'a>(pointer: *const u8, len: usize) -> Result<&'a [u8], Errno> {
    match (pointer.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Errno::INVAL),
        // No object is larger than this.
        (false, len) if len > isize::MAX.cast_unsigned() => Err(Errno::INVAL),
        // SAFETY: what the caller promises.
        (false, len) => Ok(unsafe { std::slice::from_raw_parts(pointer, len) }),
    }
}

/// A descriptor of the caller's, `AT_FDCWD` among them.
///
/// # Safety
///
/// It stays open during the call.
unsafe fn fd<'a>(fd: c_int) -> Result<BorrowedFd<'a>, Errno> {
    if fd < 0 && fd != libc::AT_FDCWD {
        return Err(Errno::BADF);
    }
    // SAFETY: it is not -1, and open as the caller promises.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Writes a digest to the caller's 32 bytes.
///
/// # Safety
///
/// The pointer is null or to 32 bytes that can be written.
unsafe fn put_digest(to: *mut u8, digest: &[u8; 32]) -> Result<(), Errno> {
    if to.is_null() {
        return Err(Errno::INVAL);
    }
    // SAFETY: what the caller promises.
    unsafe { std::ptr::copy_nonoverlapping(digest.as_ptr(), to, digest.len()) };
    Ok(())
}

/// A callback of the caller's that reads or writes.
type Callback = unsafe extern "C" fn(*mut libc::c_void, *mut libc::c_void, usize) -> isize;
