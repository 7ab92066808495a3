//! Why gating was refused, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use jit_gate::TextError;

/// Why the files in `/etc/pam.d` stay, or stayed, as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    /// Not a service's name.
    #[error(
        "{0:?} is no PAM service name (letters, digits, . _ -, beginning with a letter or digit)"
    )]
    Name(String),
    /// No such file.
    #[error(
        "there is no PAM service {0} on this host: neither /etc/pam.d/{0} nor /usr/lib/pam.d/{0} exists"
    )]
    Missing(String),
    /// `other` stands for every service without a file.
    #[error("{0} is what libpam falls back to for every service without a file of its own")]
    Fallback(String),
    /// Others include it, so that gating it would gate those too.
    #[error("{service} is included by {}: gating it would gate those too", by.join(", "))]
    Shared {
        /// What was to be gated.
        service: String,
        /// What includes it.
        by: Vec<String>,
    },
    /// It takes its lines from another.
    #[error("{service} takes its lines from {head}")]
    Follows {
        /// What was to be gated.
        service: String,
        /// What it includes.
        head: String,
    },
    /// Gating it would run our lines twice in `includer`.
    #[error("{includer} is gated and includes {service}: it would be asked twice")]
    Twice {
        /// What was to be gated.
        service: String,
        /// What includes it and is gated already.
        includer: String,
    },
    /// A line could skip ours.
    #[error("{service} would be gated in part only: {why}")]
    Leaky {
        /// What would not be covered.
        service: String,
        /// The line, or what is missing.
        why: String,
    },
    /// Not gated.
    #[error("{0} is not gated")]
    NotGated(String),
    /// Nothing is gated.
    #[error("no service is gated on this host")]
    NothingGated,
    /// jitd could only refuse it.
    #[error("not enforcing: {0} stands for no action, so that jitd would refuse it to everybody")]
    NoAction(String),
    /// The file's text does not allow it.
    #[error("/etc/pam.d/{service}: {why}")]
    Text {
        /// The service.
        service: String,
        /// Why.
        why: TextError,
    },
    /// The file is not one that we may replace.
    #[error("{} {why}", path.display())]
    Unfit {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Somebody changed the file meanwhile.
    #[error("{} changed while it was being worked on", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl GateError {
    pub(super) fn file(path: &Path, verb: &'static str, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            verb,
            source,
        }
    }

    pub(super) fn unfit(path: &Path, why: &'static str) -> Self {
        Self::Unfit {
            path: path.to_owned(),
            why,
        }
    }

    /// What to do next.
    pub(crate) fn next(&self) -> String {
        match self {
            Self::Name(_) => "name a file of /etc/pam.d, such as sshd or sudo".to_owned(),
            Self::Missing(_) => "`ls /etc/pam.d` lists the services of this host".to_owned(),
            Self::Fallback(_) | Self::Shared { .. } => {
                "gate the services that people enter by, each by its name: sshd, sudo, su"
                    .to_owned()
            }
            Self::Follows { head, .. } => {
                format!("`jitctl gate {head}` covers it; `jitctl ungate {head}` lets go of both")
            }
            Self::Twice { includer, .. } => format!("`jitctl ungate {includer}` first"),
            Self::Leaky { service, .. } => format!(
                "move the line in /etc/pam.d/{service} to where it skips nothing, or gate the services one by one"
            ),
            Self::NotGated(service) => {
                format!("`jitctl gate {service}` first; it begins in monitor mode")
            }
            Self::NothingGated => {
                "`jitctl gate sshd sudo su` first; it begins in monitor mode".to_owned()
            }
            Self::NoAction(service) => format!(
                "give it one under [services] in /etc/jit/jitd.toml and restart jitd, or jitctl ungate {service}"
            ),
            Self::Text {
                why: TextError::Stray { .. },
                ..
            } => "take that line out by hand; jitctl writes its own".to_owned(),
            Self::Text {
                why: TextError::Continued,
                ..
            } => "end the file with a line of its own".to_owned(),
            Self::Unfit { .. } => {
                "make it a regular file of root that nobody else can write, then try again"
                    .to_owned()
            }
            Self::Changed { .. } => "try again".to_owned(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root".to_owned()
            }
            Self::File { .. } => {
                "put that right and run it again: it goes on where it stopped".to_owned()
            }
        }
    }
}
