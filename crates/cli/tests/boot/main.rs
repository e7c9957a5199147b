//! `composefs boot` with a directory as the EFI system partition: what is written, in which order the entries are, and
//! every refusal beside what is accepted. Boots of such entries are in the suites for guests.

mod entries;
mod install;
mod mounted;
mod place;
mod refusals;
