//! A policy as people and programs read it, whoever wrote it and however.

mod denials;
mod members;
mod places;

use std::collections::BTreeMap;

use jit_grant::{Action, IdleTime, Networks as LoginNetworks};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::hours::Window;
use super::networks::Networks;
use super::{Approval, Later, People, Policy, Review, Role, Stage, in_words};
use crate::attribute::AttributeValue;
use crate::origin::SOCKET;

pub use denials::DenialDocument;
use places::places_in_words;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDocument {
    /// SHA-256 of its text, in hexadecimal; the record has it with every decision.
    pub policy: String,
    /// By name.
    pub roles: Vec<RoleDocument>,
    /// Who may lock and unlock others, beside the administrator.
    pub may_lock: PeopleDocument,
    /// Who may read the whole record, beside the administrator.
    #[serde(default)]
    pub may_audit: PeopleDocument,
    /// The members of each group that it names. null: this is a policy of a file, which does not say.
    #[serde(default)]
    pub members: Option<BTreeMap<String, Vec<String>>>,
    /// Who confirms what an administrator changes. null: it needs nobody else.
    #[serde(default)]
    pub changes_need: Option<ConfirmersDocument>,
    /// Why the policy's file does not count. null: it has what is in force.
    #[serde(default)]
    pub beside_file: Option<String>,
    /// What is refused whatever a role says, by name.
    #[serde(default)]
    pub denials: Vec<DenialDocument>,
}

/// Who confirms changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfirmersDocument {
    /// Who may.
    #[serde(flatten)]
    pub people: PeopleDocument,
    /// How many of them have to.
    pub count: u32,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoleDocument {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Names, patterns with `*` and `?`, or `*` alone for any name.
    pub hosts: Vec<String>,
    /// What it opens: of ssh, sudo, su and jobs.
    pub actions: Vec<String>,
    /// The longest time to be asked for, and in all.
    pub longest_seconds: u32,
    /// The longest time of one extension. null: there are none.
    pub extendable_seconds: Option<u32>,
    /// Extensions need no approval.
    pub extend_without_approval: bool,
    /// A request nobody decides lapses after so long.
    pub pending_seconds: u32,
    /// Who may ask.
    pub may_ask: PeopleDocument,
    /// Who has to approve, stage after stage; nobody his own request.
    pub stages: Vec<StageDocument>,
    /// Why it is granted at once, without any stage. null: it is not.
    #[serde(default)]
    pub auto: Option<String>,
    /// How its use is reviewed, where it is granted at once and everybody is told. null: it is no break-glass role.
    #[serde(default)]
    pub break_glass: Option<ReviewDocument>,
    /// Where an elevation is ended, the login that it was started from ends too.
    pub end_login_with_elevation: bool,
    /// Its hosts have each of these keys with one of the values.
    #[serde(default)]
    pub labels: BTreeMap<String, Vec<String>>,
    /// It is for these days and hours only. None: for any time.
    #[serde(default)]
    pub hours: Vec<WindowDocument>,
    /// Grants may go on past the end of the hours.
    #[serde(default)]
    pub overrun: bool,
    /// How far ahead grants may begin. null: not at all.
    #[serde(default)]
    pub start_within_seconds: Option<u32>,
    /// `required`, or a regular expression that a request's ticket fits as a whole. null: none is needed.
    #[serde(default)]
    pub ticket: Option<String>,
    /// A request's reason has so many characters at least. null: as any reason.
    #[serde(default)]
    pub reason_at_least: Option<u32>,
    /// Networks that it may be asked for from, `socket` being the server's own machine. null: from anywhere.
    #[serde(default)]
    pub asked_from: Option<Vec<String>>,
    /// Networks that logins by it come from. null: from anywhere.
    #[serde(default)]
    pub login_from: Option<Vec<String>>,
    /// It is asked for so long where nobody says for how long. null: that has to be said.
    #[serde(default)]
    pub default_seconds: Option<u32>,
    /// A grant opens one login, with the sudo and su in it.
    #[serde(default)]
    pub single_use: bool,
    /// A login at which nobody does anything for so long is ended. null: it may be left alone.
    #[serde(default)]
    pub idle_seconds: Option<u32>,
    /// Unix groups that logins by it are in.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A stage of approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageDocument {
    /// Who may approve it.
    pub approvers: PeopleDocument,
    /// How many of them must.
    pub count: u32,
    /// Whoever approved a stage before it may approve this one, too.
    pub same_person_again: bool,
    /// Who may approve it, too, when it is not done in time.
    #[serde(default)]
    pub later: Vec<LaterDocument>,
}

