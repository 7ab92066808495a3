//! `jit-server apply`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use comfy_table::{Cell, Color};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::changes::Held;
use super::loss::Loss;
use super::{print_json, say, table, trimmed};
use crate::apply::{HOSTS, POLICY, USERS};
use crate::cli::{ApplyOptions, ProposeOptions};
use crate::client::Client;
use crate::error::Error;
use crate::init::Unfinished;
use crate::policy::{self, Mistake};
use crate::text::shown;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Everything is as the files say.
    Done,
    /// Something would change, or waits for others to confirm it.
    Pending,
    /// The files are wrong, and nothing was changed.
    Wrong,
}

/// What changes, or would.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    mistakes: Vec<Mistake>,
    changes: Vec<Change>,
    lost: Loss,
    warnings: Vec<String>,
    removals_to_allow: Option<usize>,
    applied: bool,
    #[serde(default)]
    held: Option<Held>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    sign: String,
    thing: String,
    name: String,
    details: Vec<String>,
}

/// Makes users, hosts and policy as the files of a folder say, or tells what would change. The policy's file is written when the server
/// has taken everything, and is on disk by then.
///
/// # Errors
/// Where the folder or the policy's file can't be used, or the server refuses.
pub async fn apply(
    options: ApplyOptions,
    now: Timestamp,
    colour: bool,
    out: &mut impl Write,
) -> Result<Applied, Error> {
    let mut folder = Folder::read(&options.folder)?;
    let client = Client::new(&options.reach.socket);
    let mut plan: Plan = client.post("/v1/apply", &folder.body(true, 0)).await?;
    folder.mistakes.append(&mut plan.mistakes);
    if !folder.mistakes.is_empty() {
        plan.mistakes = folder.mistakes_in(&options.folder);
        return if options.json {
            print_json(out, &plan)
        } else {
            let lines = plan.mistakes.iter().map(|mistake| format!("{mistake}\n"));
            say(out, &lines.collect::<String>())
        }
        .map(|()| Applied::Wrong);
    }
    let policy = folder.texts.get(POLICY);
    let policy = policy.filter(|text| !holds(&options.policy, text));
    plan.add_policy_file(policy.map(|_| options.policy.as_path()));
    let nothing = plan.changes.is_empty();
    if !options.dry_run && !nothing {
        let file = policy.map(|text| Unfinished::write(&options.policy, text));
        let file = file.transpose()?;
        let mut body = folder.body(false, options.allow_removals);
        body["reason"] = json!(options.reason);
        plan = client.post("/v1/apply", &body).await?;
        let file = file.filter(|_| plan.held.is_none());
        if let Some(file) = file {
            file.put_in_place().map_err(|error| {
                Error::Setup(format!(
                    "everything is applied and in force, but {error}; see to that and run this again, since a restart of the server goes back to what the file has"
                ))
            })?;
        }
        if plan.held.is_none() {
            plan.add_policy_file(policy.map(|_| options.policy.as_path()));
        }
    }
    if options.json {
        print_json(out, &plan)?;
    } else {
        say(out, &plan.told(now, colour))?;
    }
    let is_held = !options.dry_run && plan.held.is_some();
    Ok(if is_held || options.dry_run && !nothing {
        Applied::Pending
    } else {
        Applied::Done
    })
}

