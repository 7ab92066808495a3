//! A policy as people and programs read it, whoever wrote it and however.

use jit_grant::Action;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Approval, Hosts, Later, People, Policy, Review, Role, Stage, in_words};

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDocument {
    /// SHA-256 of its text, in hexadecimal; the record has it with every decision.
    pub policy: String,
    /// By name.
    pub roles: Vec<RoleDocument>,
    /// Who may lock and unlock others, beside the administrator.
    pub may_lock: PeopleDocument,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoleDocument {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Names, or `*` alone for every host.
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

/// Some people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeopleDocument {
    /// By name.
    pub users: Vec<String>,
    /// By group.
    pub groups: Vec<String>,
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
        }
    }
}

impl RoleDocument {
    fn of(name: String, role: &Role) -> Self {
        Self {
            name,
            description: role.description.clone(),
            hosts: match &role.hosts {
                Hosts::Every => vec!["*".to_owned()],
                Hosts::Named(names) => names.iter().map(ToString::to_string).collect(),
            },
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
        }
    }

    /// What is said of it, in the order in which people ask: a question and its answer each.
    #[must_use]
    pub fn said(&self) -> [(&'static str, String); 8] {
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
        let login = if self.end_login_with_elevation {
            "ends, too"
        } else {
            "goes on"
        };
        [
            ("Who may ask", self.may_ask.in_words()),
            ("On which hosts", self.hosts_in_words()),
            ("What it opens", self.actions.join(", ")),
            ("For how long", format!("{longest} at most")),
            ("Can be extended", extended),
            ("Who approves", self.approval_in_words()),
            ("Undecided, it lapses after", in_words(self.pending_seconds)),
            ("Where an elevation is ended, its login", login.to_owned()),
        ]
    }

    /// Its hosts as a list.
    #[must_use]
    pub fn hosts_in_words(&self) -> String {
        if self.hosts == ["*"] {
            return "every host, those enrolled later too".to_owned();
        }
        self.hosts.join(", ")
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
        }
    }
}

impl PeopleDocument {
    /// Them as a list.
    #[must_use]
    pub fn in_words(&self) -> String {
        let groups = self.groups.iter().map(|group| format!("group {group}"));
        let all: Vec<String> = self.users.iter().cloned().chain(groups).collect();
        if all.is_empty() {
            return "nobody".to_owned();
        }
        all.join(", ")
    }
}
