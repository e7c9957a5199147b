//! Tree generators, the golden corpus and scratch places for the tests.

pub mod golden;
pub mod model;
pub mod program;
pub mod random;
pub mod say;
pub mod skip;
