//! `jit-server policy show`.

use std::io::Write;

use super::policy::listed;
use super::{print_json, say, table, trimmed};
use crate::cli::{Format, ShowOptions};
use crate::client::Client;
use crate::error::Error;
use crate::policy::{self, PeopleDocument, PolicyDocument, in_words};

/// Shows the policy of a file, or the one that is in force. False where the file is wrong: then its mistakes are shown.
///
/// # Errors
/// Where the server is not there, or refuses.
pub async fn show_policy(options: ShowOptions, out: &mut impl Write) -> Result<bool, Error> {
    let document = match &options.file {
        None => Client::new(&options.reach.socket).get("/v1/policy").await?,
        Some(file) => match policy::read(file) {
            Ok(policy) => PolicyDocument::from(&policy),
            Err(mistakes) => {
                let lines = mistakes.iter().map(|mistake| format!("{mistake}\n"));
                say(out, &lines.collect::<String>())?;
                return Ok(false);
            }
        },
    };
    match options.format {
        Format::Json => print_json(out, &document)?,
        Format::Table => say(out, &as_table(&document))?,
        Format::Md => say(out, &as_markdown(&document))?,
    }
    Ok(true)
}

fn as_table(document: &PolicyDocument) -> String {
    let mut text = String::new();
    if document.roles.is_empty() {
        text.push_str("no roles: nobody may ask for anything\n");
    } else {
        let mut roles = table(&["ROLE", "MAY ASK", "HOSTS", "OPENS", "LONGEST", "APPROVE"]);
        for role in &document.roles {
            roles.add_row([
                role.name.clone(),
                role.may_ask.in_words(),
                role.hosts_in_words(),
                role.actions.join(", "),
                in_words(role.longest_seconds),
                role.approval_in_words(),
            ]);
        }
        text.push_str(&trimmed(roles));
    }
    if !document.denials.is_empty() {
        let mut denials = table(&["DENIAL", "WHO", "HOSTS", "WHAT OPENS", "BECAUSE"]);
        for denial in &document.denials {
            let [who, hosts, actions] = denial.said().map(|(_, answer)| answer);
            denials.add_row([&denial.name, &who, &hosts, &actions, &denial.because]);
        }
        text.push_str(&format!("\n{}", trimmed(denials)));
    }
    text.push_str(&format!("\n{}\n{}\n", locks(document), auditors(document)));
    text.push_str(&format!("{}\n", changes(document)));
    if let Some(why) = &document.beside_file {
        text.push_str(&format!("warning: {why}\n"));
    }
    if let Some(members) = &document.members {
        let mut groups = table(&["GROUP", "MEMBERS"]);
        for (group, members) in members {
            groups.add_row([group.clone(), listed(members)]);
        }
        text.push_str(&format!("\n{}", trimmed(groups)));
    }
    text
}

/// GitHub's Markdown, as auditors get it.
fn as_markdown(document: &PolicyDocument) -> String {
    let mut text = String::from(
        "# Who may have access\n\nWhatever is not here is refused. Nobody approves his own request.\n",
    );
    if document.roles.is_empty() {
        text.push_str("There are no roles: nobody may ask for anything.\n");
    }
    for role in &document.roles {
        text.push_str(&format!("\n## {}\n\n", role.name));
        if !role.description.is_empty() {
            text.push_str(&format!("{}\n\n", escaped(&role.description)));
        }
        text.push_str("| | |\n|---|---|\n");
        for (question, answer) in role.said() {
            // A pattern of tickets may have what ends a cell, in code too.
            let answer = answer.replace('|', "\\|");
            text.push_str(&format!("| {question} | {answer} |\n"));
        }
        if let Some(because) = &role.auto {
            text.push_str(&format!("| Why that is safe | {} |\n", escaped(because)));
        }
    }
    text.push_str(&denials(document));
    if let Some(members) = &document.members {
        text.push_str("\n## Groups\n\n| | |\n|---|---|\n");
        for (group, members) in members {
            text.push_str(&format!("| {group} | {} |\n", listed(members)));
        }
    }
    text.push_str(&format!(
        "\n## Locks\n\n{}.\n\n## The record\n\n{}.\n\n## Changes\n\n{}.\n\nSHA-256 of the policy's text, which the record has with every decision: `{}`\n",
        locks(document),
        auditors(document),
        changes(document),
        document.policy
    ));
    text
}

/// What no role gives, where there is any of it.
fn denials(document: &PolicyDocument) -> String {
    if document.denials.is_empty() {
        return String::new();
    }
    let mut text = "\n## Denials\n\nThese win: where one fits, no role gives it.\n".to_owned();
    for denial in &document.denials {
        text.push_str(&format!("\n### {}\n\n| | |\n|---|---|\n", denial.name));
        for (question, answer) in denial.said() {
            text.push_str(&format!("| {question} | {answer} |\n"));
        }
        text.push_str(&format!("| Why | {} |\n", escaped(&denial.because)));
    }
    text
}

