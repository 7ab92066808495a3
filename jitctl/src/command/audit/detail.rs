//! What an event tells beside its columns, in one line for people. `--json` has all of it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::server::Event;
use crate::words::{Times, span};

/// Which process it was, where it stood, when the end was due, and hashes of secrets: for whoever looks closer, with `--json`.
const TOO_FINE: [&str; 15] = [
    "boot_id",
    "credential",
    "digest",
    "due",
    "id",
    "leader",
    "mode",
    "parent",
    "phase",
    "pid",
    "policy",
    "public_key",
    "real_uid",
    "scopes",
    "secret",
];

/// The line. What is of no known shape is shown as `name=value`.
pub(in crate::command) fn detail(event: &Event, times: &Times) -> String {
    let Some(of) = event.detail.as_object() else {
        return String::new();
    };
    let fields = Fields { of, times };
    let (about, what) = event.kind.split_once('.').unwrap_or(("", &event.kind));
    let told = match (about, what) {
        ("", "decision") => fields.decision(),
        ("", "refused") => fields.refusal("refused"),
        ("", "gating") => fields.gating(),
        ("session" | "elevation" | "job" | "manager", "opened") => fields.opened(),
        ("session" | "elevation" | "job" | "manager", "ending") => fields.ending(),
        ("session" | "elevation" | "job" | "manager", "ended") => fields.ended(),
        ("elevation", "residue") => fields.residue(),
        ("", "requested") => fields.requested(),
        ("", "approved") => fields.approved(),
        ("", "granted") => fields.granted(),
        ("", "extended") => fields.extended(),
        ("", "locked") => fields.text("reason").map(str::to_owned),
        ("", "user_set") => fields.user(),
        ("", "alarm") => fields.alarm(),
        ("", "call_refused") => fields.refused_call(),
        ("", "host_state") => fields.standing(),
        ("gate", "changed") => fields.gate(),
        ("", "record_needs") => fields.record_needs(),
        _ => None,
    };
    told.unwrap_or_else(|| times.localized(&plain(event, of)))
}

