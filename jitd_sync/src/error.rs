//! What can go wrong on an errand. Every errand is tried again, so each of these is a line in the log and nothing more.

use std::io;
use std::time::Duration;

use jit_local::client::ClientError;

/// Why an errand failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// jitd did not answer, or answered that it cannot.
    #[error("jitd: {0}")]
    Jitd(#[from] ClientError),
    /// The server's address is of a kind that this version cannot reach.
    #[error(
        "server address {0:?} cannot be reached: it has to be unix:/PATH; enrol this host again with jitctl enroll --server unix:/PATH"
    )]
    Address(String),
    /// The connection to the server could not be made, or broke.
    #[error("server: {0}")]
    Server(String),
    /// The server said nothing for that long.
    #[error("server: silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server refused.
    #[error("server: answered {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Beginning of its answer, control characters escaped.
        detail: String,
    },
    /// The server sent more than anything of this kind may have.
    #[error("server: sent more than {0} bytes at once")]
    TooLong(usize),
    /// The server sent what was not asked for.
    #[error("server: answer not understood: {0}")]
    Nonsense(String),
    /// The server closed the stream.
    #[error("server: closed the stream")]
    Closed,
    /// jitd did not believe what the server sent.
    #[error("jitd did not take the server's {what} ({code}); jitctl explain {code} says why")]
    NotTaken {
        /// `bundle` or `word`.
        what: &'static str,
        /// jitd's reason, JIT-2xx.
        code: String,
    },
    /// A bundle could not be put into a file of its own.
    #[error("cannot hold a bundle in memory: {0}")]
    Memory(#[from] io::Error),
    /// A call to jitd was dropped half-way, as happens while this process ends.
    #[error("a call to jitd was dropped: {0}")]
    Dropped(#[from] tokio::task::JoinError),
}

impl SyncError {
    /// The host's time may be behind the server's: its token is over for the server, or the server's bundle is from the future for it.
    /// A word tells it the time.
    pub(crate) fn may_be_for_the_time(&self) -> bool {
        matches!(
            self,
            Self::Refused { status: 401, .. } | Self::NotTaken { what: "bundle", .. }
        )
    }
}

impl From<reqwest::Error> for SyncError {
    fn from(error: reqwest::Error) -> Self {
        // reqwest names only the outermost layer; what a person can act on is the innermost.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Self::Server(cause.to_string())
    }
}
