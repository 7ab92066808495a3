//! The command line of `jit-server policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use jit_grant::{HostName, Principal, RoleName};

use super::Reach;
use crate::duration;
use crate::init::Layout;
use crate::instant;
use crate::origin::Origin;
use crate::text::{Reason, TextError, Ticket};

const CHECKED: &str = "Mistakes go to standard output, warnings to standard error; --json has both.

Exit status: 0 the policy is right (there may be warnings), 1 it has mistakes or can't be read.";

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Tell every mistake of a policy with file, line and key, and warn of what it allows and better did not. Needs no server
    #[command(after_long_help = CHECKED)]
    Check {
        /// The policy; the server's own unless said
        #[arg(value_name = "FILE", default_value = Layout::POLICY)]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a policy for people to read: who may ask for what, where and for how long, and who approves. The one in force as root
    Show(ShowOptions),
    /// Say rule by rule what would come of a request now, and who could approve it. Nothing happens by it. As root
    #[command(after_long_help = EXPLAINED)]
    Explain(ExplainOptions),
    /// Play the cases of a file against a policy, for a team's pipeline. Needs no server
    #[command(after_long_help = CASES)]
    Test(TestOptions),
    /// Propose a policy to those who have to confirm it (changes_need in the one in force). As root
    #[command(after_long_help = PROPOSED)]
    Propose(ProposeOptions),
}

const PROPOSED: &str = "While changes need others, the policy's file does not count by itself.

Exit status: 0 it is in force already, 1 the file is wrong, 3 refused, 5 it waits for others to confirm it.";

/// A policy to propose.
#[derive(Debug, Args)]
pub struct ProposeOptions {
    /// The policy; the server's own file unless said
    #[arg(value_name = "FILE", default_value = Layout::POLICY)]
    pub file: PathBuf,
    /// Why, for those who have to confirm it
    #[arg(long, value_name = "TEXT", value_parser = super::reason)]
    pub reason: Option<Reason>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

const CASES: &str = r#"Every [[case]] says who asks for what and what shall come of it: pending, approved, or refused, that with any code
unless one is said. Everybody named is a user, and every host is enrolled. Where the role has conditions, a case says labels of the
host, at, from, ticket, reason and from_address too.

  [groups]
  developers = ["alice"]
  leads = ["bob", "carol"]

  [[case]]
  who = "alice"
  role = "web-admin"
  host = "web-1"
  for = "30m"
  approved_by = ["bob"]
  expect = "approved"

  [[case]]
  who = "alice"
  role = "web-admin"
  host = "web-1"
  for = "5h"
  expect = "refused"
  code = "too-long"

Exit status: 0 all cases hold, 1 some do not, or a file is wrong."#;

/// Options of `policy test`.
#[derive(Debug, Args)]
pub struct TestOptions {
    /// The cases
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The policy; policy.toml beside the cases unless said
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `policy show`.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// A policy's file; the running server's policy unless said
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

/// How a policy is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Markdown with all of it
    Md,
    /// A line a role
    Table,
    /// JSON
    Json,
}

const EXPLAINED: &str =
    "Exit status: 0 the request would be taken, 1 failed, 3 it would be refused.";

fn ticket(text: &str) -> Result<Ticket, TextError> {
    Ticket::try_from(text.to_owned())
}

/// Options of `policy explain`.
#[derive(Debug, Args)]
pub struct ExplainOptions {
    /// Who would ask
    pub principal: Principal,
    /// For which role
    pub role: RoleName,
    /// On which host
    pub host: HostName,
    /// For how long, such as 30m; as long as the role allows unless said
    #[arg(long = "for", value_name = "TIME", value_parser = duration::seconds)]
    pub for_seconds: Option<u32>,
    /// As if it were asked at this time, such as 2026-11-30T09:00[Europe/Paris]; now unless said
    #[arg(long, value_name = "TIME", value_parser = instant::parse)]
    pub at: Option<Timestamp>,
    /// To begin at this time; when it is granted unless said
    #[arg(long, value_name = "TIME", value_parser = instant::parse)]
    pub from: Option<Timestamp>,
    /// With this ticket; without one unless said
    #[arg(long, value_name = "TICKET", value_parser = ticket)]
    pub ticket: Option<Ticket>,
    /// Asked from this address, or from `socket`, the server's own machine; from where it may be asked unless said
    #[arg(long, value_name = "ADDRESS")]
    pub from_address: Option<Origin>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}
