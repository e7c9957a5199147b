//! Ways to run code, and whether they succeed under the policy of an image. `docs/guides/ipe.md` has the same table.

/// Each way, and what it does with the policy: it `ran`, or was `stopped`.
pub(super) const WAYS: &[(&str, &str)] = &[
    ("program-of-the-image", "ran"),
    ("dynamic-program-of-the-image", "ran"),
    ("script-of-the-image", "ran"),
    ("program-by-its-object", "ran"),
    ("program-by-ld.so-of-the-image", "ran"),
    ("copy-with-the-same-fs-verity-digest", "ran"),
    ("mapping-of-a-program-of-the-image", "ran"),
    ("program-of-the-initramfs", "ran"),
    // The kernel sees the files of a FUSE server, which have no fs-verity.
    ("program-through-the-FUSE-mount", "stopped"),
    ("copied-program", "stopped"),
    ("hard-link-of-a-copy", "stopped"),
    ("symlink-to-a-copy", "stopped"),
    ("renamed-copy", "stopped"),
    ("bind-mount-of-a-copy", "stopped"),
    ("copy-on-tmpfs", "stopped"),
    ("copy-on-another-file-system", "stopped"),
    ("copy-in-a-memfd", "stopped"),
    ("copy-in-an-unnamed-file", "stopped"),
    ("deleted-copy", "stopped"),
    ("copy-with-SHA-512-fs-verity", "stopped"),
    ("changed-program-with-fs-verity", "stopped"),
    ("program-of-another-image", "stopped"),
    ("object-of-another-image", "stopped"),
    ("program-changed-in-an-overlay", "stopped"),
    ("copied-program-by-ld.so-of-the-image", "stopped"),
    ("copied-library-by-library-path", "stopped"),
    ("script-with-an-interpreter-of-the-image", "stopped"),
    ("mapping-of-a-copy", "stopped"),
    ("mprotect-of-a-mapping-of-a-copy", "stopped"),
    ("mapping-by-READ_IMPLIES_EXEC", "stopped"),
    ("anonymous-executable-memory", "stopped"),
    ("mprotect-of-anonymous-memory", "stopped"),
    // What an interpreter reads is data for the kernel.
    ("script-as-argument-of-a-program-of-the-image", "ran"),
    ("script-read-by-a-shell-of-the-image", "ran"),
];

/// What follows: changes of the policy, each with when it was tried, and programs under the policy of the other image
/// or none.
pub(super) const AFTERWARDS: &[(&str, &str, &str)] = &[
    ("unsigned-policy", "with", "stopped"),
    ("policy-of-another-key", "with", "stopped"),
    ("older-policy", "with", "stopped"),
    ("newer-policy", "with", "ran"),
    ("program-of-the-image", "updated", "stopped"),
    ("program-of-another-image", "updated", "ran"),
    // Root with CAP_MAC_ADMIN turns the enforcement off.
    ("copied-program", "off", "ran"),
];
