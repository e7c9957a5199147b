//! The `composefs` program.
fn main() {}
