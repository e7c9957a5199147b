//! Signed statements about images, and the policy that decides which images are trusted.
//!
//! ```text
//! policy.toml --TrustPolicy::parse--> TrustPolicy --+
//! statement, signatures (Evidence) -------+--decide--> Acceptance or TrustRefusal
//! name, measured digest, time, floors ----+
//! ```
//!
//! A [`Statement`] says that a digest is the image of a name. It is signed as bytes, by `ssh-keygen -Y sign` with the
//! namespace [`NAMESPACE`]. A PKCS#7 signature of the digest alone, as the kernel verifies it, counts as one of a
//! statement for every name. [`decide`] is a pure function: it opens no file, asks no clock and measures nothing. The
//! digest that it is given must be the one that the kernel or this program measured of the open image file.
//!
//! Statements and signatures are untrusted, and so are policies until their file has been judged by the caller: sizes
//! and counts are bounded.
#![forbid(unsafe_code)]

mod commit;
mod commit_key;
mod commit_rule;
#[cfg(feature = "pkcs7")]
mod containers_policy;
#[cfg(feature = "pkcs7")]
mod cosign;
mod decision;
mod digest_text;
mod evidence;
mod floors;
mod name_pattern;
#[cfg(feature = "pkcs7")]
mod pkcs7;
#[cfg(not(feature = "pkcs7"))]
#[path = "without_pkcs7.rs"]
mod pkcs7;
mod policy;
#[cfg(feature = "pkcs7")]
mod signing_key;
mod ssh;
mod statement;

pub use commit::{CommitAcceptance, CommitRefusal};
pub use commit_key::CommitKey;
#[cfg(feature = "pkcs7")]
pub use containers_policy::{ImportedPolicy, import_containers_policy};
#[cfg(feature = "pkcs7")]
pub use cosign::{COSIGN_PAYLOAD, COSIGN_PAYLOAD_MAX, COSIGN_SIGNATURE, CosignKey, CosignPayload};
pub use decision::{Acceptance, Moment, Question, TrustRefusal, decide};
pub use evidence::{
    Evidence, NAMESPACE, SIGNATURE_MAX, SIGNATURES_MAX, STATEMENTS_MAX, SignatureError, digest_statement,
};
pub use floors::{Floors, FloorsError};
pub use name_pattern::{NamePattern, NamePatternError};
#[cfg(feature = "pkcs7")]
pub use pkcs7::pkcs7_pem;
pub use policy::{POLICY_MAX, TrustPolicy, TrustPolicyError};
pub use statement::{STATEMENT_MAX, Statement, StatementError};
