//! The administrator's commands: clients of the running server.

mod apply;
mod changes;
mod copy;
mod host_token;
mod loss;
mod policy;
mod policy_show;
mod policy_test;
mod restored;
mod user_token;
mod webhooks;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use comfy_table::{Table, presets};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::attribute::{AttributeValue, Named};
use crate::cli::{ListOptions, NewUser, RemoveHost, RemoveUser};
use crate::client::Client;
use crate::error::Error;
use crate::logins::LoginDocument;
use crate::policy::WindowDocument;
use crate::until::Until;

pub use apply::{Applied, apply, propose};
pub use changes::change;
pub use copy::copy;
pub use host_token::host_token;
pub use policy::{check_policy, explain};
pub use policy_show::show_policy;
pub use policy_test::test_policy;
pub use restored::restored;
pub use user_token::user_token;
pub use webhooks::webhooks;

const MAX_KEY_FILE: u64 = 256 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
    login: String,
    groups: Vec<String>,
    keys: Vec<UserKey>,
    #[serde(default)]
    service: bool,
    #[serde(default)]
    hours: Vec<WindowDocument>,
    lock: Option<Lock>,
    #[serde(default)]
    until: Option<Timestamp>,
    #[serde(default)]
    attributes: BTreeMap<String, AttributeValue>,
    #[serde(default)]
    logins: Vec<LoginDocument>,
}

/// A user as he was set.
#[derive(Debug, Serialize, Deserialize)]
struct SetUser {
    #[serde(flatten)]
    user: User,
    changed: Vec<String>,
    shares_login_with: Vec<String>,
    lost: loss::Loss,
    #[serde(default)]
    held: Option<changes::Held>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Lock {
    by: String,
    at: Timestamp,
    reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct UserKey {
    fingerprint: String,
    key: String,
}

/// `jit-server user add`. [`Applied::Pending`] where others have to confirm it.
///
/// # Errors
/// Where a key's file can't be read, or the server refuses.
pub async fn add_user(
    new: NewUser,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<Applied, Error> {
    let mut keys = Vec::new();
    for file in &new.keys {
        keys.extend(key_lines(file)?);
    }
    let mut attributes = BTreeMap::new();
    for Named(name, value) in &new.attributes {
        if attributes.insert(name, value).is_some() {
            return Err(Error::Setup(format!("attribute {name} is given twice")));
        }
    }
    let client = Client::new(&new.reach.socket);
    let mut body = json!({ "name": new.name, "login": new.login, "groups": new.groups, "attributes": attributes });
    if new.replace || !keys.is_empty() {
        body["keys"] = json!(keys);
    }
    limit(&mut body, &new);
    let set: SetUser = client.post("/v1/users", &body).await?;
    let applied = match set.held {
        Some(_) => Applied::Pending,
        None => Applied::Done,
    };
    if new.json {
        print_json(out, &set)?;
        return Ok(applied);
    }
    let mut text = described(&set.user, &set.shares_login_with);
    for change in &set.changed {
        text.push_str(&format!("  changed: {change}\n"));
    }
    let lost = set.lost.lines(now);
    if !lost.is_empty() {
        let when = if set.held.is_some() { "ends" } else { "ended" };
        text.push_str(&format!("{when} with it:\n{lost}"));
    }
    if let Some(held) = &set.held {
        text.push_str(&format!("{held}\n"));
    }
    say(out, &text)?;
    Ok(applied)
}

/// The limits that are given. Of another one nothing is said, so that nobody loses one by a word left out; or that there is none, where that
/// is wanted.
fn limit(body: &mut Value, new: &NewUser) {
    let hours: Vec<WindowDocument> = new.hours.iter().map(WindowDocument::from).collect();
    if new.replace || new.until.is_some() {
        body["until"] = json!(new.until);
    }
    if new.replace || new.service {
        body["service"] = json!(new.service);
    }
    if new.replace || !hours.is_empty() {
        body["hours"] = json!(hours);
    }
    if new.replace {
        body["logins"] = json!([]);
    }
}

fn described(user: &User, sharing: &[String]) -> String {
    let kind = if user.service {
        "service account, "
    } else {
        ""
    };
    let mut text = format!("{}: {kind}login {}", user.name, user.login);
    if !user.groups.is_empty() {
        text.push_str(&format!(", groups {}", user.groups.join(", ")));
    }
    if !user.attributes.is_empty() {
        text.push_str(&format!(", {}", attributed(&user.attributes, ", ")));
    }
    if let Some(until) = user.until.map(Until) {
        text.push_str(&format!(", until {until}"));
    }
    text.push('\n');
    for key in &user.keys {
        text.push_str(&format!("  key {}\n", key.fingerprint));
    }
    for window in &user.hours {
        text.push_str(&format!("  hours {window}\n"));
    }
    if !sharing.is_empty() {
        let consequence = if user.keys.is_empty() {
            "only a key tells them apart, so without --key no grant lets this user in"
        } else {
            "a grant lets this user in with the keys above only"
        };
        text.push_str(&format!(
            "  login {} is also that of {}: {consequence}\n",
            user.login,
            sharing.join(", ")
        ));
    }
    if let Some(Lock { by, reason, .. }) = &user.lock {
        let name = &user.name;
        text.push_str(&format!(
            "  locked by {by}: {reason}; `jitctl unlock {name}` ends it\n"
        ));
    }
    text
}

fn attributed(attributes: &BTreeMap<String, AttributeValue>, between: &str) -> String {
    let each = attributes.iter();
    let each = each.map(|(name, value)| format!("{name}={value}"));
    each.collect::<Vec<_>>().join(between)
}

/// The keys of a `.pub` or `authorized_keys` file; `-` is standard input.
fn key_lines(file: &Path) -> Result<Vec<String>, Error> {
    let mut text = String::new();
    let reading = format!("reading {}", file.display());
    let read = if file == Path::new("-") {
        std::io::stdin()
            .take(MAX_KEY_FILE)
            .read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(MAX_KEY_FILE).read_to_string(&mut text))
    };
    read.map_err(Error::io(reading))?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Error::Setup(format!("{} has no key in it", file.display())));
    }
    Ok(lines)
}

