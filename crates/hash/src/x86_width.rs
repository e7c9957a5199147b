//! Whether a CPU with AVX-512 computes 512 bits at once.
//!
//! AMD's first ones (Zen 4, and small ones of Zen 5) take each instruction in two halves: there the SHA unit is faster.

use std::arch::x86_64::{__cpuid, CpuidResult};

/// The family of the first AMD CPUs that may be wide enough (Zen 5).
const ZEN_5: u32 = 0x1a;

pub(crate) fn is_full() -> bool {
    let vendor = __cpuid(0);
    let is_amd = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD";
    let has = |leaf: u32| __cpuid(0x8000_0000).eax >= leaf;
    // Performance optimization identifiers (AMD64 Architecture Programmer's Manual, volume 3, appendix E).
    let optimization = if has(0x8000_001a) { __cpuid(0x8000_001a).eax } else { 0 };
    !is_amd || is_full_of_amd(__cpuid(1), optimization)
}

fn is_full_of_amd(signature: CpuidResult, optimization: u32) -> bool {
    let family = (signature.eax >> 8 & 0xf) + (signature.eax >> 20 & 0xff);
    let is_guest = signature.ecx >> 31 != 0;
    // FP512; hypervisors leave it out.
    family >= ZEN_5 && (is_guest || optimization & 1 << 3 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zen_4_is_not_and_zen_5_is() {
        let signature = |eax, ecx| CpuidResult { eax, ebx: 0, ecx, edx: 0 };
        assert!(!is_full_of_amd(signature(0x00a1_0f11, 0), 0b1111), "EPYC 9004");
        assert!(!is_full_of_amd(signature(0x00a1_0f11, 1 << 31), 0), "EPYC 9004, a guest");
        assert!(is_full_of_amd(signature(0x00b0_0f21, 0), 0b1000), "EPYC 9005");
        assert!(is_full_of_amd(signature(0x00b0_0f21, 1 << 31), 0b0010), "EPYC 9005, a guest");
        assert!(!is_full_of_amd(signature(0x00b2_0f40, 0), 0b0110), "Ryzen AI 300");
    }
}
