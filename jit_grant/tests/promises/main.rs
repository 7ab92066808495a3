//! What jit_grant promises, tried through its public face.
#![allow(
    clippy::unwrap_used,
    reason = "tests: a failed unwrap is a failed test"
)]

mod codes;
mod decisions;
mod documents;
mod fixtures;
mod groups;
mod idle;
mod keys;
mod laws;
mod messages;
mod rotations;
mod single_use;
mod tokens;
