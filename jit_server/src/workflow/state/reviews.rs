//! What is known of the use of break-glass roles.

use jiff::Timestamp;
use jit_grant::{Principal, RequestId};

use super::{Request, State, number};
use crate::alarm::Alarm;
use crate::event::{AtOnce, Entry, Granted, Reviewed};
use crate::text::Comment;

/// The review of what was done with a break-glass role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// From this instant on it is overdue.
    pub by: Timestamp,
    /// Everybody was told that it is overdue.
    pub is_overdue: bool,
    /// What came of it. None: nobody has reviewed it.
    pub done: Option<Done>,
}

/// What a reviewer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// By whom.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// What.
    pub comment: Comment,
}

impl Review {
    /// The one that a grant made so asks for.
    pub(super) fn due(granted: &Granted) -> Option<Self> {
        match granted.at_once {
            Some(AtOnce::BreakGlass { review_by }) => Some(Self {
                by: review_by,
                is_overdue: false,
                done: None,
            }),
            _ => None,
        }
    }
}

impl State {
    /// The requests whose grants nobody has reviewed and somebody has to, oldest first.
    pub fn unreviewed(&self) -> impl Iterator<Item = &Request> {
        let numbers = self.unreviewed.iter();
        numbers.filter_map(|number| self.requests.get(number))
    }

    /// Once, and by somebody else.
    pub(super) fn reviewed(&mut self, reviewed: &Reviewed, entry: &Entry) {
        let request = number(reviewed.request.as_str());
        let Some((number, request)) =
            request.and_then(|number| Some((number, self.requests.get_mut(&number)?)))
        else {
            return;
        };
        let is_own = request.asked.principal == reviewed.by;
        let review = request.review.as_mut();
        let Some(review) = review.filter(|review| review.done.is_none() && !is_own) else {
            return;
        };
        review.done = Some(Done {
            by: reviewed.by.clone(),
            at: entry.at,
            comment: reviewed.comment.clone(),
        });
        request.timeline.push(super::step(entry));
        self.unreviewed.remove(&number);
    }

    /// Where `alarm` is of an overdue review, no other one is raised of it.
    pub(super) fn told_overdue(&mut self, alarm: &Alarm, entry: &Entry) {
        let Alarm::ReviewOverdue { request, .. } = alarm else {
            return;
        };
        let request: &RequestId = request;
        let request = number(request.as_str()).and_then(|number| self.requests.get_mut(&number));
        if let Some(request) = request
            && let Some(review) = &mut request.review
        {
            review.is_overdue = true;
            request.timeline.push(super::step(entry));
        }
    }
}
