//! Changes that wait for those who confirm them, and the policy that holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jit_grant::{ChangeId, Principal, UserTokenId};

use super::{State, number};
use crate::event::{
    Actor, ChangeConfirmed, ChangeDenied, ChangeDone, ChangeProposed, Entry, Event, WantedChange,
};
use crate::once::Digest;
use crate::policy::{Confirmers, Mistake, Policy, check_text, hash_of_text};
use crate::text::{Comment, Reason};

/// All changes, and how many events to come are what one of them comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    all: BTreeMap<u64, Change>,
    pending: BTreeSet<u64>,
    to_come: u64,
}

/// A change that others have to confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What people call it.
    pub id: ChangeId,
    /// Where the record has all of it: the number of `change_proposed`.
    pub seq: u64,
    /// Who wants it.
    pub by: Actor,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: Option<Reason>,
    /// What it came to when it was proposed, a line each.
    pub summary: Vec<String>,
    /// Unconfirmed, it lapses then.
    pub lapses_at: Timestamp,
    /// What is to be different. None: it has ended, and the record alone has that.
    pub wanted: Option<Arc<WantedChange>>,
    /// Who has confirmed it, once each.
    pub confirmed: Vec<Confirmed>,
    /// How it stands.
    pub state: ChangeState,
    /// How it ended. None: it waits.
    pub ended: Option<ChangeEnd>,
}

/// A confirmation of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// By whom.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// Of what it came to then.
    pub digest: Digest,
    /// What he added.
    pub comment: Option<Comment>,
    /// The token that he was known by.
    pub token: Option<UserTokenId>,
}

/// How a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeState {
    /// It waits.
    Pending,
    /// It is made.
    Done,
    /// Somebody said no.
    Denied,
    /// Whoever wanted it took it back.
    Withdrawn,
    /// Not enough people confirmed it in time.
    Lapsed,
}

impl ChangeState {
    /// As people and programs read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
        }
    }
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeEnd {
    /// By whom.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// Why it was denied, or made by root alone.
    pub reason: Option<Reason>,
    /// Root made it alone.
    pub alone: bool,
    /// Where the record has the policy that was in force then. None: nowhere.
    pub policy_seq: Option<u64>,
}

/// The policy as the record has its text. No file counts then, whatever it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyOnRecord {
    /// What is in force; where its text can't be read, it allows nothing and nobody confirms anything.
    pub policy: Arc<Policy>,
    /// The number of the event that has it.
    pub seq: u64,
    /// Why this server can't read it.
    pub mistakes: Vec<Mistake>,
}

impl PolicyOnRecord {
    fn of(text: &str, entry: &Entry) -> Self {
        let (policy, mistakes) = match check_text("the policy on record", text) {
            Ok(policy) => (policy, Vec::new()),
            Err(mistakes) => {
                let policy = Policy::unreadable(hash_of_text(text), text.to_owned());
                (policy, mistakes)
            }
        };
        Self {
            policy: Arc::new(policy),
            seq: entry.seq,
            mistakes,
        }
    }
}

impl State {
    /// True where this server can't read the policy in force. Nobody confirms anything here then; what others, who could read it, did
    /// by it is believed, or a server that learned to read less would forget it at its next start.
    #[must_use]
    pub fn policy_is_unreadable(&self) -> bool {
        let on_record = self.policy.as_ref();
        on_record.is_some_and(|on_record| !on_record.mistakes.is_empty())
    }

