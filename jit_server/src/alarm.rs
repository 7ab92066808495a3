//! What an administrator has to look at: each cause is a variant with fields of its own, and nothing else raises one.
//!
//! A host, or whoever is in its jitd-sync's place, can give cause without end, and the record is kept for ever. So of one cause
//! [`MOST`] an hour and host are recorded, and the next one after that has the number of those left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use jit_grant::{ChangeId, GateChange, HostName, Principal, RequestId, RoleName, UserTokenId};
use serde::{Deserialize, Serialize};

use crate::text::Reason;

/// Alarms of one cause and host in the record …
const MOST: u32 = 10;
/// … in so long.
const WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// What gave cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Alarm {
    /// Lines of a host's event chain came where others were due, and were refused. The host sends those due next, unless somebody on
    /// the way holds them back.
    ChainGap {
        /// The line that was due.
        due: u64,
        /// The line that came.
        came: u64,
    },
    /// Lines of a host's event chain do not follow what is stored, are not what the host signed, or are longer or more than a host writes.
    /// They were refused: somebody changed or made them, there or on the way.
    ChainRefused {
        /// The last line stored.
        stored: u64,
        /// What is wrong.
        why: String,
    },
    /// A host says itself that lines of its event chain are gone: dropped to make room, or lost with its disk.
    RecordLost {
        /// The last line before the loss.
        after: u64,
        /// The next one that there is.
        next: u64,
    },
    /// A gate of a host lets in whom it kept out before, or may: its lines were taken out, damaged, or only watch (T8).
    GateWeaker(GateChange),
    /// A host that said how it stands with each question says so no more, or not in its own words: whoever is in its jitd-sync's place
    /// may be hiding it.
    StateWithheld {
        /// What is wrong with what came. None: nothing came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A host was told more than this server's database knows: an older copy of it was put back.
    ServerOlder {
        /// The revision that the host holds.
        held: u64,
        /// The last one known here.
        known: u64,
    },
    /// Somebody uses a break-glass role: nobody approved it. Each use is recorded, however many there are; how many people may ask for is
    /// bounded.
    GlassBroken {
        /// What he asked.
        request: RequestId,
        /// Who.
        principal: Principal,
        /// The role.
        role: RoleName,
        /// Where.
        hosts: BTreeSet<HostName>,
        /// Why.
        reason: Reason,
    },
    /// Nobody has reviewed the use of a break-glass role in time.
    ReviewOverdue {
        /// What was asked.
        request: RequestId,
        /// Who used it.
        principal: Principal,
        /// The role.
        role: RoleName,
    },
    /// Root made a change alone that others have to confirm.
    ChangedAlone {
        /// Which.
        change: ChangeId,
        /// Why.
        reason: Reason,
    },
    /// Root made a token by which somebody is known who may confirm changes of root's: whoever has it could do so in his name.
    ConfirmersToken {
        /// Which.
        token: UserTokenId,
        /// Whose it is.
        user: Principal,
    },
}

