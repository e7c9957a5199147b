//! The check: what is sound is called sound, and every defect is found.

#[path = "../reader/forge.rs"]
#[allow(dead_code)]
mod forge;
mod forged;
mod sound;