/// `name=value` for each field that no column shows. Hashes are cut.
fn plain(event: &Event, of: &Map<String, Value>) -> String {
    const HASH: usize = 64;
    let columns = [event.subject.as_deref(), event.actor.as_deref()];
    let words = of.iter().filter_map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let is_hash = text.len() == HASH && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match value {
            Value::Null => None,
            _ if columns.contains(&Some(&text)) || TOO_FINE.contains(&name.as_str()) => None,
            _ if is_hash => Some(format!("{name}={}…", &text[..12])),
            _ => Some(format!("{name}={text}")),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

struct Fields<'a> {
    of: &'a Map<String, Value>,
    times: &'a Times,
}

/// None where a field is missing that the line can't do without.
impl Fields<'_> {
    fn decision(&self) -> Option<String> {
        let watched = self.text("mode") == Some("monitor");
        if !self.flag("allow")? {
            return self.refusal(if watched { "would refuse" } else { "refused" });
        }
        let allowed = if watched { "would allow" } else { "allowed" };
        Some(format!("{allowed} {}{}", self.door()?, self.until()))
    }

    fn refusal(&self, refused: &str) -> Option<String> {
        let why = self.text("why").map(|why| format!(" ({why})"));
        let (door, code) = (self.door()?, self.text("code")?);
        Some(format!(
            "{refused} {door}: {code}{}",
            why.unwrap_or_default()
        ))
    }

    fn opened(&self) -> Option<String> {
        let watched = if self.flag("enforced")? {
            ""
        } else {
            ", only watched"
        };
        let groups = match self.list("groups") {
            none if none.is_empty() => String::new(),
            groups => format!(", in {}", groups.join(" ")),
        };
        Some(format!("{}{groups}{}{watched}", self.door()?, self.until()))
    }

    fn ending(&self) -> Option<String> {
        let processes = match self.number("processes")? {
            1 => "1 process".to_owned(),
            count => format!("{count} processes"),
        };
        Some(format!("{}, {processes} told to go", self.why()?))
    }

    fn ended(&self) -> Option<String> {
        let killed = if self.flag("killed")? { ", killed" } else { "" };
        let left = match self.list("left") {
            left if left.is_empty() => String::new(),
            left => format!(", still there: {}", left.join(" ")),
        };
        let code = self.why()?;
        // jitd was away where it could not say.
        let took = self
            .number("took_ms")
            .map_or_else(|| "unseen".to_owned(), |took| format!("after {took} ms"));
        Some(format!("{code}, gone {took}{killed}{left}"))
    }

    /// The code of an end, and since when nobody had done anything where that is why.
    fn why(&self) -> Option<String> {
        let code = self.text("code")?;
        let since = self.time("idle_since");
        let since = since.map_or_else(String::new, |since| format!(" (idle since {since})"));
        Some(format!("{code}{since}"))
    }

    /// `jitctl show` lists all of it.
    fn residue(&self) -> Option<String> {
        let items = self.of.get("items")?.as_array()?;
        let count = items.len() as u64 + self.number("more").unwrap_or(0);
        let first = items.first().and_then(|item| item.get("path")?.as_str());
        let first = first
            .map(|path| format!(", {path} first"))
            .unwrap_or_default();
        let incomplete = if self.flag("complete")? {
            ""
        } else {
            ", perhaps more"
        };
        Some(format!("left behind: {count}{first}{incomplete}"))
    }

    fn gating(&self) -> Option<String> {
        let services = self.list("services").join(" ");
        Some(format!("{services}: {}", self.text("detail")?))
    }

    /// How a host says that it stands.
    fn standing(&self) -> Option<String> {
        let gates = self.of.get("gates")?.as_object()?;
        let gate =
            |(service, mode): (&String, &Value)| Some(format!("{service} {}", mode.as_str()?));
        let gates = gates.iter().filter_map(gate).collect::<Vec<_>>().join(", ");
        let gates = if gates.is_empty() { "none" } else { &gates };
        Some(format!("jitd {}, gates: {gates}", self.text("version")?))
    }

    /// What servers have to know of from here on.
    fn record_needs(&self) -> Option<String> {
        Some(format!(
            "servers that know version {} of the record, for {}",
            self.number("version")?,
            self.text("for")?
        ))
    }

    /// A gate that became different.
    fn gate(&self) -> Option<String> {
        let mode = |name: &str| self.text(name).unwrap_or("not gated");
        Some(format!(
            "{}: was {}, is {}",
            self.text("service")?,
            mode("was"),
            mode("is")
        ))
    }

    fn requested(&self) -> Option<String> {
        let (role, hosts) = (self.text("role")?, self.list("hosts").join(" "));
        let ticket = self.text("ticket").map(|ticket| format!(" [{ticket}]"));
        let (length, reason) = (self.length()?, self.text("reason")?);
        let what = match self.text("extends") {
            Some(grant) => format!("to extend {grant} by {length}"),
            None => format!("{role} on {hosts} for {length}"),
        };
        let from = self.time("not_before");
        let from = from.map_or_else(String::new, |from| format!(" from {from}"));
        Some(format!(
            "{what}{from}: {reason}{}",
            ticket.unwrap_or_default()
        ))
    }

    fn approved(&self) -> Option<String> {
        let comment = self.text("comment").map(|comment| format!(": {comment}"));
        let stage = self.number("stage").filter(|stage| *stage > 1);
        let stage = stage.map(|stage| format!(", stage {stage}"));
        Some(format!(
            "for {}{}{}",
            self.length()?,
            stage.unwrap_or_default(),
            comment.unwrap_or_default()
        ))
    }

    fn granted(&self) -> Option<String> {
        let grants = self.of.get("grants")?.as_array()?.iter().map(|grant| {
            let part = |name: &str| grant.get(name).and_then(Value::as_str);
            Some(format!("{} on {}", part("grant")?, part("host")?))
        });
        let grants = grants.collect::<Option<Vec<_>>>()?.join(", ");
        let at_once = self.of.get("at_once").and_then(|why| why.get("because"));
        let because = at_once.and_then(Value::as_str);
        let because = because.map(|because| format!(", approved by nobody: {because}"));
        Some(format!(
            "{grants}, until {}{}",
            self.time("expires")?,
            because.unwrap_or_default()
        ))
    }

    fn extended(&self) -> Option<String> {
        let (grant, length) = (self.text("grant")?, self.length()?);
        let (until, reason) = (self.time("expires")?, self.text("reason")?);
        Some(format!("{grant} by {length}, until {until}: {reason}"))
    }

    fn user(&self) -> Option<String> {
        let groups = match self.list("groups") {
            groups if groups.is_empty() => String::new(),
            groups => format!(", in {}", groups.join(" ")),
        };
        let keys = match self.of.get("keys")?.as_array()?.len() {
            1 => "1 key".to_owned(),
            count => format!("{count} keys"),
        };
        let attributes = self.of.get("attributes").and_then(Value::as_object);
        let attributes = attributes.into_iter().flatten().map(|(name, value)| {
            let text = value.as_str().map(str::to_owned);
            format!(", {name}={}", text.unwrap_or_else(|| value.to_string()))
        });
        let attributes: String = attributes.collect();
        let until = self.time("until");
        let until = until.map_or_else(String::new, |until| format!(", until {until}"));
        let kind = if self.of.contains_key("service") {
            "service account, "
        } else {
            ""
        };
        Some(format!(
            "{kind}login {}{groups}, {keys}{attributes}{until}",
            self.text("login")?
        ))
    }

    fn alarm(&self) -> Option<String> {
        Some(format!("{}{}", self.text("said")?, self.left_out()))
    }

    fn refused_call(&self) -> Option<String> {
        let from = self.text("from").map(|from| format!(" from {from}"));
        let (call, from) = (self.text("call")?, from.unwrap_or_default());
        let (by, why) = (self.no_user(), self.text("why")?);
        Some(format!("{call}{by}{from}: {why}{}", self.left_out()))
    }

    /// Who called, where it was no user: no column has it.
    fn no_user(&self) -> String {
        let uid = || self.number("uid").map(|uid| format!(" by uid {uid}"));
        let account = self.text("account");
        let account = account.map(|account| format!(" by account {account}"));
        let host = self.text("host").map(|host| format!(" by host {host}"));
        host.or(account).or_else(uid).unwrap_or_default()
    }

    /// How many of its kind are not in the record.
    fn left_out(&self) -> String {
        let count = self.number("left_out").filter(|count| *count > 0);
        count.map_or_else(String::new, |count| {
            format!(" ({count} more since the last one)")
        })
    }

    /// What was to be entered, from where, and as whom where that is somebody else.
    fn door(&self) -> Option<String> {
        let other = self
            .text("user")
            .filter(|user| self.text("login") != Some(user));
        let user = other.map(|user| format!(" to {user}"));
        let from = self.text("rhost").map(|rhost| format!(" from {rhost}"));
        Some(format!(
            "{}{}{}",
            self.text("service")?,
            user.unwrap_or_default(),
            from.unwrap_or_default()
        ))
    }

    fn until(&self) -> String {
        let until = self.time("until");
        until
            .map(|until| format!(", until {until}"))
            .unwrap_or_default()
    }

    fn length(&self) -> Option<String> {
        let seconds = i64::try_from(self.number("for_seconds")?).ok()?;
        Some(span(SignedDuration::from_secs(seconds)))
    }

    fn time(&self, name: &str) -> Option<String> {
        let at: Timestamp = self.text(name)?.parse().ok()?;
        Some(self.times.local(at))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.of.get(name)?.as_str()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.of.get(name)?.as_bool()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.of.get(name)?.as_u64()
    }

    /// Empty where it is missing.
    fn list(&self, name: &str) -> Vec<String> {
        let items = self.of.get(name).and_then(Value::as_array);
        let text = |item: &Value| {
            item.as_str()
                .map_or_else(|| item.to_string(), str::to_owned)
        };
        items
            .map(|items| items.iter().map(text).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