fn locks(document: &PolicyDocument) -> String {
    beside_root("May lock and unlock others", &document.may_lock)
}

fn auditors(document: &PolicyDocument) -> String {
    beside_root("May read the whole record", &document.may_audit)
}

fn changes(document: &PolicyDocument) -> String {
    let what = "Changes of the policy, of users and of hosts' labels";
    match &document.changes_need {
        None => format!("{what}: root on the server's machine"),
        Some(need) => format!(
            "{what}: root on the server's machine, confirmed by {} of {}",
            need.count,
            need.people.in_words()
        ),
    }
}

fn beside_root(may: &str, others: &PeopleDocument) -> String {
    if others.are_nobody() {
        return format!("{may}: root on the server's machine");
    }
    format!("{may}: root on the server's machine, {}", others.in_words())
}

/// Text that Markdown shows as it is. Names need none of this.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_punctuation() && !",.;:!?'\"/".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::check_text;

    #[test]
    fn a_document_tells_who_may_have_what_and_no_description_changes_its_form() {
        let policy = r##"
may_lock = { groups = ["leads"] }
may_audit = { users = ["erin"], attributes = { security = true } }
[roles.web-admin]
description = "# [Fix](http://x) | <b>now</b>"
hosts = ["*"]
actions = ["ssh", "sudo"]
longest = "4h"
hours = { days = ["mon-fri"], from = "08:00", to = "18:00", zone = "Europe/Paris" }
start_within = "7d"
ticket = "OPS-|[0-9]+"
reason_at_least = 20
asked_from = ["10.0.0.0/8", "socket"]
extendable = "30m"
may_ask = { users = ["alice"], groups = ["developers"] }
approve = { groups = ["leads"], count = 2 }
[roles.logs]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
may_ask = { attributes = { team = "web", on_call = true } }
approve = { auto = true, because = "logs only | <b>read</b>" }
[denials.contractors]
because = "card | data <b>is</b> for employees"
people = { groups = ["contractors"], users = ["mallory"] }
except = { attributes = { cleared = true } }
hosts = ["db-*"]
labels = { env = ["pci", "prod"] }
actions = ["sudo", "su"]
[denials.freeze]
because = "nobody touches it"
hosts = ["web-9"]
"##;
        let policy = check_text("policy.toml", policy).unwrap();
        let text = as_markdown(&PolicyDocument::from(&policy));
        for line in [
            "## web-admin",
            r"\# \[Fix\]\(http://x\) \| \<b\>now\</b\>",
            "| Who may ask | alice, group developers |",
            "| On which hosts | every host, those enrolled later too |",
            "| What it opens | ssh, sudo |",
            "| For how long | 4h at most |",
            "| When | mon-fri 08:00 to 18:00 Europe/Paris; what is granted ends with that |",
            "| Begins | when it is granted, or 168h ahead at most |",
            "| Asked for with | a reason of 20 characters at least and a ticket like `OPS-\\|[0-9]+` |",
            "| Asked for from | the server's own machine, 10.0.0.0/8 |",
            "| Can be extended | by 30m at a time, approved as a request is, to 4h in all |",
            "| Who approves | 2 of: group leads |",
            "| Undecided, it lapses after | 24h |",
            "| Where an elevation is ended, its login | ends, too |",
            "May lock and unlock others: root on the server's machine, group leads.",
            "| Who approves | nobody: it is granted at once |",
            r"| Why that is safe | logs only \| \<b\>read\</b\> |",
            "May read the whole record: root on the server's machine, erin (with security=true).",
            "| Who may ask | everybody with on_call=true and team=web |",
            "## Denials",
            "### contractors",
            "| Who is denied | mallory, group contractors; except everybody with cleared=true |",
            "| On which hosts | of db-*: those with env=pci or prod |",
            "| What opens | sudo or su |",
            r"| Why | card \| data \<b\>is\</b\> for employees |",
            "| Who is denied | everybody |",
            "| On which hosts | web-9 |",
            "| What opens | anything |",
        ] {
            assert!(
                text.lines().any(|told| told == line),
                "{line:?} is not in {text}"
            );
        }
        assert!(text.contains(&policy.hash));
        let table = as_table(&PolicyDocument::from(&policy));
        let denial = table.lines().find(|line| line.starts_with("freeze"));
        let denial = denial.unwrap();
        for told in ["everybody", "web-9", "anything", "nobody touches it"] {
            assert!(denial.contains(told), "{told:?} is not in {denial}");
        }
    }
}
