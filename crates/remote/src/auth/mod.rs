//! Authorization: challenges of registries, and the tokens that answer them.

mod challenge;
mod token;

pub(crate) use challenge::{Challenge, choose};
pub(crate) use token::{Token, TokenRequest, basic};

#[cfg(feature = "fuzzing")]
pub(crate) use challenge::parse as parse_challenges;
