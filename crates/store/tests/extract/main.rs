//! Trees as files again: all of them as they were, and nothing beyond the target whatever is in it.

mod contents;
mod deep;
mod limits;
mod mutations;
mod place;
mod random;
mod traps;
