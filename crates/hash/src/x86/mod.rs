//! Kernels for x86-64: the SHA unit, the SHA unit with AVX, and AVX-512.

pub(crate) mod avx512_sha256;
pub(crate) mod avx512_sha512;
pub(crate) mod sha_ni;
pub(crate) mod sha_ni_avx;