/// `jit-server policy propose`.
///
/// # Errors
/// Where the file can't be read, nobody has to confirm changes, or the server refuses.
pub async fn propose(
    options: ProposeOptions,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<Applied, Error> {
    let file = &options.file;
    let text = policy::read_text(file);
    let text = text.map_err(|why| Error::Setup(format!("{}: {why}", file.display())))?;
    let client = Client::new(&options.reach.socket);
    let mut body = json!({ "policy": text, "users": null, "hosts": null, "dry_run": true });
    let mut plan: Plan = client.post("/v1/apply", &body).await?;
    for mistake in &mut plan.mistakes {
        mistake.file = file.display().to_string();
    }
    let is_right = plan.mistakes.is_empty();
    let nothing = plan.changes.is_empty();
    if is_right && !nothing {
        if plan.held.is_none() {
            return Err(Error::Refused(
                "the policy in force has no changes_need, so its file counts by itself: write that"
                    .to_owned(),
            ));
        }
        body["dry_run"] = json!(false);
        body["reason"] = json!(options.reason);
        plan = client.post("/v1/apply", &body).await?;
    }
    if options.json {
        print_json(out, &plan)?;
    } else if is_right {
        say(out, &plan.told(now, false))?;
    } else {
        let lines = plan.mistakes.iter().map(|mistake| format!("{mistake}\n"));
        say(out, &lines.collect::<String>())?;
    }
    Ok(match (is_right, nothing) {
        (false, _) => Applied::Wrong,
        (true, true) => Applied::Done,
        (true, false) => Applied::Pending,
    })
}

/// True where the file at `path` is that text already.
fn holds(path: &Path, text: &str) -> bool {
    std::fs::read(path).is_ok_and(|there| there == text.as_bytes())
}

/// The files of a folder, as far as they could be read.
struct Folder {
    texts: BTreeMap<&'static str, String>,
    mistakes: Vec<Mistake>,
}

impl Folder {
    fn read(path: &Path) -> Result<Self, Error> {
        let reading = || format!("reading {}", path.display());
        let mut folder = Self {
            texts: BTreeMap::new(),
            mistakes: Vec::new(),
        };
        for entry in std::fs::read_dir(path).map_err(Error::io(reading()))? {
            let name = entry.map_err(Error::io(reading()))?.file_name();
            let name = name.to_string_lossy();
            match [POLICY, USERS, HOSTS]
                .into_iter()
                .find(|known| *known == name)
            {
                Some(known) => match policy::read_text(&path.join(known)) {
                    Ok(text) => _ = folder.texts.insert(known, text),
                    Err(problem) => folder.mistake(known, problem),
                },
                None if name.ends_with(".toml") && !name.starts_with('.') => {
                    let problem = format!("is none of {POLICY}, {USERS} and {HOSTS}");
                    folder.mistake(&name, problem);
                }
                None => {}
            }
        }
        if folder.texts.is_empty() && folder.mistakes.is_empty() {
            let path = path.display();
            return Err(Error::Setup(format!(
                "{path} has none of {POLICY}, {USERS} and {HOSTS}"
            )));
        }
        Ok(folder)
    }

    fn mistake(&mut self, file: &str, problem: String) {
        self.mistakes.push(Mistake {
            file: shown(file),
            line: 1,
            key: String::new(),
            problem,
        });
    }

    /// The mistakes, with the folder in the names of the files.
    fn mistakes_in(self, path: &Path) -> Vec<Mistake> {
        let mut mistakes = self.mistakes;
        for mistake in &mut mistakes {
            mistake.file = path.join(&mistake.file).display().to_string();
        }
        mistakes.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        mistakes
    }

    fn body(&self, dry_run: bool, allow_removals: usize) -> serde_json::Value {
        let text = |file| self.texts.get(file);
        json!({
            "policy": text(POLICY), "users": text(USERS), "hosts": text(HOSTS),
            "dry_run": dry_run, "allow_removals": allow_removals,
        })
    }
}

impl Plan {
    /// Tells of a policy's file that is written, also where the policy in it is in force already.
    fn add_policy_file(&mut self, written: Option<&Path>) {
        let Some(path) = written.filter(|_| !self.changes.iter().any(|c| c.thing == "policy"))
        else {
            return;
        };
        let change = Change {
            sign: "~".to_owned(),
            thing: "policy".to_owned(),
            name: POLICY.to_owned(),
            details: vec![format!("{} is written again", path.display())],
        };
        self.changes.insert(0, change);
    }

    fn told(&self, now: Timestamp, colour: bool) -> String {
        let mut text = String::new();
        if !self.changes.is_empty() {
            text.push_str(&self.table(colour));
        }
        let lost = self.lost.lines(now);
        if !lost.is_empty() {
            text.push_str(&format!("\nLost by it:\n{lost}"));
        }
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        if self.changes.is_empty() {
            text.push_str("nothing to do\n");
            return text;
        }
        let count = |sign| self.changes.iter().filter(|c| c.sign == sign).count();
        let (added, changed, removed) = (count("+"), count("~"), count("-"));
        let counts = format!("{added} added, {changed} changed, {removed} removed");
        if let Some(held) = self.held.as_ref().filter(|held| held.is_proposed()) {
            return format!("{text}\nNothing was changed yet; {counts} when confirmed. {held}\n");
        }
        let end = match self.removals_to_allow {
            _ if self.applied => format!("\nDone: {counts}\n"),
            None => format!("\nNothing was changed yet. Without --dry-run: {counts}\n"),
            Some(removals) => format!(
                "\nNothing was changed yet. More than half of the users would go; if that is meant, --allow-removals {removals}: {counts}\n"
            ),
        };
        text.push_str(&end);
        if let Some(held) = &self.held {
            text.push_str(&format!("{held}\n"));
        }
        text
    }

    fn table(&self, colour: bool) -> String {
        let mut table = table(&["", "WHAT", "NAME", "CHANGE"]);
        if colour {
            table.enforce_styling();
        }
        for change in &self.changes {
            let paint = match change.sign.as_str() {
                "+" => Color::Green,
                "-" => Color::Red,
                _ => Color::Yellow,
            };
            let cell = |text: &str| {
                let cell = Cell::new(text);
                if colour { cell.fg(paint) } else { cell }
            };
            table.add_row([
                cell(&change.sign),
                Cell::new(&change.thing),
                cell(&change.name),
                Cell::new(change.details.join("\n")),
            ]);
        }
        trimmed(table)
    }
}
