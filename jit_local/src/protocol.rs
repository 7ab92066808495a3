//! The version of a message: `protocol` in its parameters. Absent, as before there was one, it is 1.
//!
//! A field that may be absent makes no new version. A version is for what a reader that does not know it would get wrong; such a reader takes
//! the message for none.

use serde::{Deserialize, Serialize};

use crate::frame::FrameError;

/// The version of all messages that are written, and the highest that is read.
const PROTOCOL: u64 = 1;

/// Parameters, and their version beside them.
#[derive(Serialize)]
pub(crate) struct Versioned<'a, P> {
    protocol: u64,
    #[serde(flatten)]
    parameters: &'a P,
}

impl<'a, P> Versioned<'a, P> {
    pub(crate) fn new(parameters: &'a P) -> Self {
        Self {
            protocol: PROTOCOL,
            parameters,
        }
    }
}

/// Refuses parameters of a version that came after this program.
pub(crate) fn check(parameters: &str) -> Result<(), FrameError> {
    #[derive(Deserialize)]
    struct Found {
        protocol: Option<u64>,
    }
    let found: Found = serde_json::from_str(parameters)?;
    match found.protocol {
        None | Some(1..=PROTOCOL) => Ok(()),
        Some(_) => Err(FrameError::Malformed(
            "a protocol of a later version than this program knows",
        )),
    }
}
