//! What can go wrong on an errand. Every errand is tried again, so each of these is a line in the log and nothing more.

use std::error::Error;
use std::io;
use std::time::Duration;

use jit_local::client::ClientError;
use rustls::CertificateError;

/// jitd's code where its bundle is older than what the server's word names.
const NEWER_REVISION: &str = "JIT-212";

/// Why an errand failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// jitd did not answer, or answered that it cannot.
    #[error("jitd: {0}")]
    Jitd(#[from] ClientError),
    /// The server's address is of a kind that this version cannot reach.
    #[error(
        "server address {0:?} cannot be reached: it has to be unix:/PATH or https://HOST[:PORT]; enrol this host again with jitctl enroll"
    )]
    Address(String),
    /// Nobody could vouch for a server elsewhere.
    #[error(
        "no certificate authority is pinned for the server; enrol this host again with jitctl enroll --ca FILE"
    )]
    NothingPinned,
    /// Nothing was reached where the server should be.
    #[error("server: not reached: {0}")]
    Unreachable(String),
    /// Whoever answers there is not shown to be the server.
    #[error(
        "server: its certificate is refused: {0}; see who answers there, or enrol this host again with the right --ca"
    )]
    NotTrusted(String),
    /// The connection to the server broke.
    #[error("server: {0}")]
    Server(String),
    /// The server said nothing for that long.
    #[error("server: silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server sent the bytes of one event, each in time, but all of them too slowly.
    #[error("server: took longer than {} s for one event", .0.as_secs())]
    Slow(Duration),
    /// The server answers, but not by its stream.
    #[error(
        "server: its stream said nothing for {} s while another call was answered", .0.as_secs()
    )]
    HeldBack(Duration),
    /// The server should have waited for something newer.
    #[error("server: said at once that there is nothing newer")]
    DidNotWait,
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

impl SyncError {
    /// Nothing was reached, so trying again costs the server nothing and may be soon.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// People have to know of it where it stays so. It is not jitd that is away, no request to come back later, no word that came before
    /// its bundle, and no stream that ends or is held back while the server answers.
    pub(crate) fn keeps_the_server_away(&self) -> bool {
        match self {
            Self::Jitd(_)
            | Self::Refused { status: 429, .. }
            | Self::Closed
            | Self::HeldBack(_)
            | Self::DidNotWait => false,
            Self::NotTaken { code, .. } => code != NEWER_REVISION,
            _ => true,
        }
    }

    /// Another place of the server may do better.
    pub(crate) fn is_for_the_next(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::NotTrusted(_)
                | Self::Server(_)
                | Self::Silent(_)
                | Self::Slow(_)
                | Self::TooLong(_)
                | Self::Nonsense(_)
                // A balancer with no server behind it, say, or one that leads elsewhere.
                | Self::Refused { status: 300..=399 | 500.., .. }
        )
    }

    /// Somebody on the way who lets no streams through could be behind it. It is not that nobody was reached or trusted, that the server
    /// wants none of this host now, or what jitd says.
    pub(crate) fn may_be_for_streams_alone(&self) -> bool {
        match self {
            Self::Refused { status, .. } => !matches!(status, 401 | 429),
            Self::Server(_)
            | Self::Silent(_)
            | Self::Slow(_)
            | Self::HeldBack(_)
            | Self::TooLong(_)
            | Self::Nonsense(_)
            | Self::Closed => true,
            _ => false,
        }
    }

    /// Somebody on the way lets no call of this kind through, or the server is one of before, which does not know it.
    pub(crate) fn refuses_the_call_itself(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 403 | 404 | 405 | 501,
                ..
            }
        )
    }
}

/// Why a certificate was refused, in words that say what to look for.
fn refusal(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it comes from no authority that this host has pinned".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("{error} (or this host's clock is wrong)")
        }
        other => other.to_string(),
    }
}

/// The refusal of a certificate that lies at the bottom of an error.
fn certificate_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CertificateError> {
    if let Some(rustls::Error::InvalidCertificate(refused)) = error.downcast_ref() {
        return Some(refused);
    }
    // An error of input or output passes over what it was made from when asked for its source.
    let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => certificate_error(wrapped),
        None => certificate_error(error.source()?),
    }
}

impl From<reqwest::Error> for SyncError {
    fn from(error: reqwest::Error) -> Self {
        if let Some(refused) = certificate_error(&error) {
            return Self::NotTrusted(refusal(refused));
        }
        let unreachable = error.is_connect();
        // reqwest names only the outermost layer; what a person can act on is the innermost.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let cause = cause.to_string();
        if unreachable {
            Self::Unreachable(cause)
        } else {
            Self::Server(cause)
        }
    }
}
