//! Who could approve a request that is not made yet.

use jiff::{SignedDuration, Timestamp};
use jit_grant::Principal;

use crate::policy::{Role, could_be_done};
use crate::workflow::State;

/// Who could approve a request now, stage after stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvers {
    /// The stages, in order; the first one is due first. None where nobody has to.
    pub stages: Vec<Able>,
    /// True where different people could do all of them without waiting.
    pub are_enough: bool,
}

/// Who could approve one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Able {
    /// By name, as soon as it is due: neither locked, nor past his time, nor the one who asks.
    pub able: Vec<Principal>,
    /// How many must.
    pub needed: u32,
    /// Who could, too, when it has been due for so many seconds.
    pub later: Vec<(u32, Vec<Principal>)>,
}

impl Approvers {
    /// Of a request by `principal` for `role`.
    pub(super) fn of(role: &Role, principal: &Principal, state: &State, now: Timestamp) -> Self {
        let users = || {
            let others = state
                .directory
                .users()
                .filter(|user| user.name != *principal);
            others.filter(|user| state.may_act(user, now))
        };
        let stages: Vec<_> = role
            .stages()
            .iter()
            .map(|stage| {
                let able = users().filter(|user| stage.includes(user, SignedDuration::ZERO));
                (stage, able.map(|user| &user.name).collect())
            })
            .collect();
        Self {
            are_enough: could_be_done(&stages),
            stages: stages
                .into_iter()
                .map(|(stage, able)| Able {
                    able: able.into_iter().cloned().collect(),
                    needed: stage.count,
                    later: stage
                        .later
                        .iter()
                        .map(|later| {
                            let able = users().filter(|user| later.approvers.entrust(user));
                            let able = able.map(|user| user.name.clone()).collect();
                            (later.after_seconds, able)
                        })
                        .collect(),
                })
                .collect(),
        }
    }
}
