//! `composefs ls`, `stat`, `cat`, `find` and `du` as their users call them.

#[path = "../support/mod.rs"]
mod support;

mod contents;
mod mounted;
mod place;
mod said;
mod sizes;