impl Alarm {
    /// The name of its cause, as in JSON.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::ChainGap { .. } => "chain_gap",
            Self::ChainRefused { .. } => "chain_refused",
            Self::RecordLost { .. } => "record_lost",
            Self::GateWeaker(_) => "gate_weaker",
            Self::StateWithheld { .. } => "state_withheld",
            Self::ServerOlder { .. } => "server_older",
            Self::GlassBroken { .. } => "glass_broken",
            Self::ReviewOverdue { .. } => "review_overdue",
            Self::ChangedAlone { .. } => "changed_alone",
            Self::ConfirmersToken { .. } => "confirmers_token",
        }
    }

    /// The change that it is about, where it is about one.
    #[must_use]
    pub fn change(&self) -> Option<&ChangeId> {
        match self {
            Self::ChangedAlone { change, .. } => Some(change),
            _ => None,
        }
    }

    /// True where everybody is told, and not administrators and auditors alone.
    #[must_use]
    pub fn is_for_everybody(&self) -> bool {
        matches!(
            self,
            Self::GlassBroken { .. }
                | Self::ReviewOverdue { .. }
                | Self::ChangedAlone { .. }
                | Self::ConfirmersToken { .. }
        )
    }

    /// The request that it is about, where it is about one.
    #[must_use]
    pub fn request(&self) -> Option<&RequestId> {
        match self {
            Self::GlassBroken { request, .. } | Self::ReviewOverdue { request, .. } => {
                Some(request)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainGap { due, came } => write!(
                f,
                "line {came} of its event chain came where line {due} was due, and was refused"
            ),
            Self::ChainRefused { stored, why } => write!(
                f,
                "what came after line {stored} of its event chain was refused: {why}"
            ),
            Self::ServerOlder { held, .. } => write!(
                f,
                "it holds revision {held}, of which this server knows nothing: an older copy of the database was put back; see `jit-server restored`"
            ),
            Self::RecordLost { after, next } if *next <= after + 1 => f.write_str(
                "lines of its event chain that are stored here are lost on the host itself",
            ),
            Self::RecordLost { after, next } => write!(
                f,
                "lines {} to {} of its event chain are lost",
                after + 1,
                next - 1
            ),
            Self::GateWeaker(change) => change.fmt(f),
            Self::GlassBroken {
                request,
                principal,
                role,
                hosts,
                reason,
            } => {
                let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
                let hosts = hosts.join(", ");
                write!(
                    f,
                    "{principal} uses break-glass role {role} on {hosts}, which nobody approved ({request}): {reason}"
                )
            }
            Self::ReviewOverdue {
                request,
                principal,
                role,
            } => write!(
                f,
                "nobody has reviewed in time what {principal} did with break-glass role {role} ({request}); it can still be reviewed: whoever may has it in `jitctl list requests --to-review`"
            ),
            Self::ChangedAlone { change, reason } => write!(
                f,
                "root made {change} alone, which others have to confirm: {reason}"
            ),
            Self::ConfirmersToken { token, user } => write!(
                f,
                "root made {token}, a token of {user}, who may confirm what root changes; where {user} does not have it from root, somebody else confirms in that name"
            ),
            Self::StateWithheld { why: None } => {
                f.write_str("it says no more how its gates are, as it did before")
            }
            Self::StateWithheld { why: Some(why) } => {
                write!(
                    f,
                    "what came as its word on how its gates are is not to be believed: {why}"
                )
            }
        }
    }
}

/// How many alarms, and other events that somebody can make without end, were recorded of late; `W` is whose they are.
#[derive(Debug)]
pub(crate) struct Bound<W> {
    hours: BTreeMap<(W, &'static str), Hour>,
}

impl<W> Default for Bound<W> {
    fn default() -> Self {
        let hours = BTreeMap::new();
        Self { hours }
    }
}

#[derive(Debug)]
struct Hour {
    began: Timestamp,
    recorded: u32,
    left_out: u64,
}

impl<W: Clone + Ord> Bound<W> {
    /// There is `cause` for another event at `now`. Some: it is to be recorded, with the number of those of this cause and `whose` that
    /// were not since the last one that was, and counts as recorded from here on; call [`Self::give_back`] where it can't be kept.
    pub(crate) fn another(
        &mut self,
        whose: &W,
        cause: &'static str,
        now: Timestamp,
    ) -> Option<u64> {
        let hour = self.hours.entry((whose.clone(), cause)).or_insert(Hour {
            began: now,
            recorded: 0,
            left_out: 0,
        });
        if now.duration_since(hour.began) >= WITHIN {
            (hour.began, hour.recorded) = (now, 0);
        }
        if hour.recorded < MOST {
            hour.recorded += 1;
            return Some(std::mem::take(&mut hour.left_out));
        }
        hour.left_out += 1;
        None
    }

