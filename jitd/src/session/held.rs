//! What is known of one session or elevation. This is also what its registry file holds.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{Code, GrantId, Query};
use jit_local::message::control;
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::elevated::Elevated;
use super::idle::Idle;
use super::process::Process;
use super::types::{Live, Opening, SessionId};
use crate::accounts::Account;
use crate::peer::Peer;

/// A login or something inside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Login,
    Elevation,
    /// What cron or at runs in a person's name.
    Job,
    /// A person's service manager (user@UID.service), with all that was started through it.
    Manager,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Elevation => "elevation",
            Self::Job => "job",
            Self::Manager => "manager",
        }
    }

    /// True where its opener was moved into a scope of ours, and a session phase must follow.
    pub(crate) fn has_own_scope(self) -> bool {
        matches!(self, Self::Elevation | Self::Job)
    }

    /// The kind of an event about it, such as `session.ended`.
    pub(crate) fn event(self, what: &str) -> String {
        match self {
            Self::Login => format!("session.{what}"),
            other => format!("{}.{what}", other.as_str()),
        }
    }
}

/// A systemd scope that ends with its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    pub(crate) unit: String,
    /// systemd's InvocationID of this run of the unit.
    pub(crate) invocation: String,
    pub(crate) cgroup: Cgroup,
}

/// The end that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) code: Code,
    /// When the first signal was due.
    pub(crate) due: Timestamp,
    /// When it was sent, since boot: what is left of the grace counts from there, also for a jitd that came later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signalled: Option<Duration>,
}

/// A session or elevation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) id: SessionId,
    pub(crate) kind: Kind,
    pub(crate) query: Query,
    /// False in monitor mode: it is listed, and nothing of it is moved or ended.
    pub(crate) enforce: bool,
    /// What holds it open. None only in monitor mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<Live>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<SessionId>,
    /// The process that opened it.
    pub(crate) leader: Process,
    /// Empty in monitor mode where there is none of its own, and for a moment while an elevation is being opened.
    pub(crate) scopes: Vec<Scope>,
    /// Scopes of logind's inside its elevations, which nothing binds to its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) also_ends: Vec<String>,
    pub(crate) since: Timestamp,
    /// The audit session of its login, by which what left its scopes is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) audit_session: Option<u32>,
    /// Whom an elevation went on as, besides root and its own login (T15).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<Account>,
    /// Access that elevations used which may have handed something to it (T17).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) elevated: Vec<Elevated>,
    /// An elevation whose session phase has not come: ended at this time since boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confirm_by: Option<Duration>,
    /// Numbers of the timers in PID 1 that may stand behind it; the last is the one that counts.
    #[serde(default)]
    pub(crate) timers: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ending: Option<Ending>,
    /// Warnings of its end that were due by then were given or passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warned: Option<Timestamp>,
    /// A login that must not be left alone: what is known of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<Idle>,
    /// From here on the grants may say something else of that. Not kept over a restart: they are asked anew then.
    #[serde(skip)]
    pub(crate) idling_until: Option<Timestamp>,
    /// What PID 1's timer was last armed with. Not kept over a restart: it is armed anew then.
    #[serde(skip)]
    pub(crate) armed: Option<Armed>,
    /// Held while PID 1's timer is being replaced.
    #[serde(skip)]
    pub(crate) arming: Arc<tokio::sync::Mutex<()>>,
}

/// What a timer in PID 1 ends, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Armed {
    pub(crate) until: Timestamp,
    pub(crate) scopes: Vec<String>,
}

/// Which one it is and whose, as every event about it says.
#[derive(Debug, Serialize)]
pub(crate) struct Whose<'a> {
    id: &'a SessionId,
    login: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a str>,
}

