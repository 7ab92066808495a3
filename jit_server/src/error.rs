//! Why jit-server does not do something.

use std::path::PathBuf;

use crate::store::StoreError;
use crate::workflow::WorkflowError;

/// Why something failed. What a person can do about it is said where there is something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The workflow's rules are against it.
    #[error(transparent)]
    Workflow(#[from] WorkflowError),
    /// It could not be kept, so it did not happen.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A user would lose a limit that the call says nothing of.
    #[error(
        "{user} has limits that this says nothing of and would take away: {limits}; say each as it is to be, or that there is none (`jit-server user add --replace`)"
    )]
    DropsLimits {
        /// Whose.
        user: jit_grant::Principal,
        /// Which, as the API calls them.
        limits: String,
    },
    /// The signing key.
    #[error("the signing key {path}: {why}")]
    SigningKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A document was not signed.
    #[error(transparent)]
    NotSigned(#[from] jit_grant::NotSigned),
    /// No random bytes, or no key.
    #[error(transparent)]
    Key(#[from] jit_grant::KeyError),
    /// A host is not known, or not any more.
    #[error("this host is not enrolled here, or was replaced; on that host run `jitctl enroll`")]
    UnknownHost,
    /// A key that is another host's already.
    #[error(
        "this key belongs to host {0} already; every host has a key of its own; was the machine cloned? then remove /var/lib/jit/host.key on the clone and enrol it again"
    )]
    KeyOfOtherHost(jit_grant::HostName),
    /// An enrolment token lets the host not in.
    #[error("{0}; make a token with `jit-server host token` on the server")]
    Enrolment(#[from] crate::enrolment::EnrolmentRefused),
    /// The host did not show that it has the key that it wants to be known by.
    #[error("the host does not prove that it has its key: {0}")]
    NotProved(String),
    /// There is no host of that name.
    #[error("there is no host {0}; `jit-server host list` shows which there are")]
    NoSuchHost(jit_grant::HostName),
    /// More users would be removed than an accident should be able to.
    #[error(
        "this removes {removals} of {users} users, which is more than half; nothing was changed. Is {} whole? Then add --allow-removals {removals}",
        crate::apply::USERS
    )]
    TooManyRemovals {
        /// Users that would go.
        removals: usize,
        /// Users there are.
        users: usize,
    },
    /// More enrolment tokens than may count at a time.
    #[error(
        "{0} enrolment tokens count already; `jit-server host token --list` shows them, --revoke ID ends one"
    )]
    TooManyTokens(usize),
    /// There is no such enrolment token, or it is over.
    #[error(
        "there is no enrolment token {0} that counts; `jit-server host token --list` shows which there are"
    )]
    NoSuchToken(jit_grant::TokenId),
    /// A user's token makes nobody known.
    #[error("{0}; root makes a token with `jit-server user token NAME` on the server")]
    UserToken(#[from] crate::user_token::UserTokenRefused),
    /// There is no user of that name.
    #[error("there is no user {0}; `jit-server user list` shows which there are")]
    NoSuchUser(jit_grant::Principal),
    /// A user who is locked gets no token.
    #[error("{0} is locked; `jitctl unlock {0}` first, and then make the token")]
    LockedUser(jit_grant::Principal),
    /// More tokens of one user than may count at a time.
    #[error(
        "{0} has as many tokens as may count at a time; `jit-server user token {0} --list` shows them, --revoke ID ends one"
    )]
    TooManyUserTokens(jit_grant::Principal),
    /// A user's token is not what he may have.
    #[error(transparent)]
    TokenNotMade(#[from] crate::user_token::NotMade),
    /// A token is not rotated.
    #[error(transparent)]
    TokenNotRotated(#[from] crate::user_token::NotRotated),
    /// A token is not for what is wanted by it.
    #[error(transparent)]
    OutOfScope(#[from] crate::scope::OutOfScope),
    /// A user has no such token, or it is over.
    #[error(
        "{user} has no token {token} that counts; `jit-server user token {user} --list` shows which there are"
    )]
    NoSuchUserToken {
        /// Whose.
        user: jit_grant::Principal,
        /// Which.
        token: jit_grant::UserTokenId,
    },
    /// Lines of a host's event chain that do not follow what is stored.
    #[error("the lines do not follow line {stored} of the chain: {why}")]
    Chain {
        /// The last line stored.
        stored: u64,
        /// What is wrong.
        why: String,
    },
    /// More of a host's event chain than the server keeps of one in so short a time.
    #[error(
        "this host has sent more of its event chain than a server takes in a day; it keeps the rest and sends it again later"
    )]
    TooManyLines,
    /// A revision that no server of ours made.
    #[error(
        "revision {0} is further ahead than any that this server makes; is this host's state damaged?"
    )]
    NotARevision(u64),
    /// Nobody knows here what other servers did since.
    #[error("this server has not seen its database for more than {} s, and does not speak for it; ask another one", .0.as_secs())]
    CutOff(std::time::Duration),
    /// The database does not answer.
    #[error("the database does not answer; nothing was changed, ask again in a moment")]
    Away,
    /// A call with this key was done already.
    #[error("this call was done before, as event {0} of the record, and not again")]
    DoneBefore(u64),
    /// The daemon is going down or a task of it failed.
    #[error("jit-server is stopping; ask again in a moment")]
    Stopping,
    /// Files, sockets, commands.
    #[error("{doing}: {why}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed. Not named `source`, which whoever prints the chain of errors would print again.
        why: std::io::Error,
    },
    /// Set-up that a person has to see to.
    #[error("{0}")]
    Setup(String),
    /// What the server answered to a command of ours: no.
    #[error("{0}")]
    Refused(String),
    /// What the server answered to a command of ours that it could not do, or could not make sense of.
    #[error("{0}")]
    NotDone(String),
}

impl Error {
    /// For `map_err`: an input or output error while `doing`.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |why| Self::Io {
            doing: doing.into(),
            why,
        }
    }
}
