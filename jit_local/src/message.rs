//! The messages of the local protocol: what pam_jit, jitctl and jitd-sync say to jitd, and what it answers.
//!
//! Every message may grow optional fields; none may lose one within two versions. A receiver ignores fields it does not know.

use serde::{Deserialize, Deserializer, Serialize};

/// A list that may be absent, for `deserialize_with`: `null` is an empty one, too.
fn list_or_null<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The same of what is true or false.
fn false_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Parameters of [`control::FAILED`] and [`sync::FAILED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What went wrong, for an administrator.
    pub why: String,
}

/// Methods on `pam.sock`. Called by PAM modules inside sshd, sudo and su.
pub mod pam {
    use super::{Deserialize, Serialize};

    /// `io.jit.Pam.Account`: may this go on? Parameters: [`Call`]; reply: [`Verdict`].
    pub const ACCOUNT: &str = "io.jit.Pam.Account";
    /// `io.jit.Pam.OpenBefore`: the session line before pam_systemd. Parameters: [`Call`]; reply: [`Verdict`].
    pub const OPEN_BEFORE: &str = "io.jit.Pam.OpenBefore";
    /// `io.jit.Pam.OpenAfter`: the session line after pam_systemd. Parameters: [`Call`]; reply: [`Verdict`].
    pub const OPEN_AFTER: &str = "io.jit.Pam.OpenAfter";
    /// `io.jit.Pam.Close`: the session closes. Parameters: [`Call`]; reply: [`Verdict`], never acted on.
    pub const CLOSE: &str = "io.jit.Pam.Close";

    /// What a PAM module knows. It decides nothing from it; the caller's identity comes from the socket, not from here.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Call {
        /// PAM_SERVICE, such as `sshd`.
        pub service: String,
        /// PAM_USER: the login for sshd, the target for su and for sudo's session phase.
        pub user: String,
        /// PAM_RUSER, where set: who calls su or sudo.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ruser: Option<String>,
        /// PAM_RHOST, where set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rhost: Option<String>,
        /// PAM_TTY, where set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tty: Option<String>,
        /// SSH_AUTH_INFO_0 of the PAM environment, where set: how sshd authenticated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub auth_info: Option<String>,
        /// XDG_SESSION_ID of the PAM environment, where set (after pam_systemd).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub logind_session: Option<String>,
        /// True where the line says `enforce` (and is not past its time); false in monitor mode.
        pub enforce: bool,
        /// True where the module can put a login into groups: it was called for that in this transaction, and will be again.
        #[serde(
            default,
            deserialize_with = "super::false_or_null",
            skip_serializing_if = "std::ops::Not::not"
        )]
        pub sets_groups: bool,
    }

    /// The answer. In monitor mode jitd says what it would have said; the module lets everything pass.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Verdict {
        /// True: go on.
        pub allow: bool,
        /// Why not, as a stable code (`JIT-101`). Absent when allowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub code: Option<String>,
        /// What to show to the person, in one to three lines, already cleaned. The module cleans it again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub message: Option<String>,
        /// The grant that it was allowed by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub grant: Option<String>,
        /// Until when it is allowed, RFC 3339.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub until: Option<String>,
        /// Unix groups that the login is to be in beside its own, by their numbers; after pam_systemd only.
        #[serde(
            default,
            deserialize_with = "super::list_or_null",
            skip_serializing_if = "Vec::is_empty"
        )]
        pub gids: Vec<u32>,
    }
}

/// Methods on `ctl.sock`. Each is authorised from the caller's uid.
pub mod control {
    use super::{Deserialize, Serialize};

    /// `io.jit.Control.Status`: how this host stands. No parameters; reply: [`Status`]. Anyone.
    pub const STATUS: &str = "io.jit.Control.Status";
    /// `io.jit.Control.Sessions`: what is open. Parameters: [`Page`]; reply: [`Sessions`]. Root sees all, others their own.
    pub const SESSIONS: &str = "io.jit.Control.Sessions";
    /// `io.jit.Control.Whoami`: the session that the caller sits in. No parameters; reply: [`Whoami`]. Anyone.
    pub const WHOAMI: &str = "io.jit.Control.Whoami";
    /// `io.jit.Control.Reload`: read settings and trust.json again (after enrolment). No parameters or reply. Root.
    pub const RELOAD: &str = "io.jit.Control.Reload";
    /// `io.jit.Control.Enroll`: make or read the host's key. Parameters: [`Enrolling`]; reply: [`Enroll`]. Root.
    pub const ENROLL: &str = "io.jit.Control.Enroll";
    /// `io.jit.Control.Gated`: note in the record that gating or mode changed. Parameters: [`Gated`]; no reply. Root.
    pub const GATED: &str = "io.jit.Control.Gated";
    /// `io.jit.Control.Failed`: the caller may, and it could not be done. Parameters: [`Failed`](super::Failed).
    pub const FAILED: &str = "io.jit.Control.Failed";

    /// How this host stands with its server.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Status {
        /// jitd's version.
        pub version: String,
        /// The host's name, once enrolled.
        pub host: Option<String>,
        /// The host's id, once enrolled.
        pub host_id: Option<String>,
        /// The server's URL, once enrolled.
        pub server: Option<String>,
        /// Revision of the bundle in force.
        pub revision: Option<u64>,
        /// Grants in that bundle.
        pub grants: usize,
        /// Milliseconds since the making of the nonce in the last signed word heard, on the boot clock. None: no word since boot.
        pub heard_ms_ago: Option<u64>,
        /// After so many milliseconds without word no grant counts.
        pub max_staleness_ms: u64,
        /// True when grants count now.
        pub current: bool,
        /// Where grants don't count: the code that says why.
        pub code: Option<String>,
        /// The keys of the server were last refused: the code that says why. A bundle or word that is taken after that ends it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub keys_refused: Option<String>,
        /// What keeps jitd-sync from hearing the server, in its words. A word that is taken ends it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub trouble: Option<String>,
        /// Live sessions and elevations that the caller may see: all of them for root, for others their own.
        pub sessions: usize,
        /// False when events can't be written to disk.
        pub recording: bool,
        /// Gates that became weaker otherwise than by jitctl.
        #[serde(
            default,
            deserialize_with = "super::list_or_null",
            skip_serializing_if = "Vec::is_empty"
        )]
        pub lost_gates: Vec<LostGate>,
    }

    /// A gate that is weaker than it was.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LostGate {
        /// The PAM service.
        pub service: String,
        /// What its gate did before: `enforce`, `provisional`, `monitor`.
        pub was: String,
    }

    /// Parameters of [`SESSIONS`].
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Page {
        /// [`Sessions::next`] of the reply before. None asks for the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub after: Option<String>,
    }

    /// Reply of [`SESSIONS`]: as many as fit a message, in the order of their ids.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Sessions {
        /// The sessions and elevations.
        pub sessions: Vec<Session>,
        /// There are more: [`Page::after`] of the next call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next: Option<String>,
    }

    /// A session or elevation.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Session {
        /// jitd's id of it.
        pub id: String,
        /// `login`, `elevation`, `job` or `manager`.
        pub kind: String,
        /// For an elevation: the session that it was started from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub parent: Option<String>,
        /// The principal whose grant holds it open. None in monitor mode without a grant.
        pub principal: Option<String>,
        /// The Unix account.
        pub login: String,
        /// PAM service.
        pub service: String,
        /// The systemd scopes that end with it; of very many the first.
        pub scopes: Vec<String>,
        /// The grant that holds it open.
        pub grant: Option<String>,
        /// When it began, RFC 3339.
        pub since: String,
        /// When it ends unless something changes, RFC 3339. None in monitor mode without a grant.
        pub until: Option<String>,
        /// Address it came from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rhost: Option<String>,
        /// Terminal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tty: Option<String>,
        /// True where the PAM line enforces; in monitor mode nothing is ended.
        pub enforced: bool,
        /// A login at which nobody does anything for so long is ended. None: it may be left alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub idle_after_seconds: Option<u32>,
        /// The Unix groups that it has by grants.
        #[serde(
            default,
            deserialize_with = "super::list_or_null",
            skip_serializing_if = "Vec::is_empty"
        )]
        pub groups: Vec<String>,
    }

    /// Reply of [`WHOAMI`].
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Whoami {
        /// The innermost session or elevation that the caller's process belongs to.
        pub session: Option<Session>,
    }

    /// Parameters of [`ENROLL`].
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Enrolling {
        /// What the host is to prove that it has its key for. None: no proof is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub prove: Option<Prove>,
    }

    /// What a proof that the host has its key is bound to.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Prove {
        /// The name that the host wants.
        pub name: String,
        /// SHA-256 of the enrolment token's secret, in hexadecimal.
        pub secret: String,
    }

    /// Reply of [`ENROLL`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Enroll {
        /// The host's public key: 32 bytes, base64url without padding.
        pub public_key: String,
        /// The proof that was asked for (`jit-possession+jwt`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub proof: Option<String>,
    }

    /// Parameters of [`GATED`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Gated {
        /// `gate`, `ungate`, `monitor`, `enforce`, `confirm`.
        pub what: String,
        /// The PAM services concerned.
        pub services: Vec<String>,
        /// In words.
        pub detail: String,
    }
}

/// Methods on `sync.sock`. Nothing said here can grant anything: what counts is signed.
pub mod sync {
    use super::{Deserialize, Serialize};

    /// `io.jit.Sync.Hello`: what jitd-sync needs to speak for this host. No parameters; reply: [`Hello`].
    /// Fails with [`NOT_ENROLLED`] until there is a server.
    pub const HELLO: &str = "io.jit.Sync.Hello";
    /// `io.jit.Sync.Bundle`: a signed bundle, as a file descriptor sent with the message. Parameters: none; reply: [`Taken`].
    pub const BUNDLE: &str = "io.jit.Sync.Bundle";
    /// `io.jit.Sync.Word`: a signed heartbeat. Parameters: [`Word`]; reply: [`Taken`].
    pub const WORD: &str = "io.jit.Sync.Word";
    /// `io.jit.Sync.Keys`: the documents that lead from key to key of the server's. Parameters: [`Keys`]; reply: [`Taken`].
    pub const KEYS: &str = "io.jit.Sync.Keys";
    /// `io.jit.Sync.Events`: recorded events after a number; the reply waits until there is one, at most 30 s. Parameters: [`After`];
    /// reply: [`Events`].
    pub const EVENTS: &str = "io.jit.Sync.Events";
    /// `io.jit.Sync.Trouble`: what keeps jitd-sync from hearing the server, to be shown and not to be acted on. Parameters: [`Trouble`];
    /// no reply's parameters.
    pub const TROUBLE: &str = "io.jit.Sync.Trouble";
    /// `io.jit.Sync.NotEnrolled`: there is no server yet. No parameters.
    pub const NOT_ENROLLED: &str = "io.jit.Sync.NotEnrolled";
    /// `io.jit.Sync.Failed`: it could not be done on this host. Parameters: [`Failed`](super::Failed).
    pub const FAILED: &str = "io.jit.Sync.Failed";

    /// Reply of [`HELLO`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Hello {
        /// The server's URL: `unix:/path` or `https://…`.
        pub server: String,
        /// The host's id.
        pub host_id: String,
        /// A token signed by jitd (`jit-host+jwt`), good for five minutes.
        pub token: String,
        /// A new nonce for the next word, bound to the boot clock.
        pub nonce: String,
        /// Revision of the bundle that jitd holds, 0 for none.
        pub revision: u64,
        /// More URLs of the same server, to be tried in turn.
        #[serde(
            default,
            deserialize_with = "super::list_or_null",
            skip_serializing_if = "Vec::is_empty"
        )]
        pub more_servers: Vec<String>,
        /// The certificates that the server's has to come from, in PEM; for `https://…`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ca: Option<String>,
        /// How this host stands, for the server beside the nonce (`jit-state+jwt`). None where that can't be said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub state: Option<String>,
    }

    /// Parameters of [`WORD`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Word {
        /// `jit-word+jwt`.
        pub word: String,
    }

    /// Parameters of [`TROUBLE`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Trouble {
        /// In words; jitd keeps the first 300 characters.
        pub what: String,
    }

    /// Parameters of [`KEYS`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Keys {
        /// `jit-next-key+jwt`, oldest first, each signed by the key that the one before it names; at most 32.
        pub chain: Vec<String>,
    }

    /// Whether jitd took what it was offered.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Taken {
        /// True: verified and in force.
        pub taken: bool,
        /// Where not: the code that says why (JIT-2xx).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub code: Option<String>,
    }

    /// Parameters of [`EVENTS`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct After {
        /// The last number that the server has.
        pub seq: u64,
    }

    /// Reply of [`EVENTS`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Events {
        /// Lines of the event chain as written, oldest first; together below 32 KiB.
        pub lines: Vec<String>,
        /// Checkpoint over the chain up to the last of them (`jit-events+jwt`), where there are any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub checkpoint: Option<String>,
    }
}
