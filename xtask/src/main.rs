//! The project's own tasks: `cargo xtask demo|test|tidy|...`.
fn main() {}
