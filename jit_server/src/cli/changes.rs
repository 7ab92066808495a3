//! The command line of `jit-server change`.

use clap::{Args, Subcommand};
use jit_grant::ChangeId;

use super::{ListOptions, Reach};
use crate::text::Reason;

/// What to do with changes that others have to confirm.
#[derive(Debug, Subcommand)]
pub enum ChangeCommand {
    /// List them, the newest first
    List(ListOptions),
    /// Show what one comes to now, who may confirm it, and who did
    Show(ChangeOptions),
    /// Take one back
    Withdraw(ChangeOptions),
    /// Make one without those who confirm it, where none of them is there. Everybody is told
    Confirm(ConfirmOptions),
}

/// A change.
#[derive(Debug, Args)]
pub struct ChangeOptions {
    /// The change, such as c1
    #[arg(value_name = "CHANGE")]
    pub change: ChangeId,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}

/// A change that root makes alone.
#[derive(Debug, Args)]
pub struct ConfirmOptions {
    /// The change, such as c1
    #[arg(value_name = "CHANGE")]
    pub change: ChangeId,
    /// Root alone makes it. Others confirm with `jitctl approve CHANGE`, each known by a token
    #[arg(long, required = true)]
    pub alone: bool,
    /// Why; everybody reads it
    #[arg(long, value_name = "TEXT", value_parser = super::reason)]
    pub reason: Reason,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}
