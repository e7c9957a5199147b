//! `composefs ls`, `stat`, `cat`, `find` and `du` as their users call them.

#[path = "../support/mod.rs"]
mod support;

mod contents;
mod fixture;
mod mounted;
mod sizes;
mod text_output;