/// How the use of a break-glass role is reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReviewDocument {
    /// Who may review it; nobody his own use.
    pub reviewers: PeopleDocument,
    /// So long after its end at the latest.
    pub within_seconds: u32,
}

impl From<&Review> for ReviewDocument {
    fn from(review: &Review) -> Self {
        Self {
            reviewers: PeopleDocument::from(&review.reviewers),
            within_seconds: review.within_seconds,
        }
    }
}

/// More approvers of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaterDocument {
    /// When the stage has been due for so long.
    pub after_seconds: u32,
    /// Who may approve it then, beside all others.
    pub approvers: PeopleDocument,
}

/// Some hours of some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WindowDocument {
    /// On which it begins, such as `mon-fri`.
    pub days: Vec<String>,
    /// Such as `08:00`, by the clocks of the zone.
    pub from: String,
    /// Until just before this; on the next day where it is not after `from`.
    pub to: String,
    /// As the tz database calls it.
    pub zone: String,
}

impl From<&Window> for WindowDocument {
    fn from(window: &Window) -> Self {
        Self {
            days: window.days.listed(),
            from: window.from.to_string(),
            to: window.to.to_string(),
            zone: window.zone_name().to_owned(),
        }
    }
}

/// Some people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeopleDocument {
    /// By name.
    pub users: Vec<String>,
    /// By group.
    pub groups: Vec<String>,
    /// All of them have these; missing where nothing is asked. Where neither users nor groups are named, everybody who has them is among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, AttributeValue>,
}

impl From<&Policy> for PolicyDocument {
    fn from(policy: &Policy) -> Self {
        let roles = policy.roles.iter();
        Self {
            policy: policy.hash.clone(),
            roles: roles
                .map(|(name, role)| RoleDocument::of(name.to_string(), role))
                .collect(),
            may_lock: PeopleDocument::from(&policy.may_lock),
            may_audit: PeopleDocument::from(&policy.may_audit),
            members: None,
            changes_need: policy.changes_need.as_ref().map(|need| ConfirmersDocument {
                people: PeopleDocument::from(&need.people),
                count: need.count,
            }),
            beside_file: None,
            denials: policy.denials.iter().map(DenialDocument::from).collect(),
        }
    }
}

impl RoleDocument {
    fn of(name: String, role: &Role) -> Self {
        let hours = role.conditions.hours.as_ref();
        let ticket = role.conditions.ticket.as_ref();
        let asked_from = role.conditions.asked_from.as_ref();
        Self {
            name,
            description: role.description.clone(),
            hosts: role.hosts.listed(),
            actions: role.actions.iter().copied().map(named).collect(),
            longest_seconds: role.longest_seconds,
            extendable_seconds: role.extension.map(|by| by.most_seconds),
            extend_without_approval: role.extension.is_some_and(|by| by.without_approval),
            pending_seconds: role.pending_seconds,
            may_ask: PeopleDocument::from(&role.may_ask),
            stages: role.stages().iter().map(StageDocument::from).collect(),
            auto: match &role.approval {
                Approval::Auto(because) => Some(because.to_string()),
                Approval::Stages(_) | Approval::BreakGlass(_) => None,
            },
            break_glass: role.review().map(ReviewDocument::from),
            end_login_with_elevation: role.end_login_with_elevation,
            labels: role.hosts.labels().listed(),
            hours: hours.map_or_else(Vec::new, |hours| {
                hours.windows.iter().map(WindowDocument::from).collect()
            }),
            overrun: hours.is_some_and(|hours| hours.overrun),
            start_within_seconds: role.conditions.start_within_seconds,
            ticket: ticket.map(|rule| rule.written().to_owned()),
            reason_at_least: role.conditions.reason_at_least,
            asked_from: asked_from.map(Networks::listed),
            default_seconds: role.default_seconds,
            single_use: role.limits.single_use,
            idle_seconds: role.limits.idle.map(IdleTime::seconds),
            login_from: role.limits.login_from.as_ref().map(LoginNetworks::listed),
            groups: role.limits.groups.listed(),
        }
    }

