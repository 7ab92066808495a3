//! What people type. The man pages and completions come from here too.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jit_grant::{ChangeId, Code, GrantId, HostName, Principal, RequestId, RoleName};

use crate::duration;
use crate::label;
use crate::server::ServerAddress;
use crate::start::Start;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 timed out, 5 pending (asked, not decided yet).\n\
     JIT_SERVER names the server (unix:/PATH or https://HOST); without it the one on this machine is asked, else the one that `jitctl login` named, else the one \
     that this host is enrolled with. JIT_TOKEN (a token) and JIT_CA (a file) go before those of the login.";

/// Just-in-time access: ask for a role, approve it, look at what is open, and gate this host.
#[derive(Debug, Parser)]
#[command(name = "jitctl", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print JSON, with times in UTC
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Another root folder than /, for tests
    #[arg(long, global = true, hide = true, default_value = "/")]
    pub(crate) root: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Trust a server from now on: this host takes its grants from there
    Enroll(Enroll),
    /// Be known to a server elsewhere from now on, by a token: ask, approve and look from this machine
    Login(Login),
    /// Forget the login on this machine; the token counts on until it ends or is revoked
    Logout,
    /// Put pam_jit into the PAM files of SERVICE, watching only until `jitctl enforce`
    Gate {
        /// Files in /etc/pam.d, such as sshd, sudo, su
        #[arg(required = true)]
        service: Vec<String>,
    },
    /// Take pam_jit out of the PAM files of SERVICE again
    Ungate {
        /// Files in /etc/pam.d
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        service: Vec<String>,
        /// Out of every file
        #[arg(long)]
        all: bool,
    },
    /// Watch and record only: let everybody through
    Monitor {
        /// Gated services; all of them where none is named
        service: Vec<String>,
    },
    /// Refuse what no grant allows; taken back by itself unless confirmed
    Enforce {
        /// Gated services; all of them where none is named
        service: Vec<String>,
        /// Go back to monitor mode unless confirmed within this time
        #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10m", conflicts_with = "confirm")]
        confirm_within: Duration,
        /// Enforce for good. Best said from a login that a grant let in
        #[arg(long)]
        confirm: bool,
    },
    /// How this host stands with its server, and what is gated
    Status,
    /// Look for what is wrong or open on this host, with what to do about it
    Doctor,
    /// Explain a code such as JIT-101
    Explain {
        /// The code; all of them where none is named
        code: Option<Code>,
    },
    /// List roles, requests, grants, hosts, locks or sessions
    #[command(subcommand)]
    List(List),
    /// Show a request or grant with its timeline
    Show {
        /// Such as r17 or g17
        id: Id,
    },
    /// Ask for a role
    Request(Request),
    /// Approve a request; or confirm a change of an administrator's, as its policy has you do
    Approve {
        /// The request, or the change
        id: Decided,
        /// For less time than was asked for
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        lasting: Option<Duration>,
        /// Kept as evidence
        #[arg(long)]
        comment: Option<String>,
        /// Of a change: what `jitctl show` calls what it came to. Without it, it is shown, and you are asked at the terminal
        #[arg(long, value_name = "WORD", conflicts_with = "lasting")]
        seen: Option<String>,
    },
    /// Deny a request, or a change of an administrator's
    Deny {
        /// The request, or the change
        id: Decided,
        /// Shown to the requester, and kept as evidence
        #[arg(long)]
        reason: String,
    },
    /// Withdraw a request of yours
    Withdraw {
        /// The request
        id: RequestId,
    },
    /// Give a grant of yours back: its sessions end at once
    Release {
        /// The grant; the one that holds this session open where none is named
        grant: Option<GrantId>,
    },
    /// Have a grant of yours for longer, as its role allows: its sessions go on without a gap
    Extend {
        /// The grant; the one that holds this session open where none is named
        grant: Option<GrantId>,
        /// By how much, such as 30m
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        lasting: Duration,
        /// Why; the reason that the grant was asked for with, where none is given
        #[arg(long)]
        reason: Option<String>,
        /// Where it needs approval: wait until it is decided
        #[arg(long)]
        wait: bool,
    },
    /// End all that somebody has, everywhere and at once, and keep him from asking and approving until `jitctl unlock`
    Lock {
        /// Whom
        principal: Principal,
        /// Shown to whoever is locked, and kept as evidence
        #[arg(long)]
        reason: String,
    },
    /// Let somebody ask and approve again; what the lock ended stays so
    Unlock {
        /// Whom
        principal: Principal,
    },
    /// End a grant at once, with its sessions
    Revoke {
        /// The grant
        grant: GrantId,
        /// Shown to whom it was granted, and kept as evidence
        #[arg(long)]
        reason: String,
    },
    /// Say what you saw of somebody's use of a break-glass role, once it has ended
    Review {
        /// The request
        id: RequestId,
        /// Kept as evidence
        #[arg(long)]
        comment: String,
    },
    /// Exit 0 if a grant is in force for long enough, else ask for one and wait; 3 where what is granted ends too soon
    Ensure(Ensure),
    /// The audit trail
    #[command(subcommand)]
    Audit(Audit),
    /// Write man pages or completions into a folder
    #[command(subcommand, hide = true)]
    Generate(Generate),
}

