//! `jit-server user token`.

use std::io::Write;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ago, print_json, say, table, trimmed};
use crate::cli::UserTokenOptions;
use crate::client::Client;
use crate::error::Error;

#[derive(Debug, Serialize, Deserialize)]
struct Made {
    id: String,
    user: String,
    token: String,
    expires: Timestamp,
    #[serde(default)]
    scopes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    id: String,
    made_at: Timestamp,
    expires: Timestamp,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    replaces: Option<String>,
    #[serde(default)]
    renewable_until: Option<Timestamp>,
    last_use: Option<Use>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Use {
    at: Timestamp,
    from: IpAddr,
}

#[derive(Debug, Serialize, Deserialize)]
struct Revoked {
    id: String,
    user: String,
    #[serde(default)]
    successors: Vec<String>,
}

/// Makes a token, the next one in the place of one, lists those that count, or revokes one with all that came of it. A new one goes to `out` alone, so that it can be kept in a file.
///
/// # Errors
/// Where the server refuses.
pub async fn user_token(
    options: UserTokenOptions,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), Error> {
    let client = Client::new(&options.reach.socket);
    let path = format!("/v1/users/{}/tokens", options.name);
    if options.list {
        let tokens: Vec<Listed> = client.get(&path).await?;
        return if options.json {
            print_json(out, &tokens)
        } else {
            say(out, &listed(&tokens, now))
        };
    }
    if let Some(id) = options.revoke {
        let revoked: Revoked = client.delete(&format!("{path}/{id}")).await?;
        return if options.json {
            print_json(out, &revoked)
        } else {
            say(out, &ended(&revoked))
        };
    }
    let made: Made = match options.rotate {
        Some(id) => {
            let body = json!({ "overlap_seconds": options.overlap_seconds });
            client.post(&format!("{path}/{id}/rotate"), &body).await?
        }
        None => {
            let body = json!({
                "for_seconds": options.for_seconds, "scopes": options.scopes,
                "renewable_for_seconds": options.renewable_for_seconds,
            });
            client.post(&path, &body).await?
        }
    };
    if options.json {
        return print_json(out, &made);
    }
    say(out, &format!("{}\n", made.token))
}

fn ended(revoked: &Revoked) -> String {
    let Revoked { id, user, .. } = revoked;
    let successors = revoked.successors.iter();
    let successors = successors
        .map(|next| format!("token {next} of {user}, which came of {id}, counts no more\n"));
    let itself = format!("token {id} of {user} counts no more\n");
    std::iter::once(itself).chain(successors).collect()
}

fn listed(tokens: &[Listed], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "no tokens that count\n".to_owned();
    }
    let mut table = table(&[
        "ID",
        "REPLACES",
        "MADE",
        "ENDS",
        "RENEWABLE",
        "LAST USE",
        "FOR",
    ]);
    for token in tokens {
        let used = token.last_use.as_ref().map_or_else(
            || "not since the server started".to_owned(),
            |used| format!("{} from {}", ago(used.at, now), used.from),
        );
        table.add_row([
            token.id.clone(),
            token.replaces.clone().unwrap_or_else(|| "-".to_owned()),
            ago(token.made_at, now),
            format!("{:.0}", token.expires),
            token
                .renewable_until
                .map_or_else(|| "-".to_owned(), |until| format!("until {until:.0}")),
            used,
            if token.scopes.is_empty() {
                "everything".to_owned()
            } else {
                token.scopes.join(", ")
            },
        ]);
    }
    trimmed(table)
}
