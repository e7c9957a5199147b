//! Tree generators, the golden corpus and scratch places for the tests.

mod skip;

pub use skip::skip;
