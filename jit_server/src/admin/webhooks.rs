//! `jit-server webhooks`: the sender itself, and a look at it.

use std::io::Write;

use serde_json::json;

use super::{print_json, say, table, trimmed};
use crate::cli::WebhooksOptions;
use crate::client::Client;
use crate::error::Error;
use crate::policy::Mistake;
use crate::webhooks::{self, Dead, Endpoint, EndpointName, Files, Folder};

/// Runs the sender, or does what is asked about it. False where the settings are wrong: then their mistakes are shown.
///
/// # Errors
/// Where files can't be read or written.
pub async fn webhooks(options: WebhooksOptions, out: &mut impl Write) -> Result<bool, Error> {
    if let Some(name) = &options.again {
        return put_back(&options, name, out).map(|()| true);
    }
    let endpoints = match webhooks::read(&options.config, &Files::here()) {
        Ok(endpoints) => endpoints,
        Err(mistakes) => return wrong(&options, &mistakes, out).map(|()| false),
    };
    if options.check {
        webhooks::can_be_called(&endpoints)?;
        right(&options, endpoints.len(), out)?;
    } else if options.dead {
        list(&options, &endpoints, out)?;
    } else {
        let server = Client::new(&options.reach.socket);
        webhooks::run(endpoints, &options.state, &server).await?;
    }
    Ok(true)
}

fn wrong(
    options: &WebhooksOptions,
    mistakes: &[Mistake],
    out: &mut impl Write,
) -> Result<(), Error> {
    if options.json {
        return print_json(out, &json!({ "right": false, "mistakes": mistakes }));
    }
    let lines = mistakes.iter().map(|mistake| format!("{mistake}\n"));
    say(out, &lines.collect::<String>())
}

fn right(options: &WebhooksOptions, endpoints: usize, out: &mut impl Write) -> Result<(), Error> {
    if options.json {
        return print_json(out, &json!({ "right": true, "endpoints": endpoints }));
    }
    let file = options.config.display();
    let s = if endpoints == 1 { "" } else { "s" };
    say(out, &format!("{file} is right: {endpoints} endpoint{s}\n"))
}

fn list(
    options: &WebhooksOptions,
    endpoints: &[Endpoint],
    out: &mut impl Write,
) -> Result<(), Error> {
    let folder = Folder::as_its_owner(&options.state)?;
    let mut all: Vec<(&EndpointName, Dead)> = Vec::new();
    for endpoint in endpoints {
        let dead = folder.dead(endpoint.name())?;
        all.extend(dead.into_iter().map(|dead| (endpoint.name(), dead)));
    }
    if options.json {
        let all = all.iter().map(|(name, dead)| {
            let mut told = json!(dead);
            told["endpoint"] = json!(name.to_string());
            told
        });
        return print_json(out, &all.collect::<Vec<_>>());
    }
    if all.is_empty() {
        return say(out, "nothing was given up\n");
    }
    let mut rows = table(&["ENDPOINT", "EVENT", "HAPPENED", "GIVEN UP", "WHY", "ID"]);
    for (name, dead) in &all {
        let (id, kind, at, given_up, why) = dead.said();
        rows.add_row([
            name.to_string(),
            kind.to_owned(),
            format!("{at:.0}"),
            format!("{given_up:.0}"),
            why.to_owned(),
            id.to_owned(),
        ]);
    }
    say(out, &trimmed(rows))
}

fn put_back(
    options: &WebhooksOptions,
    name: &EndpointName,
    out: &mut impl Write,
) -> Result<(), Error> {
    let count = Folder::as_its_owner(&options.state)?.again(name)?;
    if options.json {
        return print_json(
            out,
            &json!({ "endpoint": name.to_string(), "again": count }),
        );
    }
    let (s, are) = if count == 1 { ("", "is") } else { ("s", "are") };
    let text = format!(
        "{count} event{s} {are} in the queue of {name} again; where it was gone, it is called again\n"
    );
    say(out, &text)
}
