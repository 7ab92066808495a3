//! `jit-server webhooks`.

use std::path::PathBuf;

use clap::Args;

use super::Reach;
use crate::webhooks::EndpointName;

/// What the settings may say.
pub(super) const SETTINGS: &str = r#"The settings have a table for each endpoint:

  [[endpoint]]
  name = "pager"
  url = "https://pager.example/jit"
  secret_file = "pager"                # in /etc/jit-server/webhook-secrets; a list of files during a change of secrets
  events = ["approval", "alarm"]       # sets: request, approval, start, expiry, revocation, alarm; and kinds of events
  ca = "/etc/jit-server/pager-ca.crt"  # only this authority's certificates count; else those that the system trusts
  link_local = false                   # true: the host may have a link-local address

A secret is whsec_ and 24 to 64 bytes in base64. Calls are signed as Standard Webhooks has it. Proxies come from HTTPS_PROXY in the environment of
jit-server-webhooks.service. Changed settings count after systemctl restart jit-server-webhooks.

Exit status: 0 done, 1 failed, or the settings are wrong, 2 usage."#;

/// Options of `webhooks`.
#[derive(Debug, Args)]
pub struct WebhooksOptions {
    /// The settings
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/jit-server/webhooks.toml"
    )]
    pub config: PathBuf,
    /// How far each endpoint has been told, and what could not be told
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/jit-server-webhooks"
    )]
    pub state: PathBuf,
    /// Check the settings and what they name, and call nobody
    #[arg(long)]
    pub check: bool,
    /// List what was given up after a day of tries, or since an endpoint was gone; 1000 events of each endpoint at most
    #[arg(long, conflicts_with = "check")]
    pub dead: bool,
    /// Put what was given up for this endpoint back into the queue; one that said that it is gone (410) is called again
    #[arg(long, value_name = "NAME", conflicts_with_all = ["check", "dead"])]
    pub again: Option<EndpointName>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub reach: Reach,
}
