//! Under which conditions a role may be had, by whoever may ask for it.

use jiff::{SignedDuration, Timestamp};
use jit_grant::RoleName;

use super::hours::Hours;
use super::networks::Networks;
use super::ticket::TicketRule;
use super::{Role, in_words};
use crate::clock::seconds_after;
use crate::origin::Origin;
use crate::text::{Reason, Ticket};

/// What has to be so. By default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The days and hours. None: at any time.
    pub hours: Option<Hours>,
    /// How far ahead a grant may begin. Seconds. None: when it is granted, and no later.
    pub start_within_seconds: Option<u32>,
    /// The ticket that has to be named. None: none.
    pub ticket: Option<TicketRule>,
    /// The reason has so many characters at least. None: as every reason.
    pub reason_at_least: Option<u32>,
    /// Where it may be asked for from. None: from anywhere.
    pub asked_from: Option<Networks>,
}

/// What somebody states with a request, and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a> {
    /// The ticket.
    pub ticket: Option<&'a Ticket>,
    /// Why.
    pub reason: &'a Reason,
    /// Where the request came from. None: it was made when nobody kept that.
    pub origin: Option<Origin>,
}

impl Conditions {
    /// Each that there is, as whoever asks has to know it. From where it may be asked for is told to those who read the policy only.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let hours = self.hours.as_ref().map(ToString::to_string);
        let ticket = self.ticket.as_ref().map(TicketRule::in_words);
        let reason = self.reason_at_least;
        let reason = reason.map(|least| format!("a reason of {least} characters"));
        let from = self.asked_from.as_ref();
        let from = from.map(|_| "asked from certain networks".to_owned());
        let ahead = self.start_within_seconds;
        let ahead = ahead.map(|most| format!("begins {} ahead at most", in_words(most)));
        let all = [hours, ticket, reason, from, ahead];
        all.into_iter().flatten().collect()
    }
}

/// Which condition of a role is not met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionRefusal {
    /// It would begin outside of the role's hours.
    #[error("role {role} is for {hours} only{}", opening(*.opens))]
    OutsideHours {
        /// Which role.
        role: RoleName,
        /// Its hours in words.
        hours: String,
        /// When they come next, and in how many seconds. None: the clocks leave them out for weeks.
        opens: Option<(Timestamp, u32)>,
    },
    /// It is not asked for ahead of time.
    #[error("role {0} begins when it is granted; ask without a time to start at")]
    NoLaterStart(RoleName),
    /// It would begin later than may be.
    #[error("role {role} can begin {} ahead at most", in_words(*.most))]
    StartTooFar {
        /// Which role.
        role: RoleName,
        /// How far ahead at most. Seconds.
        most: u32,
    },
    /// It would have begun.
    #[error("{0:.0} is past; ask without a time to start at, and it begins when it is granted")]
    StartPast(Timestamp),
    /// No ticket, or not one of those that the role asks for.
    #[error("role {role} needs {wanted}; name it with --ticket")]
    Ticket {
        /// Which role.
        role: RoleName,
        /// What is needed, in words.
        wanted: String,
    },
    /// A reason of few words.
    #[error("role {role} needs a reason of {least} characters at least; say more")]
    ReasonShort {
        /// Which role.
        role: RoleName,
        /// So many.
        least: u32,
    },
    /// Asked for from elsewhere. From where it may be is not told.
    #[error("role {role} may not be asked for from {}", where_from(*.origin))]
    AskedFromElsewhere {
        /// Which role.
        role: RoleName,
        /// From where.
        origin: Option<Origin>,
    },
}

fn where_from(origin: Option<Origin>) -> String {
    origin.map_or_else(
        || "where nobody knows; withdraw the request and ask again".to_owned(),
        |origin| origin.to_string(),
    )
}

fn opening(opens: Option<(Timestamp, u32)>) -> String {
    opens.map_or_else(String::new, |(at, seconds)| {
        format!("; that begins again at {at:.0}, in {}", in_words(seconds))
    })
}

