//! `jit-server policy`.

use std::io::Write;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{print_json, say, table, trimmed};
use crate::cli::ExplainOptions;
use crate::client::Client;
use crate::error::Error;
use crate::policy::{self, in_words};

/// `jit-server policy check`: mistakes go to `out`, warnings to `err`. True where the policy is right.
///
/// # Errors
/// Where it can't be printed.
pub fn check_policy(
    file: &Path,
    as_json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<bool, Error> {
    let checked = policy::check(file);
    let mistakes = checked.as_ref().err().map_or(&[][..], Vec::as_slice);
    let warnings = checked
        .as_ref()
        .map_or(&[][..], |checked| &checked.warnings);
    if as_json {
        let roles: Vec<&str> = checked
            .iter()
            .flat_map(|checked| checked.policy.roles.keys())
            .map(|name| name.as_str())
            .collect();
        print_json(
            out,
            &json!({ "right": checked.is_ok(), "roles": roles, "mistakes": mistakes, "warnings": warnings }),
        )?;
    } else {
        for mistake in mistakes {
            say(out, &format!("{mistake}\n"))?;
        }
        for warning in warnings {
            say(err, &format!("warning: {warning}\n"))?;
        }
        if let Ok(checked) = &checked {
            let roles = checked.policy.roles.len();
            let said = if roles == 1 {
                "1 role".to_owned()
            } else {
                format!("{roles} roles")
            };
            say(out, &format!("{} is right: {said}\n", file.display()))?;
        }
    }
    Ok(checked.is_ok())
}

#[derive(Debug, Serialize, Deserialize)]
struct Explanation {
    policy: String,
    for_seconds: u32,
    taken: bool,
    code: Option<String>,
    refusal: Option<String>,
    rules: Vec<Rule>,
    #[serde(default)]
    denials: Vec<Denial>,
    approval: Option<Approval>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rule {
    rule: String,
    outcome: String,
    words: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Denial {
    name: String,
    fits: bool,
    words: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Approval {
    enough: bool,
    stages: Vec<Stage>,
    #[serde(flatten)]
    first: Stage,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stage {
    able: Vec<String>,
    needed: u32,
    later: Vec<Later>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Later {
    after_seconds: u32,
    able: Vec<String>,
}

/// `jit-server policy explain`. True where the request would be taken.
///
/// # Errors
/// Where the server is not there, or refuses.
pub async fn explain(options: ExplainOptions, out: &mut impl Write) -> Result<bool, Error> {
    let ExplainOptions {
        principal,
        role,
        host,
        for_seconds,
        at,
        from,
        ticket,
        from_address,
        ..
    } = options;
    // None of these has a character that means something in an address.
    let mut path = format!("/v1/policy/explain?principal={principal}&role={role}&host={host}");
    if let Some(seconds) = for_seconds {
        path.push_str(&format!("&for_seconds={seconds}"));
    }
    if let Some(at) = at {
        path.push_str(&format!("&at={at}"));
    }
    if let Some(from) = from {
        path.push_str(&format!("&not_before={from}"));
    }
    if let Some(ticket) = ticket {
        let ticket = utf8_percent_encode(ticket.as_str(), NON_ALPHANUMERIC);
        path.push_str(&format!("&ticket={ticket}"));
    }
    if let Some(origin) = from_address {
        path.push_str(&format!("&from_address={}", String::from(origin)));
    }
    let told: Explanation = Client::new(&options.reach.socket).get(&path).await?;
    if options.json {
        print_json(out, &told)?;
    } else {
        say(out, &told.text())?;
    }
    Ok(told.taken)
}

impl Explanation {
    fn asks_nobody(&self) -> bool {
        let approval = self.approval.as_ref();
        approval.is_some_and(|approval| approval.stages.is_empty())
    }

    fn text(&self) -> String {
        let mut rules = table(&["RULE", "", "WHY"]);
        for Rule {
            rule,
            outcome,
            words,
        } in &self.rules
        {
            rules.add_row([
                rule.replace('-', " "),
                outcome.replace('-', " "),
                words.clone(),
            ]);
        }
        let mut text = trimmed(rules);
        text.push('\n');
        if let (Some(code), Some(refusal)) = (&self.code, &self.refusal) {
            text.push_str(&format!("Would be refused ({code}): {refusal}\n"));
        } else if self.asks_nobody() {
            text.push_str("Would be granted at once: nobody has to approve it.\n");
        } else {
            text.push_str("Would be taken, and then wait for approval.\n");
        }
        if let Some(approval) = self.approval.as_ref().filter(|_| !self.asks_nobody()) {
            text.push_str(&approval.text());
        }
        text
    }
}

impl Approval {
    fn text(&self) -> String {
        let text = match self.stages.as_slice() {
            [_, _, ..] => {
                let numbered = (1..).zip(&self.stages);
                let lines = numbered.map(|(number, stage)| {
                    format!("Could approve stage {number}: {}.\n", stage.text())
                });
                lines.collect()
            }
            _ => format!("Could approve it now: {}.\n", self.first.text()),
        };
        if self.enough {
            return text;
        }
        text + "These are too few, so it could not be granted now.\n"
    }
}

impl Stage {
    fn text(&self) -> String {
        let later = self.later.iter().map(|later| {
            let after = in_words(later.after_seconds);
            format!("; after {after} also {}", listed(&later.able))
        });
        let later: String = later.collect();
        format!("{}; {} must{later}", listed(&self.able), self.needed)
    }
}

/// Names of people, where there are any.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    }
}