/// `jit-server user list`.
///
/// # Errors
/// Where the server refuses.
pub async fn list_users(options: ListOptions, out: &mut impl Write) -> Result<(), Error> {
    let users: Vec<User> = Client::new(&options.reach.socket)
        .get_all("/v1/users")
        .await?;
    if options.json {
        return print_json(out, &users);
    }
    if users.is_empty() {
        return say(
            out,
            "no users yet; add one with `jit-server user add NAME --login LOGIN --key FILE`\n",
        );
    }
    let mut table = table(&[
        "NAME",
        "LOGIN",
        "GROUPS",
        "KEYS",
        "LOCKED",
        "UNTIL",
        "ATTRIBUTES",
        "KIND",
    ]);
    for user in &users {
        let keys: Vec<&str> = user
            .keys
            .iter()
            .map(|key| key.fingerprint.as_str())
            .collect();
        table.add_row([
            user.name.clone(),
            [user.login.clone()]
                .into_iter()
                .chain(user.logins.iter().map(LoginDocument::in_words))
                .collect::<Vec<_>>()
                .join("\n"),
            user.groups.join(", "),
            keys.join("\n"),
            user.lock.as_ref().map_or_else(String::new, |lock| {
                format!("by {}: {}", lock.by, lock.reason)
            }),
            user.until
                .map_or_else(String::new, |until| Until(until).to_string()),
            attributed(&user.attributes, "\n"),
            if user.service {
                "service account"
            } else {
                "person"
            }
            .to_owned(),
        ]);
    }
    say(out, &trimmed(table))
}

#[derive(Debug, Serialize, Deserialize)]
struct RemovedUser {
    name: String,
    lost: loss::Loss,
    lock: Option<Lock>,
}

/// `jit-server user remove`.
///
/// # Errors
/// Where the server refuses.
pub async fn remove_user(
    user: RemoveUser,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), Error> {
    let client = Client::new(&user.reach.socket);
    let removed: RemovedUser = client.delete(&format!("/v1/users/{}", user.name)).await?;
    if user.json {
        return print_json(out, &removed);
    }
    let RemovedUser { name, lost, lock } = removed;
    let mut text = format!("{name} is no user of this server any more\n");
    let lost = lost.lines(now);
    if !lost.is_empty() {
        text.push_str(&format!("ended with it:\n{lost}"));
    }
    if lock.is_some() {
        text.push_str(&format!(
            "the lock of {name} stays, also where that name is added again; `jitctl unlock {name}` ends it\n"
        ));
    }
    say(out, &text)
}

