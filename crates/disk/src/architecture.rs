//! The processors that a disk can be for.

use std::fmt;
use std::str::FromStr;

use gpt::partition_types::{LINUX_ROOT_ARM_64, LINUX_ROOT_X64, Type};

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// Returns the processor of this program: 64-bit x86 if it is another one.
    #[must_use]
    pub fn of_this_program() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// Returns the name, as Rust and `uname -m` have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Returns the name of the file that firmware starts when nothing else is configured.
    #[must_use]
    pub fn boot_file(self) -> &'static str {
        match self {
            Self::X86_64 => "BOOTX64.EFI",
            Self::Aarch64 => "BOOTAA64.EFI",
        }
    }

    /// Returns the processor with this number in the header of an EFI program.
    pub(crate) fn from_machine(number: u16) -> Option<Self> {
        match number {
            0x8664 => Some(Self::X86_64),
            0xaa64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Returns the type of the root partition (the Discoverable Partitions Specification).
    pub(crate) fn root_type(self) -> Type {
        match self {
            Self::X86_64 => LINUX_ROOT_X64,
            Self::Aarch64 => LINUX_ROOT_ARM_64,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| format!("{text:?} is neither x86_64 nor aarch64"))
    }
}
