//! The command line.

mod changes;
mod copy;
mod database;
mod policy;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jit_grant::{HostName, Login, Principal, TokenId, UserTokenId};

use crate::attribute::Named;
use crate::directory::GroupName;
use crate::duration;
use crate::init::Layout;
use crate::label::Label;
use crate::policy::Window;
use crate::scope::Scope;
use crate::text::{Reason, TextError};
use crate::tls::TlsName;
use crate::until::Until;

pub use changes::{ChangeCommand, ChangeOptions, ConfirmOptions};
pub use copy::CopyOptions;
pub use database::DatabaseOptions;
pub use policy::{ExplainOptions, Format, PolicyCommand, ProposeOptions, ShowOptions, TestOptions};
pub use webhooks::WebhooksOptions;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 5 pending (others have to confirm it, or a dry run would change something).";

/// Approvals for just-in-time access: people ask, the right people approve, hosts are told.
#[derive(Debug, Parser)]
#[command(name = "jit-server", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this machine a server: key, database, starter policy, service; with --name for hosts elsewhere, too. Safe to run twice. As root
    Init(InitOptions),
    /// Run the server (systemd does this)
    Serve(ServeOptions),
    /// Add, list and remove users, and make tokens for them. As root
    #[command(subcommand)]
    User(UserCommand),
    /// List and remove hosts, and make, list and revoke tokens that hosts enrol with
    #[command(subcommand)]
    Host(HostCommand),
    /// Change the key that signs
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show whether an older copy of the database was put back, and what is known to differ; let people ask and approve again. As root
    Restored(RestoredOptions),
    /// Check the policy, and explain what it comes to
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make users, labels of hosts and policy as the files of a folder say: all of it or nothing. As root
    #[command(after_long_help = FILES)]
    Apply(ApplyOptions),
    /// What init runs as the user jit-server
    #[command(hide = true)]
    Prepare(PrepareOptions),
    /// Write man pages or completions into a folder
    #[command(subcommand, hide = true)]
    Generate(GenerateCommand),
    /// Tell other systems what happens, in signed calls (systemd does this); check the settings; list what could not be told
    #[command(after_long_help = webhooks::SETTINGS)]
    Webhooks(WebhooksOptions),
    /// Copy the record into another database, once or as it goes along; the server may run meanwhile
    #[command(after_long_help = copy::USES)]
    Copy(CopyOptions),
    /// List and show changes that others have to confirm, take them back, or make one alone. As root
    #[command(subcommand)]
    Change(ChangeCommand),
}

/// What packages are made with.
#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// The man pages, section 8
    Man {
        /// The folder
        directory: PathBuf,
    },
    /// The completions of bash, fish and zsh
    Completions {
        /// The folder
        directory: PathBuf,
    },
}