    /// What is said of it, in the order in which people ask: a question and its answer each.
    #[must_use]
    pub fn said(&self) -> [(&'static str, String); 16] {
        let longest = in_words(self.longest_seconds);
        let extended = match self.extendable_seconds.map(in_words) {
            None => "no".to_owned(),
            Some(most) if self.extend_without_approval => {
                format!("by {most} at a time without approval, to {longest} in all")
            }
            Some(most) => {
                format!("by {most} at a time, approved as a request is, to {longest} in all")
            }
        };
        let start = self.start_within_seconds.map_or_else(
            || "when it is granted".to_owned(),
            |most| format!("when it is granted, or {} ahead at most", in_words(most)),
        );
        let logins = if self.single_use {
            "one login"
        } else {
            "any number of logins"
        };
        let login = if self.end_login_with_elevation {
            "ends, too"
        } else {
            "goes on"
        };
        [
            ("Who may ask", self.may_ask.in_words()),
            ("On which hosts", self.hosts_in_words()),
            ("What it opens", self.actions.join(", ")),
            ("For how long", self.length_in_words()),
            ("When", self.hours_in_words()),
            ("Begins", start),
            ("Asked for with", self.stated_in_words()),
            ("Asked for from", self.asked_from_in_words()),
            ("Can be extended", extended),
            ("Who approves", self.approval_in_words()),
            ("Undecided, it lapses after", in_words(self.pending_seconds)),
            ("Where an elevation is ended, its login", login.to_owned()),
            ("Logins come from", self.login_from_in_words()),
            ("A grant opens", logins.to_owned()),
            ("A login left alone", self.idle_in_words()),
            ("Its logins' Unix groups", self.groups_in_words()),
        ]
    }

    /// How long it is had.
    #[must_use]
    pub fn length_in_words(&self) -> String {
        let longest = in_words(self.longest_seconds);
        self.default_seconds.map_or_else(
            || format!("{longest} at most"),
            |default| format!("{longest} at most, {} unless said", in_words(default)),
        )
    }

    /// Its hosts as a list.
    #[must_use]
    pub fn hosts_in_words(&self) -> String {
        places_in_words(&self.hosts, &self.labels)
    }

    /// Its days and hours.
    #[must_use]
    pub fn hours_in_words(&self) -> String {
        if self.hours.is_empty() {
            return "at any time".to_owned();
        }
        let windows = self.hours.iter().map(|window| {
            let days = window.days.join(" ");
            format!("{days} {} to {} {}", window.from, window.to, window.zone)
        });
        let windows = windows.collect::<Vec<_>>().join(" or ");
        let end = if self.overrun {
            "what is granted then may go on"
        } else {
            "what is granted ends with that"
        };
        format!("{windows}; {end}")
    }

    /// The ticket and the reason that it needs.
    #[must_use]
    pub fn stated_in_words(&self) -> String {
        let reason = self.reason_at_least.map_or_else(
            || "a reason".to_owned(),
            |least| format!("a reason of {least} characters at least"),
        );
        match self.ticket.as_deref() {
            None => reason,
            Some("required") => format!("{reason} and a ticket"),
            Some(pattern) => format!("{reason} and a ticket like `{pattern}`"),
        }
    }

    /// Where it may be asked for from.
    #[must_use]
    pub fn asked_from_in_words(&self) -> String {
        let Some(networks) = &self.asked_from else {
            return "anywhere".to_owned();
        };
        let networks = networks.iter().map(|network| match network.as_str() {
            SOCKET => "the server's own machine",
            network => network,
        });
        networks.collect::<Vec<_>>().join(", ")
    }

    /// Where logins come from.
    #[must_use]
    pub fn login_from_in_words(&self) -> String {
        let networks = self.login_from.as_ref();
        networks.map_or_else(|| "anywhere".to_owned(), |networks| networks.join(", "))
    }

    /// What becomes of a login at which nobody does anything.
    #[must_use]
    pub fn idle_in_words(&self) -> String {
        let ends = |seconds| format!("ends after {}", in_words(seconds));
        self.idle_seconds.map_or_else(|| "goes on".to_owned(), ends)
    }

    /// Groups that it gives.
    #[must_use]
    pub fn groups_in_words(&self) -> String {
        if self.groups.is_empty() {
            return "those of the account".to_owned();
        }
        format!("{} beside those of the account", self.groups.join(", "))
    }

    /// How many of whom must approve.
    #[must_use]
    pub fn approval_in_words(&self) -> String {
        if self.auto.is_some() {
            return "nobody: it is granted at once".to_owned();
        }
        if let Some(review) = &self.break_glass {
            return format!(
                "nobody: it is granted at once, everybody is told, and it is reviewed within {} of its end by: {}",
                in_words(review.within_seconds),
                review.reviewers.in_words()
            );
        }
        let stages = self.stages.iter().map(StageDocument::in_words);
        stages.collect::<Vec<_>>().join("; then ")
    }
}

impl From<&Stage> for StageDocument {
    fn from(stage: &Stage) -> Self {
        Self {
            approvers: PeopleDocument::from(&stage.approvers),
            count: stage.count,
            same_person_again: stage.same_person_again,
            later: stage.later.iter().map(LaterDocument::from).collect(),
        }
    }
}

impl From<&Later> for LaterDocument {
    fn from(later: &Later) -> Self {
        Self {
            after_seconds: later.after_seconds,
            approvers: PeopleDocument::from(&later.approvers),
        }
    }
}

impl StageDocument {
    /// How many of whom must approve it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let again = if self.same_person_again {
            ", also who approved before"
        } else {
            ""
        };
        let later = self.later.iter().map(|later| {
            let (after, who) = (in_words(later.after_seconds), later.approvers.in_words());
            format!(", after {after} also {who}")
        });
        let later: String = later.collect();
        format!(
            "{} of: {}{later}{again}",
            self.count,
            self.approvers.in_words()
        )
    }
}

