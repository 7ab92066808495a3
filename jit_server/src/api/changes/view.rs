//! Changes as callers see them.

use std::time::Duration;

use jiff::Timestamp;
use jit_grant::ChangeId;
use serde::Serialize;
use similar::TextDiff;
use utoipa::ToSchema;

use crate::api::apply::ChangeView;
use crate::api::loss::LossView;
use crate::error::Error;
use crate::once::Digest;
use crate::policy::Policy;
use crate::server::{Now, Server};
use crate::text::visible;
use crate::workflow::{Change, ChangeState, State};

/// Names that are told at most.
const MOST_NAMED: usize = 50;
/// A difference that takes longer to find is told in coarser steps.
const LONGEST_DIFF: Duration = Duration::from_millis(200);

/// A change that others confirm.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct WaitingView {
    id: String,
    /// pending, done, denied, withdrawn or lapsed.
    state: &'static str,
    /// Who wants it.
    by: String,
    at: Timestamp,
    /// Unconfirmed, it lapses then.
    lapses_at: Timestamp,
    /// Why. null: nobody said.
    reason: Option<String>,
    /// What it came to when it was proposed, a line each.
    summary: Vec<String>,
    confirmed: Vec<ConfirmedView>,
    /// How many people have to confirm it.
    needs: u32,
    /// Who may; the first 50 by name. Nobody once it has ended.
    able: Vec<String>,
    /// null: it waits.
    ended: Option<EndView>,
    /// What it comes to now. null: it has ended, or this is a list.
    now: Option<NowView>,
    /// Of one that has ended how the policy of then was to become another, as `diff -u` tells it. null: it wanted none, or waits (`now` has
    /// it), or this is a list.
    policy_diff: Option<String>,
}

/// A confirmation.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ConfirmedView {
    by: String,
    at: Timestamp,
    /// null: nothing was added.
    comment: Option<String>,
    /// False where whoever gave it may confirm no more, the token that he was known by was taken away, or the change comes to something else by now. null: this is a list, or it has ended.
    counts: Option<bool>,
}

/// How a change ended.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct EndView {
    /// Of one that is done whoever confirmed it last.
    by: String,
    at: Timestamp,
    /// Why it was denied, or made by root alone.
    reason: Option<String>,
    /// Root made it without those who confirm.
    alone: bool,
}

/// What a change comes to now.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct NowView {
    /// What whoever confirms sends back. null: it can't be made now.
    digest: Option<String>,
    /// Why it can't be made now. null: it can.
    refused: Option<String>,
    changes: Vec<ChangeView>,
    /// What people would lose by it.
    lost: Option<LossView>,
    warnings: Vec<String>,
    /// How the policy in force becomes the one that is wanted, as `diff -u` tells it. null: it stays.
    policy_diff: Option<String>,
}

/// A change that waits for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::api) struct HeldView {
    /// Its id. null: it is not proposed yet.
    change: Option<String>,
    /// How many people have to confirm it.
    needs: u32,
    /// Who may; the first 50 by name.
    able: Vec<String>,
}

impl HeldView {
    /// None where changes need nobody else.
    pub(in crate::api) fn of(server: &Server, change: Option<&ChangeId>) -> Option<Self> {
        let (policy, now) = (server.policy(), server.now());
        let needs = policy.changes_need.as_ref()?.count;
        Some(Self {
            change: change.map(ToString::to_string),
            needs,
            able: server.look(|state| able(state, now)),
        })
    }
}

fn able(state: &State, now: Timestamp) -> Vec<String> {
    let users = state.directory.users();
    let able = users.filter(|user| state.may_confirm(&user.name, now));
    let able = able.map(|user| user.name.to_string());
    able.take(MOST_NAMED).collect()
}

impl WaitingView {
    pub(super) fn of(state: &State, change: &Change, now: Timestamp) -> Self {
        let confirmed = change.confirmed.iter().map(|given| ConfirmedView {
            by: given.by.to_string(),
            at: given.at,
            comment: given.comment.as_ref().map(ToString::to_string),
            counts: None,
        });
        let waits = change.state == ChangeState::Pending;
        Self {
            id: change.id.to_string(),
            state: change.state.name(),
            by: change.by.to_string(),
            at: change.at,
            lapses_at: change.lapses_at,
            reason: change.reason.as_ref().map(ToString::to_string),
            summary: change.summary.clone(),
            confirmed: confirmed.collect(),
            needs: state.confirmers().map_or(0, |confirmers| confirmers.count),
            able: if waits { able(state, now) } else { Vec::new() },
            ended: change.ended.as_ref().map(|ended| EndView {
                by: ended.by.to_string(),
                at: ended.at,
                reason: ended.reason.as_ref().map(ToString::to_string),
                alone: ended.alone,
            }),
            now: None,
            policy_diff: None,
        }
    }

    /// The same, of one that has ended, with how the policy `before` was to become the policy `next`.
    pub(super) fn having_wanted(self, before: &str, next: &str) -> Self {
        Self {
            policy_diff: Some(difference(before, next)),
            ..self
        }
    }

    /// The same with what it comes to.
    pub(super) fn coming_to(
        self,
        state: &State,
        digest: Option<Digest>,
        comes_to: NowView,
        now: Timestamp,
    ) -> Self {
        if self.ended.is_some() {
            return self;
        }
        let id = self.id.parse::<ChangeId>().ok();
        let given = id.and_then(|id| state.change(&id));
        let given = given.map_or(&[][..], |change| &change.confirmed);
        let mut confirmed = self.confirmed;
        for (view, given) in confirmed.iter_mut().zip(given) {
            view.counts = Some(digest.is_some_and(|digest| state.counts(given, &digest, now)));
        }
        Self {
            confirmed,
            now: Some(comes_to),
            ..self
        }
    }
}

impl NowView {
    /// A long policy takes a while: nothing is locked meanwhile.
    pub(super) fn of(comes_to: Result<Now, Error>, policy: &Policy) -> Self {
        match comes_to {
            Ok(now) => Self {
                digest: Some(now.digest.into()),
                refused: None,
                changes: now.plan.changes.iter().map(ChangeView::from).collect(),
                lost: Some(LossView::from(&now.plan.lost)),
                warnings: now.plan.warnings,
                policy_diff: now.policy.map(|next| difference(&policy.text, &next)),
            },
            Err(why) => Self {
                digest: None,
                refused: Some(why.to_string()),
                changes: Vec::new(),
                lost: None,
                warnings: Vec::new(),
                policy_diff: None,
            },
        }
    }
}

fn difference(before: &str, after: &str) -> String {
    let diff = TextDiff::configure()
        .timeout(LONGEST_DIFF)
        .diff_lines(before, after);
    let diff = diff.unified_diff().header("in force", "wanted").to_string();
    visible(&diff)
}
