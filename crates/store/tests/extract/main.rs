//! Extracting trees: every file is restored, and nothing outside of the target is touched, whatever is in it.

mod contents;
mod deep;
mod limits;
mod mutations;
mod place;
mod random;
mod traps;