#[derive(Debug, Args)]
pub(crate) struct Enroll {
    /// The server, such as unix:/run/jit-server/api.sock or https://jit.example:7443; URLs of the same server may be given again, to
    /// be tried in turn
    #[arg(long, value_name = "URL", required_unless_present = "from")]
    pub(crate) server: Vec<ServerAddress>,
    /// What `jit-server host token` printed, in a file, or - for standard input; for a server elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The certificate authority, in PEM, that the server's certificate must come from; for a server elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// All of these from files: `server` (URLs, one a line), `token`, which is removed once it was used, and `ca.crt`. A host with
    /// /etc/jit/enrol/token enrols so by itself when it boots
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["server", "token_file", "ca"])]
    pub(crate) from: Option<PathBuf>,
    /// Of a host that is enrolled with a server elsewhere: have these URLs in the place of those that it has, and keep all else. Its key,
    /// who it is, what it pins and what is granted stay as they are, so every URL must be of the same server
    #[arg(long, requires = "server", conflicts_with_all = ["token_file", "ca", "from"])]
    pub(crate) only_urls: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The server, such as https://jit.example:7443
    #[arg(long, value_name = "URL", required_unless_present = "rotate")]
    pub(crate) server: Option<ServerAddress>,
    /// What `jit-server user token` printed, in a file; standard input where none is named, not shown at a terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The certificate authority, in PEM, that the server's certificate must come from; on a host that is enrolled with that server its
    /// own where none is named
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Have the next token made in the place of the one that is kept here, and keep that; the one before counts for an hour more
    #[arg(long, conflicts_with_all = ["server", "token_file", "ca"])]
    pub(crate) rotate: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum List {
    /// Roles that you may ask for
    Roles,
    /// Requests that concern you
    Requests {
        /// Only those in this state
        #[arg(long)]
        state: Option<RequestState>,
        /// Only those that are not decided yet: --state pending
        #[arg(long, conflicts_with = "state")]
        pending: bool,
        /// Only those that you may approve now
        #[arg(long)]
        for_me: bool,
        /// Only those of break-glass roles that you have to review, now or when they have ended
        #[arg(long)]
        to_review: bool,
        /// Older than the newest 500, too
        #[arg(long)]
        all: bool,
    },
    /// Grants that concern you
    Grants {
        /// Only those in force
        #[arg(long)]
        active: bool,
        /// Older than the newest 500, too
        #[arg(long)]
        all: bool,
    },
    /// Enrolled hosts
    Hosts,
    /// Who is locked, by whom and why; for whoever may lock
    Locks,
    /// Sessions and elevations open on this host
    Sessions,
    /// Changes of administrators' that others confirm; for those who do
    Changes {
        /// Only those that wait
        #[arg(long)]
        pending: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RequestState {
    Pending,
    Approved,
    Denied,
    Withdrawn,
    Lapsed,
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// The role, as `jitctl list roles` shows it
    pub(crate) role: RoleName,
    /// On this host only; may be repeated. All hosts of the role where none is named; a request is for 64 at most
    #[arg(long)]
    pub(crate) host: Vec<HostName>,
    /// On those hosts of the role only that have this label; may be repeated: each key must be there, with one of the values given for it
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = label::parse, conflicts_with = "host")]
    pub(crate) labels: Vec<(String, String)>,
    /// For how long, such as 30m or 1h30m; as long as the role says unless said
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    pub(crate) lasting: Option<Duration>,
    /// From then on, where the role may begin ahead of time: such as 18:00, "2026-11-30 09:00", +2h or 2026-11-30T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Start>,
    /// Why; approvers see it, and it is kept as evidence
    #[arg(long)]
    pub(crate) reason: String,
    /// A ticket that it belongs to
    #[arg(long)]
    pub(crate) ticket: Option<String>,
    /// Wait until it is decided
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ensure {
    /// The role
    pub(crate) role: RoleName,
    /// The host
    #[arg(long)]
    pub(crate) host: HostName,
    /// Time that a grant must have left to be good enough
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) min_left: Duration,
    /// For how long to ask, where there is no such grant; as long as the role says unless said
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    pub(crate) lasting: Option<Duration>,
    /// Why, where it must be asked for
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// A ticket that it belongs to
    #[arg(long)]
    pub(crate) ticket: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// What happened, oldest first
    List {
        /// Only events after this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// Only the newest so many of the record's events, of which those are shown that concern you
        #[arg(long, value_name = "NUMBER", conflicts_with = "after", value_parser = clap::value_parser!(u64).range(1..))]
        newest: Option<u64>,
        /// Only alarms: uses of break-glass roles, gaps in a host's event chain, and whatever else somebody has to look at
        #[arg(long)]
        alarms: bool,
    },
    /// Check this host's event chain: nothing in it was changed or taken out (root)
    Verify,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// Man pages
    Man {
        /// The folder, which must exist
        folder: PathBuf,
    },
    /// Completions for bash, zsh and fish
    Completions {
        /// The folder, which must exist
        folder: PathBuf,
    },
}

/// A request, a grant, or a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Id {
    Request(RequestId),
    Grant(GrantId),
    Change(ChangeId),
}

impl std::str::FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let request = text.parse().map(Id::Request);
        let grant = || text.parse().map(Id::Grant);
        let change = || text.parse().map(Id::Change);
        request
            .or_else(|_| grant())
            .or_else(|_| change())
            .map_err(|_| "an id is r, g or c and a number, such as r17, g17 or c17".to_owned())
    }
}

/// What somebody decides about: a request, or a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decided {
    Request(RequestId),
    Change(ChangeId),
}

impl std::str::FromStr for Decided {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let request = text.parse().map(Decided::Request);
        let change = || text.parse().map(Decided::Change);
        request
            .or_else(|_| change())
            .map_err(|_| "it is r or c and a number, such as r17 or c17".to_owned())
    }
}
