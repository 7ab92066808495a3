//! Signed heads of the chain: what makes taking off its end visible.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hex;
use crate::atomic;

/// A head of the chain, signed by this host: `jit-events+jwt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of the last event it covers.
    pub seq: u64,
    /// SHA-256 of that event's line, in hexadecimal; every line holds that of the line before.
    pub head: String,
    /// The signed form.
    pub token: String,
}

/// Signs a head of the chain: number and SHA-256 in hexadecimal to `jit-events+jwt`. None before enrolment.
pub type Signer = Arc<dyn Fn(u64, &str) -> Option<String> + Send + Sync>;

/// The last checkpoint, beside the segments.
pub(super) const FILE: &str = "checkpoint.json";

/// A checkpoint over the chain up to line `seq`, whose SHA-256 is `head`. None before enrolment.
pub(super) fn sign(signer: Option<&Signer>, seq: u64, head: &[u8; 32]) -> Option<Checkpoint> {
    let head = hex(head);
    let token = signer.and_then(|sign| sign(seq, &head))?;
    Some(Checkpoint { seq, head, token })
}

/// Puts the checkpoint at `path`, once all that it covers is synced.
pub(super) fn store(path: &Path, checkpoint: Option<&Checkpoint>) -> io::Result<()> {
    match checkpoint {
        Some(checkpoint) => atomic::write(path, &serde_json::to_vec(checkpoint)?),
        None => Ok(()),
    }
}

pub(super) fn stored(directory: &Path) -> Option<Checkpoint> {
    let text = atomic::read(&directory.join(FILE), 16 * 1024).ok()?;
    serde_json::from_slice(&text).ok()
}
