//! How much one account may do at a time, so that nobody can keep others from being served.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::{Peer, Problem, Remote};

/// Connections of one account at most.
const CONNECTIONS: usize = 32;
/// Connections of all accounts but root at most.
const ALL_CONNECTIONS: usize = 512;
/// Calls of one account.
pub(super) const CALLS: Rate = Rate {
    burst: 200.0,
    a_second: 100.0,
};
/// More accounts than this and idle ones are forgotten.
const ACCOUNTS_REMEMBERED: usize = 1_024;

/// What each account is doing. root is not limited: it can stop the server anyway.
#[derive(Debug, Default)]
pub struct Limits {
    accounts: Mutex<HashMap<u32, Account>>,
}

#[derive(Debug)]
struct Account {
    connections: usize,
    allowance: Allowance,
}

/// How often somebody may do something: so many times within a moment, and so many each second in the long run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: f64,
    pub(super) a_second: f64,
}

/// How often somebody may still do it.
#[derive(Debug)]
pub(super) struct Allowance {
    rate: Rate,
    left: f64,
    counted: Instant,
}

impl Allowance {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            left: rate.burst,
            counted: now,
        }
    }

    /// True where nothing of it is used.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.left_at(now) >= self.rate.burst
    }

    /// True where nothing of it is left.
    pub(super) fn is_used_up(&self, now: Instant) -> bool {
        self.left_at(now) < 1.0
    }

    /// Counts one. False where there was none left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let may = !self.is_used_up(now);
        self.left = self.left_at(now);
        self.counted = now;
        if may {
            self.left -= 1.0;
        }
        may
    }

    fn left_at(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.counted);
        (self.left + since.as_secs_f64() * self.rate.a_second).min(self.rate.burst)
    }
}

/// Leave to keep one connection open; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<Limits>,
    uid: u32,
}

impl Limits {
    fn accounts(&self) -> MutexGuard<'_, HashMap<u32, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection of `uid` in. None where it has too many already.
    pub fn admit(self: &Arc<Self>, uid: u32, now: Instant) -> Option<Admission> {
        let mut accounts = self.accounts();
        let all: usize = accounts
            .iter()
            .filter(|(uid, _)| **uid != 0)
            .map(|(_, account)| account.connections)
            .sum();
        if accounts.len() > ACCOUNTS_REMEMBERED {
            accounts
                .retain(|_, account| account.connections > 0 || !account.allowance.is_full(now));
        }
        let account = accounts.entry(uid).or_insert(Account {
            connections: 0,
            allowance: Allowance::full(CALLS, now),
        });
        if uid != 0 && (account.connections >= CONNECTIONS || all >= ALL_CONNECTIONS) {
            return None;
        }
        account.connections += 1;
        Some(Admission {
            limits: Arc::clone(self),
            uid,
        })
    }

    /// Counts a call of `uid`. False where it calls too often.
    fn count(&self, uid: u32, now: Instant) -> bool {
        let mut accounts = self.accounts();
        let Some(account) = accounts.get_mut(&uid).filter(|_| uid != 0) else {
            return true;
        };
        account.allowance.take(now)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(account) = self.limits.accounts().get_mut(&self.uid) {
            account.connections = account.connections.saturating_sub(1);
        }
    }
}

/// Refuses calls of an account that calls too often, and of a stranger on the network. Hosts are counted once they are known.
pub(super) async fn demand_moderation(
    State(limits): State<Arc<Limits>>,
    request: Request,
    next: Next,
) -> Response {
    let uid = request.extensions().get::<Peer>().map(|peer| peer.uid);
    if uid.is_some_and(|uid| !limits.count(uid, Instant::now())) {
        let problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many calls from your account; wait a second",
        )
        .code("too-many-calls")
        .retry_after(1);
        return problem.into_response();
    }
    let remote = request.extensions().get::<Arc<Remote>>();
    if let Some(Err(problem)) = remote.map(|remote| remote.called(Instant::now())) {
        return problem.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_account_can_not_take_all_connections() {
        let limits = Arc::new(Limits::default());
        let now = Instant::now();
        let mut held: Vec<_> = (0..CONNECTIONS)
            .map(|_| limits.admit(1000, now).unwrap())
            .collect();
        assert!(limits.admit(1000, now).is_none());
        assert!(limits.admit(1001, now).is_some());
        assert!(limits.admit(0, now).is_some());
        held.pop();
        assert!(limits.admit(1000, now).is_some());
    }

    #[test]
    fn one_account_can_not_call_without_end_and_others_do_not_feel_it() {
        let limits = Arc::new(Limits::default());
        let now = Instant::now();
        let _held = [
            limits.admit(1000, now),
            limits.admit(1001, now),
            limits.admit(0, now),
        ];
        let allowed = (0..1_000).filter(|_| limits.count(1000, now)).count();
        assert_eq!(allowed, 200);
        assert!(limits.count(1001, now));
        assert!((0..1_000).all(|_| limits.count(0, now)));
        assert!(limits.count(1000, now + Duration::from_secs(1)));
    }
}