    /// All changes, the oldest first.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.changes.all.values()
    }

    /// Those that wait, the oldest first.
    pub fn pending_changes(&self) -> impl Iterator<Item = &Change> {
        let pending = self.changes.pending.iter();
        pending.filter_map(|number| self.changes.all.get(number))
    }

    /// One change.
    #[must_use]
    pub fn change(&self, id: &ChangeId) -> Option<&Change> {
        self.changes.all.get(&number(id.as_str())?)
    }

    /// The number of the change to come.
    #[must_use]
    pub fn next_change(&self) -> u64 {
        let last = self.changes.all.last_key_value();
        self.ids_above.max(last.map_or(0, |(number, _)| *number)) + 1
    }

    /// The policy that the record has the text of, where that is in force.
    #[must_use]
    pub fn policy_on_record(&self) -> Option<&PolicyOnRecord> {
        self.policy.as_ref()
    }

    /// Who confirms changes now. None: they need nobody else.
    #[must_use]
    pub fn confirmers(&self) -> Option<&Confirmers> {
        self.policy.as_ref()?.policy.changes_need.as_ref()
    }

    /// True where `name` may confirm changes at `now`.
    #[must_use]
    pub fn may_confirm(&self, name: &Principal, now: Timestamp) -> bool {
        let user = self.directory.user(name);
        let confirmers = self.confirmers();
        user.zip(confirmers)
            .is_some_and(|(user, confirmers)| self.may_act(user, now) && confirmers.include(user))
    }

    /// True where this confirmation of `change` counts at `now`: its giver may confirm still, saw what the change comes to now, and nobody took
    /// away the token that he was known by, or what came of it.
    #[must_use]
    pub fn counts(&self, confirmed: &Confirmed, digest: &Digest, now: Timestamp) -> bool {
        let token = confirmed.token.as_ref();
        let taken_away = token.is_some_and(|token| self.user_tokens.was_taken_away(token, now));
        confirmed.digest == *digest && !taken_away && self.may_confirm(&confirmed.by, now)
    }

    /// True where enough people have confirmed that `change` comes to `digest`, `more` among them.
    #[must_use]
    pub fn is_confirmed(
        &self,
        change: &Change,
        digest: &Digest,
        more: Option<&Principal>,
        now: Timestamp,
    ) -> bool {
        let counted = change.confirmed.iter();
        let counted = counted.filter(|given| self.counts(given, digest, now));
        let people: BTreeSet<&Principal> = counted.map(|given| &given.by).chain(more).collect();
        let needed = self.confirmers().map(|confirmers| confirmers.count);
        let people = u32::try_from(people.len()).unwrap_or(u32::MAX);
        needed.is_some_and(|needed| people >= needed)
    }

    /// True where `event` would change what others have to confirm, and is not what a change comes to that they did confirm.
    pub(super) fn is_unconfirmed(&mut self, event: &Event) -> bool {
        let is_of_change = self.changes.to_come > 0;
        self.changes.to_come = self.changes.to_come.saturating_sub(1);
        let is_held = matches!(
            event,
            Event::UserSet(_) | Event::HostLabelled { .. } | Event::PolicyTaken { .. }
        );
        is_held && !is_of_change && self.confirmers().is_some()
    }

    pub(super) fn policy_taken(&mut self, text: Option<&String>, entry: &Entry) {
        self.policy = text.map(|text| PolicyOnRecord::of(text, entry));
    }

    pub(super) fn change_proposed(&mut self, proposed: &ChangeProposed, entry: &Entry) {
        let number = number(proposed.change.as_str());
        let Some(number) = number.filter(|number| *number >= self.next_change()) else {
            return;
        };
        let change = Change {
            id: proposed.change.clone(),
            seq: entry.seq,
            by: entry.actor.clone(),
            at: entry.at,
            reason: proposed.reason.clone(),
            summary: proposed.summary.clone(),
            lapses_at: proposed.lapses_at,
            wanted: Some(Arc::new(proposed.wanted.clone())),
            confirmed: Vec::new(),
            state: ChangeState::Pending,
            ended: None,
        };
        self.changes.all.insert(number, change);
        self.changes.pending.insert(number);
    }

    /// By those who may, as far as the policy of that moment can be read, before it lapses. A later one of the same person takes the place of the one before.
    pub(super) fn change_confirmed(&mut self, confirmed: &ChangeConfirmed, entry: &Entry) {
        if !self.policy_is_unreadable() && !self.may_confirm(&confirmed.by, entry.at) {
            return;
        }
        let Some(change) = self.pending_change_mut(&confirmed.change) else {
            return;
        };
        if entry.at >= change.lapses_at {
            return;
        }
        change.confirmed.retain(|given| given.by != confirmed.by);
        change.confirmed.push(Confirmed {
            by: confirmed.by.clone(),
            at: entry.at,
            digest: confirmed.digest,
            comment: confirmed.comment.clone(),
            token: confirmed.token.clone(),
        });
    }

    /// Confirmed by enough people, as far as the policy of that moment can be read, or by root alone, who says so.
    pub(super) fn change_done(&mut self, done: &ChangeDone, entry: &Entry) {
        let Some(change) = self.change(&done.change) else {
            return;
        };
        let may_be = match &done.alone {
            Some(_) => entry.actor == Actor::Administrator,
            None => {
                self.policy_is_unreadable()
                    || self.is_confirmed(change, &done.digest, None, entry.at)
            }
        };
        if change.state != ChangeState::Pending || !may_be {
            return;
        }
        self.changes.to_come = done.events;
        let reason = done.alone.clone();
        self.end_change(&done.change, ChangeState::Done, reason, entry);
    }

    pub(super) fn change_denied(&mut self, denied: &ChangeDenied, entry: &Entry) {
        let reason = Some(denied.reason.clone());
        self.end_change(&denied.change, ChangeState::Denied, reason, entry);
    }

    pub(super) fn end_change(
        &mut self,
        id: &ChangeId,
        state: ChangeState,
        reason: Option<Reason>,
        entry: &Entry,
    ) {
        let policy_seq = self.policy.as_ref().map(|policy| policy.seq);
        let Some(change) = self.pending_change_mut(id) else {
            return;
        };
        change.state = state;
        change.wanted = None;
        change.ended = Some(ChangeEnd {
            by: entry.actor.clone(),
            at: entry.at,
            alone: state == ChangeState::Done && reason.is_some(),
            reason,
            policy_seq,
        });
        if let Some(number) = number(id.as_str()) {
            self.changes.pending.remove(&number);
        }
    }

    /// What `name` confirmed counts no more where the change still waits.
    pub(super) fn take_back_confirmations(&mut self, name: &Principal) {
        for number in &self.changes.pending {
            if let Some(change) = self.changes.all.get_mut(number) {
                change.confirmed.retain(|given| given.by != *name);
            }
        }
    }

    /// An older copy was put back: whoever confirms by then has to see what is so then, and be asked anew.
    pub(super) fn end_changes(&mut self, entry: &Entry) {
        let pending: Vec<ChangeId> = self.pending_changes().map(|it| it.id.clone()).collect();
        for id in pending {
            self.end_change(&id, ChangeState::Lapsed, None, entry);
        }
    }

    fn pending_change_mut(&mut self, id: &ChangeId) -> Option<&mut Change> {
        let change = self.changes.all.get_mut(&number(id.as_str())?);
        change.filter(|change| change.state == ChangeState::Pending)
    }
}
