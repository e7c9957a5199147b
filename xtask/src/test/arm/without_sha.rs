//! A start for programs on 64-bit ARM that hides the SHA instructions from them, as a CPU does that has none: every CPU
//! that QEMU knows has some.
//!
//! Programs learn of instructions by the word AT_HWCAP that the kernel leaves on their stack (`create_elf_tables`,
//! `fs/binfmt_elf.c`), behind arguments and environment. Here its bits are cleared before the program's own start.
#![no_std]

core::arch::global_asm!(
    ".global start_without_sha",
    "start_without_sha:",
    // The count of arguments, the arguments and a null.
    "ldr x1, [sp]",
    "add x1, sp, x1, lsl #3",
    "add x1, x1, #16",
    // The environment and a null.
    "1: ldr x2, [x1], #8",
    "cbnz x2, 1b",
    // Pairs of kind and value up to kind 0; AT_HWCAP is 16.
    "2: ldp x2, x3, [x1], #16",
    "cbz x2, 3f",
    "cmp x2, #16",
    "b.ne 2b",
    // SHA1, SHA2, SHA3, SHA512: bits 5, 6, 17, 21 (`arch/arm64/include/uapi/asm/hwcap.h`).
    "mov w4, #0x60",
    "movk w4, #0x22, lsl #16",
    "bic x3, x3, x4",
    "str x3, [x1, #-8]",
    "b 2b",
    "3: b _start",
);
