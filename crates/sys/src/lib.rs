//! What composefs asks of the kernel: fs-verity, mounts, loop devices, temporary files.
