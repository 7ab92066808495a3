//! What can go wrong, in words: what happened, why, what to do next. And the exit code that says it to scripts.

use std::path::PathBuf;

use jit_local::client::ClientError;

use crate::gate::GateError;
use crate::words::Times;

/// How the program ends. The contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done, or so.
    Done = 0,
    /// It failed, or something is wrong.
    Failed = 1,
    /// It was typed wrongly. clap exits with the same number.
    Usage = 2,
    /// Somebody or a rule said no.
    Refused = 3,
    /// Nobody answered in time.
    TimedOut = 4,
    /// Asked, and not decided yet.
    Pending = 5,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Gating failed or was refused.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Only root may.
    #[error("{0} is root's to do")]
    NotRoot(&'static str),
    /// jitd gave no good answer.
    #[error("jitd did not answer: {0}")]
    Daemon(#[source] ClientError),
    /// jitd said no.
    #[error("jitd refused: {0}")]
    DaemonRefused(String),
    /// No connection to the server.
    #[error("cannot reach jit-server at {server}: {why}")]
    ServerAway {
        /// Its address.
        server: String,
        /// Why.
        why: String,
    },
    /// The server took too long.
    #[error("jit-server at {server} did not answer in time")]
    ServerSlow {
        /// Its address.
        server: String,
    },
    /// What came from the server is not what the API says.
    #[error("the answer of jit-server at {server} makes no sense: {why}")]
    ServerNonsense {
        /// Its address.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server answered with a problem.
    #[error("{detail}")]
    Problem {
        /// HTTP status.
        status: u16,
        /// In its words.
        detail: String,
        /// Its code, where it gave one.
        code: Option<String>,
    },
    /// A request came to an end without an approval.
    #[error("request {id} was {state}{}", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotApproved {
        /// The request.
        id: String,
        /// `denied`, `withdrawn` or `lapsed`.
        state: String,
        /// What was said about it.
        why: Option<String>,
    },
    /// Waiting was broken off.
    #[error("request {0} is still pending")]
    StillPending(String),
    /// A file of ours is not as it should be.
    #[error("cannot {verb} {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        why: String,
    },
    /// Enforcing now would lock people out.
    #[error("not enforcing: {problem}")]
    NotReady {
        /// What is missing.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Something in the way that has a remedy of its own.
    #[error("{problem}")]
    Other {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// How to end.
        exit: Exit,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>, verb: &'static str, why: impl ToString) -> Self {
        Self::File {
            path: path.into(),
            verb,
            why: why.to_string(),
        }
    }

    /// The same, with times in the form that people are shown everywhere.
    pub(crate) fn localized(mut self, times: &Times) -> Self {
        if let Self::Problem { detail, .. } = &mut self {
            *detail = times.localized(detail);
        }
        self
    }

    /// The exit code that says it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Gate(GateError::Name(_)) => Exit::Usage,
            Self::Gate(
                GateError::File { .. } | GateError::Changed { .. } | GateError::Missing(_),
            ) => Exit::Failed,
            Self::Gate(_) | Self::NotRoot(_) | Self::DaemonRefused(_) | Self::NotReady { .. } => {
                Exit::Refused
            }
            Self::Daemon(ClientError::TimedOut(_)) | Self::ServerSlow { .. } => Exit::TimedOut,
            Self::Problem {
                status: 401 | 403 | 409 | 422 | 429,
                ..
            } => Exit::Refused,
            Self::NotApproved { state, .. } if state == "lapsed" => Exit::TimedOut,
            Self::NotApproved { .. } => Exit::Refused,
            Self::StillPending(_) => Exit::Pending,
            Self::Other { exit, .. } => *exit,
            Self::Daemon(_)
            | Self::ServerAway { .. }
            | Self::ServerNonsense { .. }
            | Self::Problem { .. }
            | Self::File { .. } => Exit::Failed,
        }
    }

    /// What to do next, where there is something.
    pub(crate) fn next(&self) -> Option<String> {
        let next = match self {
            Self::Gate(error) => error.next(),
            Self::NotRoot(_) => "run it with sudo, or on the console as root".to_owned(),
            Self::Daemon(_) => {
                "systemctl status jitd jitd-ctl.socket; journalctl -u jitd says why".to_owned()
            }
            Self::ServerAway { server, .. } if server.starts_with("https://") => {
                "see who answers there, that what is pinned (--ca) is the server's own /etc/jit-server/ca.crt, and that this host's clock is right".to_owned()
            }
            Self::ServerAway { .. } => {
                "systemctl status jit-server where it runs; JIT_SERVER names another one".to_owned()
            }
            Self::ServerSlow { .. } => {
                "try again; journalctl -u jit-server where it runs".to_owned()
            }
            Self::ServerNonsense { .. } => {
                "bring jitctl and jit-server to matching versions".to_owned()
            }
            Self::Problem {
                code: Some(code), ..
            } if code.starts_with("JIT-") => format!("jitctl explain {code}"),
            Self::Problem {
                status: 401,
                code: Some(code),
                ..
            } if code == "bad-token" => "jitctl login --server URL --ca FILE, with a new token".to_owned(),
            Self::NotApproved { id, .. } | Self::StillPending(id) => format!("jitctl show {id}"),
            Self::NotReady { remedy, .. } | Self::Other { remedy, .. } => remedy.clone(),
            Self::DaemonRefused(_) | Self::Problem { .. } | Self::File { .. } => return None,
        };
        Some(next)
    }
}