/// As policies write it.
fn named(action: Action) -> String {
    let name = match action {
        Action::Ssh => "ssh",
        Action::Sudo => "sudo",
        Action::Su => "su",
        Action::Jobs => "jobs",
    };
    name.to_owned()
}

impl From<&People> for PeopleDocument {
    fn from(people: &People) -> Self {
        Self {
            users: people.users.iter().map(ToString::to_string).collect(),
            groups: people.groups.iter().map(ToString::to_string).collect(),
            attributes: people.attributes.listed(),
        }
    }
}

impl PeopleDocument {
    /// Them as a list.
    #[must_use]
    pub fn in_words(&self) -> String {
        let groups = self.groups.iter().map(|group| format!("group {group}"));
        let all: Vec<String> = self.users.iter().cloned().chain(groups).collect();
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, value)| format!("{name}={value}"));
        let attributes = attributes.collect::<Vec<_>>().join(" and ");
        match (all.as_slice(), attributes.as_str()) {
            ([], "") => "nobody".to_owned(),
            ([], attributes) => format!("everybody with {attributes}"),
            (all, "") => all.join(", "),
            (all, attributes) => format!("{} (with {attributes})", all.join(", ")),
        }
    }

    /// True where nobody is among them, whatever attributes he has.
    #[must_use]
    pub fn are_nobody(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.attributes.is_empty()
    }
}
