//! Cases that a policy is tested with before it is in force: who asks for what, who approves, and what shall come of it.

mod approvals;
mod people;
mod run;

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use jit_grant::{HostName, Principal, RoleName};
use toml::de::DeTable;

use crate::instant;
use crate::label::{LabelKey, LabelValue};
use crate::origin::Origin;
use crate::policy::{Mistake, Reader, Value};
use crate::text::{Reason, Ticket};

pub use approvals::Approver;
pub use people::People;
pub use run::{Came, Outcome, run};

/// A file of cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cases {
    /// Who the people are.
    pub people: People,
    /// At least one.
    pub cases: Vec<Case>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Where it begins in its file, from 1.
    pub line: usize,
    /// Who asks.
    pub who: Principal,
    /// For which role.
    pub role: RoleName,
    /// On which host; it counts as enrolled.
    pub host: HostName,
    /// For how long. Seconds. None: for as long as the role says for that.
    pub for_seconds: Option<u32>,
    /// Who approves then, in this order, if the request is taken. Somebody may be named again: stages may allow that.
    pub approved_by: Vec<Approver>,
    /// What shall come of it.
    pub expected: Outcome,
    /// The code that a refusal shall have. None: any.
    pub code: Option<String>,
    /// The labels of the host.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// When it is asked for and approved. None: at a time of no hours.
    pub at: Option<Timestamp>,
    /// When it is to begin. None: when it is granted.
    pub from: Option<Timestamp>,
    /// The ticket that is named.
    pub ticket: Option<Ticket>,
    /// Why. None: for a reason that is long enough.
    pub reason: Option<Reason>,
    /// Where it is asked from. None: the server's own machine.
    pub from_address: Option<Origin>,
}

/// Reads cases from the text of `file`.
///
/// # Errors
/// Every mistake in it, in the order of their lines.
pub fn read(file: &str, text: &str) -> Result<Cases, Vec<Mistake>> {
    let mut reader = Reader::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.mistake(&error.span().unwrap_or(0..0), "", error.message());
    }
    let table = table.get_ref();
    for key in table
        .keys()
        .filter(|key| key.get_ref() != "case" && !people::TABLES.contains(&key.get_ref().as_ref()))
    {
        let problem = "unknown key; there are only services, [groups], [attributes], [until] and [[case]] here";
        reader.mistake(&key.span(), key.get_ref(), problem);
    }
    let people = reader.people_of_cases(table);
    let cases = match table.get("case") {
        Some(value) => reader.cases(value),
        None => {
            reader.mistake(
                &(0..0),
                "case",
                "missing: without a [[case]] nothing is tested",
            );
            Vec::new()
        }
    };
    reader.end(Cases { people, cases })
}

impl Reader<'_> {
    fn cases(&mut self, value: &Value<'_>) -> Vec<Case> {
        let Some(array) = value.get_ref().as_array() else {
            self.mistake(&value.span(), "case", "must be [[case]] tables");
            return Vec::new();
        };
        let numbered = (1_usize..).zip(array.iter());
        let cases = numbered.filter_map(|(number, case)| {
            let path = format!("case.{number}");
            let table = self.table(case, &path)?;
            self.case(table, &case.span(), &path)
        });
        cases.collect()
    }

    fn moment(&mut self, value: &Value<'_>, path: &str) -> Option<Timestamp> {
        let text = self.text(value, path)?;
        let at = instant::parse(text);
        at.map_err(|error| self.mistake(&value.span(), path, error))
            .ok()
    }

    fn case(&mut self, table: &DeTable<'_>, at: &Range<usize>, path: &str) -> Option<Case> {
        const KEYS: &[&str] = &[
            "who",
            "role",
            "host",
            "for",
            "approved_by",
            "expect",
            "code",
            "approved_after",
            "labels",
            "at",
            "from",
            "ticket",
            "reason",
            "from_address",
        ];
        self.refuse_unknown(table, path, KEYS);
        let who = self.required(table, at, path, "who", Self::parsed);
        let role = self.required(table, at, path, "role", Self::parsed);
        let host = self.required(table, at, path, "host", Self::parsed);
        let for_seconds = self
            .optional(table, path, "for", Self::duration)
            .map_or(Some(None), |seconds| seconds.map(Some));
        let approved_after = self
            .optional(table, path, "approved_after", Self::duration)
            .unwrap_or(Some(0));
        let approved_by = match table.get("approved_by") {
            Some(value) => self.approvers(
                value,
                &format!("{path}.approved_by"),
                approved_after.unwrap_or(0),
            ),
            None => Some(Vec::new()),
        };
        let expected: Option<Outcome> = self.required(table, at, path, "expect", Self::parsed);
        let code = self
            .optional(table, path, "code", |reader, value, path| {
                reader.text(value, path).map(str::to_owned)
            })
            .map_or(Some(None), |code| code.map(Some));
        let labels = self
            .optional(table, path, "labels", Self::labels)
            .unwrap_or_else(|| Some(BTreeMap::new()));
        let at_moment = self
            .optional(table, path, "at", Self::moment)
            .map_or(Some(None), |at| at.map(Some));
        let from = self
            .optional(table, path, "from", Self::moment)
            .map_or(Some(None), |from| from.map(Some));
        let ticket = self
            .optional(table, path, "ticket", Self::parsed)
            .map_or(Some(None), |ticket| ticket.map(Some));
        let reason = self
            .optional(table, path, "reason", Self::parsed)
            .map_or(Some(None), |reason| reason.map(Some));
        let from_address = self
            .optional(table, path, "from_address", Self::parsed)
            .map_or(Some(None), |from| from.map(Some));
        if let Some(value) = table.get("code")
            && expected.is_some_and(|expected| expected != Outcome::Refused)
        {
            let problem = "only a refusal has a code; expect = \"refused\" goes with it";
            self.mistake(&value.span(), &format!("{path}.code"), problem);
        }
        Some(Case {
            line: self.line(at),
            who: who?,
            role: role?,
            host: host?,
            for_seconds: for_seconds?,
            approved_by: approved_by?,
            expected: expected?,
            code: code?,
            labels: labels?,
            at: at_moment?,
            from: from?,
            ticket: ticket?,
            reason: reason?,
            from_address: from_address?,
        })
    }
}

#[cfg(test)]
mod tests;