    /// The event that [`Self::another`] gave `left_out` for could not be kept: it uses nothing up, and the next one has that number.
    pub(crate) fn give_back(&mut self, whose: &W, cause: &'static str, left_out: u64) {
        if let Some(hour) = self.hours.get_mut(&(whose.clone(), cause)) {
            hour.recorded = hour.recorded.saturating_sub(1);
            hour.left_out += left_out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_grant::GateMode;
    use proptest::prelude::*;

    const NOON: Timestamp = Timestamp::constant(1_795_608_000, 0);
    const GAP: Alarm = Alarm::ChainGap { due: 2, came: 4 };

    #[test]
    fn an_overdue_review_is_told_to_everybody_with_what_only_reviewers_can_do() {
        let overdue = Alarm::ReviewOverdue {
            request: "r7".parse().unwrap(),
            principal: "alice".parse().unwrap(),
            role: "glass".parse().unwrap(),
        };
        let said = overdue.to_string();
        assert!(said.contains("whoever may has it in `jitctl list requests --to-review`"));
        assert!(!said.contains("jitctl show"), "most can't see it: {said}");
    }

    fn refused() -> Alarm {
        Alarm::ChainRefused {
            stored: 1,
            why: "the signature does not fit".to_owned(),
        }
    }

    fn record(
        bound: &mut Bound<Option<HostName>>,
        host: Option<&HostName>,
        alarm: &Alarm,
        now: Timestamp,
    ) -> Option<u64> {
        bound.another(&host.cloned(), alarm.cause(), now)
    }

    #[test]
    fn a_flood_is_recorded_by_its_number_and_hides_no_other_cause_and_no_other_host() {
        let (web, db) = ("web-1".parse().unwrap(), "db-1".parse().unwrap());
        let mut bound = Bound::default();
        for _ in 0..MOST {
            assert_eq!(record(&mut bound, Some(&web), &GAP, NOON), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(record(&mut bound, Some(&web), &GAP, NOON), None);
        }
        assert_eq!(record(&mut bound, Some(&web), &refused(), NOON), Some(0));
        assert_eq!(record(&mut bound, Some(&db), &GAP, NOON), Some(0));
        assert_eq!(record(&mut bound, None, &GAP, NOON), Some(0));
        let later = NOON + WITHIN;
        assert_eq!(record(&mut bound, Some(&web), &GAP, later), Some(500));
        assert_eq!(record(&mut bound, Some(&web), &GAP, later), Some(0));
    }

    #[test]
    fn what_could_not_be_kept_uses_nothing_up_and_its_number_comes_with_the_next() {
        let mut bound = Bound::default();
        for _ in 0..MOST + 5 {
            record(&mut bound, None, &GAP, NOON);
        }
        let later = NOON + WITHIN;
        for _ in 0..MOST * 2 {
            assert_eq!(record(&mut bound, None, &GAP, later), Some(5));
            bound.give_back(&None, GAP.cause(), 5);
        }
        assert_eq!(record(&mut bound, None, &GAP, later), Some(5));
        assert_eq!(record(&mut bound, None, &GAP, later), Some(0));
    }

    #[test]
    fn the_name_of_a_cause_is_the_one_in_json() {
        let lost = Alarm::RecordLost { after: 3, next: 9 };
        let older = Alarm::ServerOlder { held: 9, known: 3 };
        let weaker = Alarm::GateWeaker(GateChange {
            service: "sshd".parse().unwrap(),
            was: Some(GateMode::Enforce),
            is: None,
        });
        let withheld = Alarm::StateWithheld { why: None };
        let (principal, role): (Principal, RoleName) =
            ("alice".parse().unwrap(), "root".parse().unwrap());
        let broken = Alarm::GlassBroken {
            request: "r7".parse().unwrap(),
            principal: principal.clone(),
            role: role.clone(),
            hosts: ["web-1".parse().unwrap()].into(),
            reason: Reason::ours("all is down"),
        };
        assert_eq!(
            broken.to_string(),
            "alice uses break-glass role root on web-1, which nobody approved (r7): all is down"
        );
        let overdue = Alarm::ReviewOverdue {
            request: "r7".parse().unwrap(),
            principal,
            role,
        };
        for alarm in [
            GAP,
            refused(),
            lost,
            weaker,
            withheld,
            older,
            broken,
            overdue,
        ] {
            let json = serde_json::to_value(&alarm).unwrap();
            assert_eq!(json["cause"], alarm.cause());
            assert_eq!(serde_json::from_value::<Alarm>(json).unwrap(), alarm);
        }
    }

    proptest! {
        #[test]
        fn none_goes_uncounted_and_no_more_are_recorded_than_the_hours_allow(waits in prop::collection::vec(0_i64..1_000, 0..400)) {
            let mut bound = Bound::default();
            let (mut now, mut recorded, mut counted) = (NOON, 0, 0);
            for wait in &waits {
                now += SignedDuration::from_secs(*wait);
                if let Some(left_out) = record(&mut bound, None, &GAP, now) {
                    recorded += 1;
                    counted += left_out + 1;
                }
            }
            let left = bound.hours.values().map(|hour| hour.left_out).sum::<u64>();
            prop_assert_eq!(counted + left, waits.len() as u64);
            let hours = now.duration_since(NOON).as_hours() + 1;
            prop_assert!(recorded <= hours * i64::from(MOST), "{} in {} h", recorded, hours);
        }
    }
}