/// Where to reach the server.
#[derive(Debug, Args)]
pub struct Reach {
    /// The server's socket
    #[arg(long, value_name = "PATH", env = "JIT_SERVER_SOCKET", default_value = Layout::SOCKET)]
    pub socket: PathBuf,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitOptions {
    /// The user that the server runs as
    #[arg(long, value_name = "NAME", default_value = Layout::USER, hide = true)]
    pub user: String,
    /// A DNS name or address that hosts and people elsewhere reach this server by: makes a certificate authority, and listens with TLS; may be given again
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<TlsName>,
    /// Listen there for hosts, such as 0.0.0.0:7443; on port 7443 of all addresses unless said
    #[arg(long, value_name = "ADDRESS:PORT", requires = "names")]
    pub listen: Option<SocketAddr>,
    /// Make a new signing key where the record has begun and its key is lost for good: every host must enrol again with a new token, and is
    /// closed from an hour (max_staleness) on until it has. Refused unless said; put signing.key back from a backup instead
    #[arg(long)]
    pub new_key: bool,
    /// Where the record is.
    #[command(flatten)]
    pub database: DatabaseOptions,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// Make the socket here, where systemd passes none named `api`
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Database and signing key
    #[arg(long, value_name = "DIR", default_value = Layout::STATE)]
    pub state: PathBuf,
    /// How far the record had come on this machine; a database that does not come as far is an older copy. Beside the state, with -mark at
    /// the end of its name, unless said
    #[arg(long, value_name = "DIR")]
    pub mark: Option<PathBuf>,
    /// The policy
    #[arg(long, value_name = "FILE", default_value = Layout::POLICY)]
    pub policy: PathBuf,
    /// Listen there with TLS for hosts and people elsewhere, where systemd passes no socket named `tls`
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Show this certificate (PEM, with those between it and what hosts pin) instead of one of the server's own authority; read again
    /// when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "JIT_SERVER_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM), which nobody else may read
    #[arg(
        long,
        value_name = "FILE",
        env = "JIT_SERVER_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Where the record is.
    #[command(flatten)]
    pub database: DatabaseOptions,
}

/// Options of `prepare`.
#[derive(Debug, Args)]
pub struct PrepareOptions {
    /// Database and signing key
    #[arg(long, value_name = "DIR", default_value = Layout::STATE)]
    pub state: PathBuf,
    /// Names for the TLS certificate; with any, the authority is made, too, and its certificate printed
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<TlsName>,
    /// Make a new signing key, also where the record has begun
    #[arg(long)]
    pub new_key: bool,
    /// Where the record is.
    #[command(flatten)]
    pub database: DatabaseOptions,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user; one of the same name becomes exactly what is given here
    Add(NewUser),
    /// List the users
    List(ListOptions),
    /// Remove a user: what is granted to him ends at once, what he asked is withdrawn, and his tokens count no more
    Remove(RemoveUser),
    /// Make a token that a user is known by on other machines: `jitctl login`. It is printed this once
    Token(UserTokenOptions),
}

/// A user to add.
#[derive(Debug, Args)]
pub struct NewUser {
    /// The user's name; on the server's machine the account of this name is this user
    pub name: Principal,
    /// The Unix account on hosts; what is granted for another one that the user had before is revoked. Other ones on some hosts: users.toml
    #[arg(long, value_name = "LOGIN")]
    pub login: Login,
    /// A group that the policy may name; may be given again
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<GroupName>,
    /// A file with the user's public ssh keys, such as id_ed25519.pub, or - for standard input; may be given again
    #[arg(long = "key", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// From then on the user may do nothing, and nothing granted to him goes past it: a date, such as 2026-12-31, for the end of that day in UTC, or an instant, such as 2026-12-31T18:00:00+01:00; without it there is no end
    #[arg(long, value_name = "DATE")]
    pub until: Option<Until>,
    /// What the user is beside the groups, which the policy may ask for: the value is true, false or a short text; may be given again
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub attributes: Vec<Named>,
    /// It is a program: it asks and never approves, denies, reviews, locks nor audits, and is known by a token alone
    #[arg(long)]
    pub service: bool,
    /// The hours within which a service account may ask, such as "mon-fri 02:00 to 04:00 Europe/Paris"; may be given again, 16 times at
    /// most. What it is given ends with them
    #[arg(long = "hours", value_name = "HOURS", requires = "service")]
    pub hours: Vec<Window>,
    /// Take away what the user has of --until, --service, --hours, --key and other logins on some hosts, and what is not given here:
    /// refused without it. Groups and attributes are those given here in any case
    #[arg(long)]
    pub replace: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

/// A user to remove.
#[derive(Debug, Args)]
pub struct RemoveUser {
    /// The user
    pub name: Principal,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

/// A token to make for a user, or what to do with those made.
#[derive(Debug, Args)]
pub struct UserTokenOptions {
    /// The user
    pub name: Principal,
    /// For how long it counts, such as 12h or 7d: a person's at most 90d, a service account's 365d
    #[arg(long = "for", value_name = "TIME", value_parser = duration::seconds, default_value = "30d")]
    pub for_seconds: u32,
    /// What it is for: read, approve, ask:ROLE or ask:ROLE@HOSTS, such as ask:deploy@web-*; may be given again, 16 times at most.
    /// Whatever the user may do, unless said; of a service account it has to be said
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with_all = ["list", "revoke"])]
    pub scopes: Vec<Scope>,
    /// List the user's tokens that count, with their last uses, instead of making one
    #[arg(long, conflicts_with = "for_seconds")]
    pub list: bool,
    /// Take this token away, and all that came of it by rotation, instead of making one
    #[arg(long, value_name = "ID", conflicts_with_all = ["list", "for_seconds"])]
    pub revoke: Option<UserTokenId>,
    /// Whoever holds it may have it renewed for so long from now (`jitctl login --rotate`), each time for its length: as --for at most.
    /// Unless said he may have another secret alone, and it ends when it does
    #[arg(long = "renewable-for", value_name = "TIME", value_parser = duration::seconds, conflicts_with_all = ["list", "revoke"])]
    pub renewable_for_seconds: Option<u32>,
    /// Make the next one in the place of this token: the same user, scopes and length, from now on
    #[arg(long, value_name = "ID", conflicts_with_all = ["list", "revoke", "for_seconds", "scopes", "renewable_for_seconds"])]
    pub rotate: Option<UserTokenId>,
    /// How long the token that is rotated counts on, 1h at most
    #[arg(long = "overlap", value_name = "TIME", value_parser = duration::seconds, default_value = "1h", requires = "rotate", conflicts_with_all = ["list", "revoke", "for_seconds", "scopes", "renewable_for_seconds"])]
    pub overlap_seconds: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

/// What to do with hosts.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List the hosts that trust this server
    List(ListOptions),
    /// Make a token that hosts elsewhere enrol with: `jitctl enroll --token-file`. It is printed this once
    Token(HostTokenOptions),
    /// Forget a host: what was granted on it is revoked and ends, and it is served no more
    Remove(RemoveHost),
}

/// An enrolment token to make, or what to do with those made.
#[derive(Debug, Args)]
pub struct HostTokenOptions {
    /// The one name that it enrols, also in the place of a host that has it; any name that no host has, unless said
    #[arg(long, value_name = "HOST")]
    pub name: Option<HostName>,
    /// A label that its hosts get; may be given again. Without any, a host that takes the place of one keeps that one's
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
    /// Remove its hosts when they are silent for so long, 5m to 90d: for hosts that come and go
    #[arg(long = "lapse-after", value_name = "TIME", value_parser = duration::seconds)]
    pub lapse_seconds: Option<u32>,
    /// How many hosts it enrols
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub uses: u32,
    /// For how long it counts, such as 30m or 7d, at most 90d
    #[arg(long = "for", value_name = "TIME", value_parser = duration::seconds, default_value = "1h")]
    pub for_seconds: u32,
    /// List the tokens that count, with their last uses, instead of making one
    #[arg(long, conflicts_with_all = MAKING)]
    pub list: bool,
    /// Take this token away instead of making one; the hosts that it let in stay
    #[arg(long, value_name = "ID", conflicts_with = "list", conflicts_with_all = MAKING)]
    pub revoke: Option<TokenId>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

/// What says how an enrolment token is to be.
const MAKING: [&str; 5] = ["name", "labels", "lapse_seconds", "uses", "for_seconds"];

/// A host to remove.
#[derive(Debug, Args)]
pub struct RemoveHost {
    /// The host
    pub name: HostName,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

/// What to do with the signing key.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make the next key and sign with it from now on; hosts follow by themselves. As root
    Rotate(ListOptions),
}

/// Options of `restored`.
#[derive(Debug, Args)]
pub struct RestoredOptions {
    /// What the copy does not know is seen to: people may ask and approve again
    #[arg(long, conflicts_with = "declare")]
    pub confirm: bool,
    /// An older copy was put back and the server could not notice, as with a snapshot of the whole machine: end all grants and tokens
    #[arg(long)]
    pub declare: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

/// Options of lists.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

const FILES: &str = r#"The folder has some of these files. What a missing one would say stays as it is.

policy.toml is the policy.

users.toml has all users; whoever is not in it is removed:

  [users.alice]
  login = "alice"
  groups = ["engineers"]
  keys = ["ssh-ed25519 AAAA… alice@laptop"]
  until = "2026-12-31"
  attributes = { on_call = true, team = "payments" }
  logins = [{ hosts = ["db-*"], login = "postgres" }]

hosts.toml has all labels of some hosts, by the names that they enrolled with; others stay as they are:

  [hosts.web-1]
  labels = { site = "berlin" }

  [hosts.web-2]
  remove = true

Exit status: 0 everything is as the files say, 1 failed, or the files are wrong, 3 refused, 5 something would change (--dry-run), or waits
for others to confirm it."#;

/// For clap.
fn reason(text: &str) -> Result<Reason, TextError> {
    Reason::try_from(text.to_owned())
}

/// Options of `apply`.
#[derive(Debug, Args)]
pub struct ApplyOptions {
    /// The folder, such as a working copy of a Git repository
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Change nothing; tell what would change, and what people would lose by it
    #[arg(long)]
    pub dry_run: bool,
    /// Let so many users be removed, where that is more than half of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub allow_removals: usize,
    /// Why, for those who have to confirm it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<Reason>,
    /// The file that the server reads its policy from
    #[arg(long, value_name = "FILE", default_value = Layout::POLICY)]
    pub policy: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}