impl Role {
    /// Checks what was stated with a request for the role, called `name`.
    ///
    /// # Errors
    /// Those of tickets, reasons and origins.
    pub fn check_stated(
        &self,
        name: &RoleName,
        stated: &Stated<'_>,
    ) -> Result<(), ConditionRefusal> {
        self.check_ticket(name, stated.ticket)?;
        self.check_reason(name, stated.reason)?;
        self.check_origin(name, stated.origin)
    }

    /// Checks the ticket of a request for the role, called `name`.
    ///
    /// # Errors
    /// [`ConditionRefusal::Ticket`].
    pub fn check_ticket(
        &self,
        name: &RoleName,
        ticket: Option<&Ticket>,
    ) -> Result<(), ConditionRefusal> {
        match &self.conditions.ticket {
            Some(rule) if !ticket.is_some_and(|ticket| rule.fits(ticket)) => {
                Err(ConditionRefusal::Ticket {
                    role: name.clone(),
                    wanted: rule.in_words(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Checks the reason of a request for the role, called `name`.
    ///
    /// # Errors
    /// [`ConditionRefusal::ReasonShort`].
    pub fn check_reason(&self, name: &RoleName, reason: &Reason) -> Result<(), ConditionRefusal> {
        let length = u32::try_from(reason.as_str().chars().count()).unwrap_or(u32::MAX);
        match self.conditions.reason_at_least {
            Some(least) if length < least => Err(ConditionRefusal::ReasonShort {
                role: name.clone(),
                least,
            }),
            _ => Ok(()),
        }
    }

    /// Checks where a request for the role, called `name`, came from.
    ///
    /// # Errors
    /// [`ConditionRefusal::AskedFromElsewhere`].
    pub fn check_origin(
        &self,
        name: &RoleName,
        origin: Option<Origin>,
    ) -> Result<(), ConditionRefusal> {
        match &self.conditions.asked_from {
            Some(networks) if !origin.is_some_and(|origin| networks.include(origin)) => {
                Err(ConditionRefusal::AskedFromElsewhere {
                    role: name.clone(),
                    origin,
                })
            }
            _ => Ok(()),
        }
    }

    /// Checks that what is asked at `now` of the role, called `name`, may begin at `not_before`, where that is said.
    ///
    /// # Errors
    /// Those of a start.
    pub fn check_start(
        &self,
        name: &RoleName,
        not_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), ConditionRefusal> {
        let Some(start) = not_before else {
            return Ok(());
        };
        let Some(most) = self.conditions.start_within_seconds else {
            return Err(ConditionRefusal::NoLaterStart(name.clone()));
        };
        if start <= now {
            return Err(ConditionRefusal::StartPast(start));
        }
        if start > seconds_after(now, most) {
            let role = name.clone();
            return Err(ConditionRefusal::StartTooFar { role, most });
        }
        Ok(())
    }

    /// Until when, and no further than `limit`, what begins at `start` may last in the hours of the role, called `name`.
    ///
    /// # Errors
    /// [`ConditionRefusal::OutsideHours`], with how long it is from `now` until they come.
    pub fn lasts_until(
        &self,
        name: &RoleName,
        start: Timestamp,
        limit: Timestamp,
        now: Timestamp,
    ) -> Result<Timestamp, ConditionRefusal> {
        let Some(hours) = &self.conditions.hours else {
            return Ok(limit);
        };
        match hours.open_until(start, limit) {
            Some(_) if hours.overrun => Ok(limit),
            Some(until) => Ok(until.min(limit)),
            None => Err(ConditionRefusal::OutsideHours {
                role: name.clone(),
                hours: hours.to_string(),
                opens: hours
                    .next_opening(start)
                    .map(|at| (at, seconds_from(now, at))),
            }),
        }
    }
}

/// None where `at` is past.
fn seconds_from(now: Timestamp, at: Timestamp) -> u32 {
    let left = at.duration_since(now).max(SignedDuration::ZERO);
    u32::try_from(left.as_secs()).unwrap_or(u32::MAX)
}