impl Held {
    pub(crate) fn new(id: SessionId, kind: Kind, opening: &Opening, since: Timestamp) -> Self {
        Self {
            id,
            kind,
            query: opening.query.clone(),
            enforce: opening.enforce,
            live: opening.standing.clone(),
            parent: opening.parent.clone(),
            leader: Process::of(&opening.peer),
            scopes: Vec::new(),
            also_ends: Vec::new(),
            since,
            audit_session: None,
            others: Vec::new(),
            elevated: Vec::new(),
            confirm_by: None,
            timers: Vec::new(),
            ending: None,
            warned: Some(since),
            idle: None,
            idling_until: None,
            armed: None,
            arming: Arc::default(),
        }
    }

    /// Its end is another than `before`. One that came nearer has to be warned of whenever that was due.
    pub(crate) fn ends_otherwise_than(&mut self, before: Option<Timestamp>) {
        if before.is_some_and(|before| self.until().is_some_and(|until| until < before)) {
            self.warned = None;
        }
    }

    /// What ends first, and with it this: what holds it open, or access that takes it along. None where nothing holds it open.
    pub(crate) fn first_to_end(&self) -> Option<&Live> {
        let own = self.live.as_ref()?;
        let along = self.elevated.iter().filter_map(Elevated::taking);
        along.chain([own]).min_by_key(|live| live.until)
    }

    /// True of a login that was given Unix groups.
    pub(crate) fn has_groups(&self) -> bool {
        !self.query.groups.is_empty()
    }

    /// The end that is known by now.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        self.first_to_end().map(|live| live.until)
    }

    /// The grant, and the login that used it up, where it is held open by what opens one login.
    pub(crate) fn used(&self) -> Option<(&GrantId, &str)> {
        self.live.as_ref()?.used_by(&self.query)
    }

    /// That, and the same of access that takes it along.
    pub(crate) fn all_used(&self) -> impl Iterator<Item = (&GrantId, &str)> {
        let along = self.elevated.iter().filter_map(Elevated::used);
        self.used().into_iter().chain(along)
    }

    /// The scope that a process of this cgroup belongs to.
    pub(crate) fn scope_of(&self, cgroup: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| scope.cgroup.holds(cgroup))
    }

    /// What PID 1's timer should be armed with. None where there is nothing for it to end.
    pub(crate) fn to_arm(&self) -> Option<Armed> {
        let waits = self.enforce && self.ending.is_none();
        let until = self.until().filter(|_| waits)?;
        let own = self.scopes.iter().map(|scope| &scope.unit);
        let scopes: Vec<String> = own.chain(&self.also_ends).cloned().collect();
        (!self.scopes.is_empty()).then_some(Armed { until, scopes })
    }

    pub(crate) fn whose(&self) -> Whose<'_> {
        let live = self.live.as_ref();
        Whose {
            id: &self.id,
            login: self.query.login.as_str(),
            principal: live.map(|live| live.principal.as_str()),
            grant: live.map(|live| live.grant.as_str()),
        }
    }

    pub(crate) fn describe(&self) -> control::Session {
        control::Session {
            id: self.id.to_string(),
            kind: self.kind.as_str().to_owned(),
            parent: self.parent.as_ref().map(SessionId::to_string),
            principal: self.live.as_ref().map(|live| live.principal.to_string()),
            login: self.query.login.to_string(),
            service: self.query.service.clone(),
            scopes: self.scopes.iter().map(|scope| scope.unit.clone()).collect(),
            grant: self.live.as_ref().map(|live| live.grant.to_string()),
            since: self.since.to_string(),
            until: self.until().map(|until| until.to_string()),
            rhost: self.query.rhost.clone(),
            tty: self.query.tty.clone(),
            enforced: self.enforce,
            idle_after_seconds: self.idle.as_ref().map(|idle| idle.time().seconds()),
            groups: self.query.groups.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Process {
    /// The process at the other end of a socket.
    pub(crate) fn of(peer: &Peer) -> Self {
        Self {
            pid: peer.pid,
            start_time: peer.start_time(),
        }
    }
}
