//! `composefs ls`, `stat`, `cat`, `find` and `du` from the command line.

#[path = "../support/mod.rs"]
mod support;

mod contents;
mod fixture;
mod mounted;
mod sizes;
mod text_output;
