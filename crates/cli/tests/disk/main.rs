//! `composefs disk` as an ordinary program: other programs judge what it makes, and every refusal leaves nothing. The
//! boots of such a disk are in the suites for guests.

mod place;
mod refusals;
mod whole;