#[derive(Debug, Serialize, Deserialize)]
struct Host {
    name: String,
    host_id: String,
    enrolled_at: Timestamp,
    connected: bool,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    revision: u64,
    last_seen: Option<Timestamp>,
}

/// `jit-server host list`.
///
/// # Errors
/// Where the server refuses.
pub async fn list_hosts(
    options: ListOptions,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), Error> {
    let hosts: Vec<Host> = Client::new(&options.reach.socket)
        .get_all("/v1/hosts")
        .await?;
    if options.json {
        return print_json(out, &hosts);
    }
    if hosts.is_empty() {
        return say(
            out,
            "no hosts yet; as root, for this machine: `jitctl enroll --server unix:/run/jit-server/api.sock`; on another one, with what `jit-server host token` prints \
             and /etc/jit-server/ca.crt: `jitctl enroll --server https://SERVER:7443 --ca FILE --token-file FILE`\n",
        );
    }
    let mut table = table(&["NAME", "CONNECTED", "LAST SEEN", "ENROLLED", "LABELS"]);
    for host in &hosts {
        let connected = if host.connected { "yes" } else { "no" };
        let seen = host.last_seen.map_or_else(
            || "not since the server started".to_owned(),
            |at| ago(at, now),
        );
        table.add_row([
            host.name.clone(),
            connected.to_owned(),
            seen,
            ago(host.enrolled_at, now),
            labelled(&host.labels),
        ]);
    }
    say(out, &trimmed(table))
}

fn labelled(labels: &BTreeMap<String, String>) -> String {
    let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Deserialize)]
struct Removed {
    name: String,
    revoked: Vec<String>,
    token: Option<host_token::Listed>,
}

/// `jit-server host remove`.
///
/// # Errors
/// Where the server refuses.
pub async fn remove_host(
    host: RemoveHost,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), Error> {
    let client = Client::new(&host.reach.socket);
    let removed: Removed = client.delete(&format!("/v1/hosts/{}", host.name)).await?;
    let ended = match removed.revoked.as_slice() {
        [] => String::new(),
        revoked => format!("; ended with it: {}", revoked.join(", ")),
    };
    let name = removed.name;
    let mut text = format!("{name} is no host of this server any more{ended}\n");
    if let Some(token) = &removed.token {
        text.push_str(&token.counts_on(now));
    }
    say(out, &text)
}

#[derive(Debug, Serialize, Deserialize)]
struct Rotated {
    seq: u64,
    before: String,
    kid: String,
    public_key: String,
}

/// `jit-server key rotate`.
///
/// # Errors
/// What the server says.
pub async fn rotate_key(options: ListOptions, out: &mut impl Write) -> Result<(), Error> {
    let client = Client::new(&options.reach.socket);
    let rotated: Rotated = client.post("/v1/key/rotate", &json!({})).await?;
    if options.json {
        return print_json(out, &rotated);
    }
    let Rotated { before, kid, .. } = rotated;
    say(
        out,
        &format!(
            "Key {kid} signs from now on, in the place of {before}. Hosts follow by themselves when they hear the server.\nBack up /var/lib/jit-server now: with what was kept before, every host would have to enrol again.\n"
        ),
    )
}

/// How long before `now` something was, in the largest unit that fits.
fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(now.duration_since(at)))
}

/// How long after `now` something ends.
fn left(end: Timestamp, now: Timestamp) -> String {
    span(end.duration_since(now))
}

fn span(time: SignedDuration) -> String {
    let seconds = time.max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.to_vec());
    table
}

/// The table without blanks at either side, as jitctl shows its own.
fn trimmed(mut table: Table) -> String {
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn print_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Error> {
    let value: Value =
        serde_json::to_value(value).map_err(|error| Error::Setup(error.to_string()))?;
    say(out, &format!("{value:#}\n"))
}

fn say(out: &mut impl Write, text: &str) -> Result<(), Error> {
    out.write_all(text.as_bytes())
        .map_err(Error::io("printing"))
}
