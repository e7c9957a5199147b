//! Tree generators, the golden corpus and scratch places for the tests.

pub mod cfsctl;
pub mod efi;
pub mod fuse;
pub mod golden;
pub mod model;
pub mod numbers;
pub mod oci;
pub mod privilege;
pub mod program;
pub mod random;
pub mod registry;
pub mod registry_proxy;
pub mod scratch;
pub mod skip;
pub mod slow_link;
pub mod stats;
pub mod terminal;
