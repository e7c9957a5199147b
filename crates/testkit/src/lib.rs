//! Tree generators, the golden corpus and scratch places for the tests.

pub mod skip;
