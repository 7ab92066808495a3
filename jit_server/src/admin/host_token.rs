//! `jit-server host token`.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ago, labelled, left, print_json, say, table, trimmed};
use crate::cli::HostTokenOptions;
use crate::client::Client;
use crate::error::Error;
use crate::label::Label;

#[derive(Debug, Serialize, Deserialize)]
struct Made {
    id: String,
    token: String,
    expires: Timestamp,
}

/// A token that counts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listed {
    id: String,
    name: Option<String>,
    labels: BTreeMap<String, String>,
    lapse_seconds: Option<u32>,
    uses: u32,
    uses_left: u32,
    made_at: Timestamp,
    expires: Timestamp,
    last_use: Option<Use>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Use {
    at: Timestamp,
    host: String,
    from: Option<IpAddr>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Revoked {
    id: String,
}

impl Listed {
    /// What whoever removed a host that came with it should know.
    pub(super) fn counts_on(&self, now: Timestamp) -> String {
        let Self { id, uses_left, .. } = self;
        let hosts = if *uses_left == 1 { "host" } else { "hosts" };
        let left = left(self.expires, now);
        format!(
            "it came with enrolment token {id}, which lets in {uses_left} more {hosts} within {left}; `jit-server host token --revoke {id}` ends that\n"
        )
    }
}

/// Makes a token, lists those that count, or revokes one. A new one goes to `out` alone, so that it can be kept in a file.
///
/// # Errors
/// Where the server refuses.
pub async fn host_token(
    options: HostTokenOptions,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), Error> {
    let client = Client::new(&options.reach.socket);
    if options.list {
        let tokens: Vec<Listed> = client.get("/v1/hosts/tokens").await?;
        return if options.json {
            print_json(out, &tokens)
        } else {
            say(out, &listed(&tokens, now))
        };
    }
    if let Some(id) = &options.revoke {
        let revoked: Revoked = client.delete(&format!("/v1/hosts/tokens/{id}")).await?;
        return if options.json {
            print_json(out, &revoked)
        } else {
            let id = revoked.id;
            say(
                out,
                &format!(
                    "enrolment token {id} counts no more; the hosts that came with it stay (`jit-server host remove`)\n"
                ),
            )
        };
    }
    make(&client, options, out).await
}

async fn make(
    client: &Client,
    options: HostTokenOptions,
    out: &mut impl Write,
) -> Result<(), Error> {
    let labels: BTreeMap<String, String> = options
        .labels
        .iter()
        .map(|Label(key, value)| (key.to_string(), value.to_string()))
        .collect();
    if labels.len() < options.labels.len() {
        return Err(Error::Setup("a label's key is given twice".to_owned()));
    }
    let body = json!({ "name": options.name, "labels": labels, "lapse_seconds": options.lapse_seconds, "uses": options.uses, "for_seconds": options.for_seconds });
    let made: Made = client.post("/v1/hosts/tokens", &body).await?;
    if options.json {
        return print_json(out, &made);
    }
    say(out, &format!("{}\n", made.token))
}

fn listed(tokens: &[Listed], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "no enrolment tokens that count\n".to_owned();
    }
    let mut table = table(&[
        "ID",
        "FOR",
        "LABELS",
        "USES LEFT",
        "MADE",
        "ENDS",
        "LAST USE",
    ]);
    for token in tokens {
        let used = token.last_use.as_ref().map_or_else(
            || "none yet".to_owned(),
            |used| {
                let from = used.from.map(|from| format!(" from {from}"));
                let from = from.unwrap_or_default();
                format!("{} by {}{from}", ago(used.at, now), used.host)
            },
        );
        table.add_row([
            token.id.clone(),
            token
                .name
                .clone()
                .unwrap_or_else(|| "any free name".to_owned()),
            labelled(&token.labels),
            format!("{} of {}", token.uses_left, token.uses),
            ago(token.made_at, now),
            format!("in {}", left(token.expires, now)),
            used,
        ]);
    }
    trimmed(table)
}
