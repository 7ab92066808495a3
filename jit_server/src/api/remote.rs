//! Connections over the network: whose they are, and how many each may have.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use jit_grant::{HostId, Principal, UserTokenId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Problem;
use super::allowances::Allowances;
use super::limits::{Allowance, CALLS, Rate};

/// Connections at most.
const CONNECTIONS: usize = 16_384;
/// Connections at most of which nobody knows yet whose they are …
const STRANGERS: usize = 1_024;
/// … and those of one address. Many hosts may share one.
const STRANGERS_OF_ADDRESS: usize = 256;
/// Connections of one address that came to nothing: nobody was known on them. Each costs TLS all the same, about a millisecond.
const WASTED: Rate = Rate {
    burst: 1_024.0,
    a_second: 50.0,
};
/// Addresses at most for which that is counted.
const WASTERS: usize = 4_096;
/// Calls of a connection without a token that counts.
const CALLS_OF_STRANGER: u32 = 4;
/// Calls of one token of a user: half of what he may make, so that one that runs wild, or was found by somebody, leaves him the other half.
const CALLS_OF_TOKEN: Rate = Rate {
    burst: 100.0,
    a_second: 50.0,
};
/// Connections of one host or user at most; a host needs three …
const CONNECTIONS_OF_ONE: usize = 16;
/// … and those with one token of a user: half of them, for the same reason.
const CONNECTIONS_OF_TOKEN: usize = 8;

/// Whose a connection is, once a token was shown on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// A host's.
    Host(HostId),
    /// A user's.
    User(Principal),
}

/// How many connections there are, and whose.
#[derive(Debug, Default)]
pub struct RemoteLimits {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    all: usize,
    strangers: usize,
    addresses: HashMap<IpAddr, usize>,
    /// Of addresses whose connections came to nothing of late.
    wasted: HashMap<IpAddr, Allowance>,
    /// Connections of each.
    known: HashMap<Whose, usize>,
    /// Connections with each token.
    tokens: HashMap<UserTokenId, usize>,
    /// Calls of each, on whatever connections and from whatever addresses.
    calls: Allowances<Whose>,
    /// Calls of each token.
    calls_of_tokens: Allowances<UserTokenId>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            all: 0,
            strangers: 0,
            addresses: HashMap::new(),
            wasted: HashMap::new(),
            known: HashMap::new(),
            tokens: HashMap::new(),
            calls: Allowances::new(CALLS),
            calls_of_tokens: Allowances::new(CALLS_OF_TOKEN),
        }
    }
}

/// One connection over the network. The listener puts it into every request; dropped, it counts no more.
#[derive(Debug)]
pub struct Remote {
    limits: Arc<RemoteLimits>,
    peer: IpAddr,
    calls: Mutex<u32>,
    was_of_use: AtomicBool,
    whose: watch::Sender<Option<Whose>>,
    /// The token of a user that was shown on it last.
    token: Mutex<Option<UserTokenId>>,
}

impl RemoteLimits {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection from `peer` in. None where there are too many already.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<Arc<Remote>> {
        let peer = peer.to_canonical();
        let address = counted(peer);
        let mut counts = self.counts();
        let here = counts.addresses.get(&address).copied().unwrap_or(0);
        let wasted = counts.wasted.get(&address);
        if counts.all >= CONNECTIONS
            || counts.strangers >= STRANGERS
            || here >= STRANGERS_OF_ADDRESS
            || wasted.is_some_and(|wasted| wasted.is_used_up(now))
        {
            return None;
        }
        counts.all += 1;
        counts.strangers += 1;
        counts.addresses.insert(address, here + 1);
        Some(Arc::new(Remote {
            limits: Arc::clone(self),
            peer,
            calls: Mutex::new(0),
            was_of_use: AtomicBool::new(false),
            whose: watch::Sender::new(None),
            token: Mutex::new(None),
        }))
    }
}

impl Counts {
    fn no_stranger(&mut self, peer: IpAddr) {
        let address = counted(peer);
        self.strangers = self.strangers.saturating_sub(1);
        if let Some(here) = self.addresses.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    /// A connection from `peer` came to nothing. Where too many addresses are counted already, a new one is not.
    fn waste(&mut self, peer: IpAddr, now: Instant) {
        if self.wasted.len() >= WASTERS {
            self.wasted.retain(|_, wasted| !wasted.is_full(now));
        }
        let (address, room) = (counted(peer), self.wasted.len() < WASTERS);
        let wasted = if room {
            let fresh = || Allowance::full(WASTED, now);
            Some(self.wasted.entry(address).or_insert_with(fresh))
        } else {
            self.wasted.get_mut(&address)
        };
        if let Some(wasted) = wasted {
            wasted.take(now);
        }
    }

    fn take_call(&mut self, whose: &Whose, now: Instant) -> Result<(), Problem> {
        if self.calls.take(whose, now) {
            Ok(())
        } else {
            Err(too_many(
                "too many calls from this host or user; wait a second",
            ))
        }
    }

    fn take_call_by(&mut self, token: &UserTokenId, now: Instant) -> Result<(), Problem> {
        if self.calls_of_tokens.take(token, now) {
            Ok(())
        } else {
            Err(too_many("too many calls with this token; wait a second"))
        }
    }
}

/// One connection less.
fn one_less<K: Eq + Hash>(connections: &mut HashMap<K, usize>, of: &K) {
    if let Some(theirs) = connections.get_mut(of) {
        *theirs -= 1;
        if *theirs == 0 {
            connections.remove(of);
        }
    }
}

/// Whom a connection is counted for before anybody is known: an IPv4 address, or the /64 that one IPv6 subscriber has.
fn counted(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[4..].fill(0);
            IpAddr::V6(segments.into())
        }
        v4 => v4,
    }
}

impl Remote {
    /// The address at the other end: a host's, or that of whoever ends TLS or translates addresses before it.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// It was of use though nobody is known on it: it brought a host in.
    pub(super) fn was_of_use(&self) {
        self.was_of_use.store(true, Ordering::Relaxed);
    }

    /// Resolves when a token that counts was shown.
    pub async fn known(&self) {
        // The sender lives as long as self, so this ends with a token or not at all.
        let _ = self.whose.subscribe().wait_for(Option::is_some).await;
    }

    fn token(&self) -> MutexGuard<'_, Option<UserTokenId>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, whatever it asks for: as a stranger's, or as one of whom the connection is by now, and of the token that was shown on
    /// it last. The token first: what it has not left takes nothing of its user's.
    pub(super) fn called(&self, now: Instant) -> Result<(), Problem> {
        let whose = self.whose.borrow().clone();
        if let Some(whose) = &whose {
            let mut counts = self.limits.counts();
            if let Some(token) = self.token().as_ref() {
                counts.take_call_by(token, now)?;
            }
            counts.take_call(whose, now)?;
        }
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if *calls >= CALLS_OF_STRANGER {
            // A balancer that sends many people's calls over one connection makes another then.
            return Err(
                too_many("too many calls without a token that counts; connect again").closing(),
            );
        }
        if whose.is_none() {
            *calls += 1;
        }
        Ok(())
    }

    /// Counts a call with a token that does not count like one of a stranger, whoever was known on this connection before.
    pub(super) fn refused(&self) {
        if self.whose.borrow().is_some() {
            *self.calls.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }

    /// A token of `whose` that counts was shown, of a user this one: the connection is counted as theirs from now on, with this call.
    pub(super) fn is_of(
        &self,
        whose: &Whose,
        token: Option<&UserTokenId>,
        now: Instant,
    ) -> Result<(), Problem> {
        let mut counts = self.limits.counts();
        let mut shown = self.token();
        let before = self.whose.borrow().clone();
        let (is_others, is_by_other) = (before.as_ref() != Some(whose), shown.as_ref() != token);
        let theirs = counts.known.get(whose).copied().unwrap_or(0);
        if is_others && theirs >= CONNECTIONS_OF_ONE {
            return Err(too_many(
                "this host or user has as many connections as it may; close some",
            ));
        }
        let by_token = token.and_then(|token| counts.tokens.get(token).copied());
        let by_token = by_token.unwrap_or(0);
        if is_by_other && by_token >= CONNECTIONS_OF_TOKEN {
            return Err(too_many(
                "there are as many connections with this token as there may be; close some",
            ));
        }
        if is_by_other {
            if let Some(other) = shown.take() {
                one_less(&mut counts.tokens, &other);
            }
            if let Some(token) = token {
                counts.tokens.insert(token.clone(), by_token + 1);
            }
            *shown = token.cloned();
        }
        if is_others {
            match &before {
                None => counts.no_stranger(self.peer),
                Some(other) => one_less(&mut counts.known, other),
            }
            counts.known.insert(whose.clone(), theirs + 1);
            *self.calls.lock().unwrap_or_else(PoisonError::into_inner) = 0;
            self.whose.send_replace(Some(whose.clone()));
        }
        if let Some(token) = token.filter(|_| is_by_other) {
            counts.take_call_by(token, now)?;
        }
        if is_others {
            counts.take_call(whose, now)?;
        }
        Ok(())
    }
}

fn too_many(detail: &str) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
        .code("too-many-calls")
        .retry_after(1)
}

impl Drop for Remote {
    fn drop(&mut self) {
        let mut counts = self.limits.counts();
        counts.all = counts.all.saturating_sub(1);
        match &*self.whose.borrow() {
            None => {
                counts.no_stranger(self.peer);
                if !self.was_of_use.load(Ordering::Relaxed) {
                    counts.waste(self.peer, Instant::now());
                }
            }
            Some(whose) => one_less(&mut counts.known, whose),
        }
        if let Some(token) = self.token().take() {
            one_less(&mut counts.tokens, &token);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn host(digit: &str) -> Whose {
        Whose::Host(format!("h{}", digit.repeat(32)).parse().unwrap())
    }

    #[test]
    fn strangers_of_one_address_do_not_keep_others_out() {
        let limits = Arc::new(RemoteLimits::default());
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = Instant::now();
        let held: Vec<_> = (0..STRANGERS_OF_ADDRESS)
            .map(|_| limits.admit(one, now).unwrap())
            .collect();
        assert!(limits.admit(one, now).is_none());
        assert!(limits.admit(other, now).is_some());
        drop(held);
        assert!(limits.admit(one, now).is_some());
        assert!(
            limits.counts().addresses.is_empty() && limits.counts().all == 0,
            "nothing lasts"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_connects_for_nothing_again_and_again_is_turned_away_and_hosts_beside_him_are_not()
    {
        let limits = Arc::new(RemoteLimits::default());
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let wasted = |tries: usize, at: IpAddr| {
            let admitted = |_: &usize| limits.admit(at, Instant::now()).is_some();
            (0..tries).filter(admitted).count()
        };
        assert_eq!(wasted(5_000, one), 1_024);
        assert_eq!(wasted(100, other), 100);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(wasted(5_000, one), 100);
        tokio::time::advance(Duration::from_secs(60)).await;
        let now = Instant::now();
        for number in 0..5_000 {
            let remote = limits.admit(one, now).unwrap();
            if number % 2 == 0 {
                let host = format!("h{number:032}").parse().unwrap();
                remote.is_of(&Whose::Host(host), None, now).unwrap();
            } else {
                remote.was_of_use();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_addresses_connect_for_nothing_so_many_are_counted() {
        let limits = Arc::new(RemoteLimits::default());
        let waste = |number: u32| {
            let address = IpAddr::V4((number + 0x0a00_0000).into());
            drop(limits.admit(address, Instant::now()).unwrap());
        };
        (0..10_000).for_each(waste);
        assert_eq!(limits.counts().wasted.len(), WASTERS);
        tokio::time::advance(Duration::from_secs(1)).await;
        waste(10_001);
        assert_eq!(limits.counts().wasted.len(), 1, "nothing lasts");
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let of = |text: &str| {
            let peer: IpAddr = text.parse().unwrap();
            counted(peer.to_canonical()).to_string()
        };
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn hosts_behind_one_address_are_counted_each_for_itself() {
        let limits = Arc::new(RemoteLimits::default());
        let (address, now) = ("192.0.2.1".parse().unwrap(), Instant::now());
        let mut held = Vec::new();
        for number in 0..2 * STRANGERS_OF_ADDRESS {
            let remote = limits.admit(address, now).unwrap();
            remote
                .is_of(
                    &Whose::Host(format!("h{number:032}").parse().unwrap()),
                    None,
                    now,
                )
                .unwrap();
            held.push(remote);
        }
        let mine: Vec<_> = (0..=CONNECTIONS_OF_ONE)
            .map(|_| limits.admit(address, now).unwrap())
            .collect();
        let known = mine
            .iter()
            .filter(|remote| remote.is_of(&host("f"), None, now).is_ok())
            .count();
        assert_eq!(known, CONNECTIONS_OF_ONE);
        drop((held, mine));
        assert!(
            limits.counts().known.is_empty() && limits.counts().strangers == 0,
            "nothing lasts"
        );
    }

    #[test]
    fn a_connection_for_each_call_and_an_address_for_each_connection_make_no_more_of_them() {
        let limits = Arc::new(RemoteLimits::default());
        let now = Instant::now();
        let called = |number: u32, user: &str, token: &UserTokenId| {
            let from = IpAddr::V4((0x7f00_0001 + number % 100).into());
            let remote = limits.admit(from, now).unwrap();
            remote.called(now).unwrap();
            let user = Whose::User(user.parse().unwrap());
            remote.is_of(&user, Some(token), now).is_ok()
        };
        let by = |user: &str, token: &str| {
            let token = token.parse().unwrap();
            (0..1_000)
                .filter(|number| called(*number, user, &token))
                .count()
        };
        assert_eq!((by("alice", "u1"), by("bob", "u3")), (100, 100));
        // One of her tokens runs wild, and another has its half.
        assert_eq!((by("alice", "u2"), by("alice", "u4")), (100, 0));
        let counts = limits.counts();
        assert!(counts.known.is_empty() && counts.tokens.is_empty());
    }

    #[test]
    fn a_token_that_runs_wild_on_kept_connections_leaves_its_user_half_of_what_he_may() {
        let limits = Arc::new(RemoteLimits::default());
        let now = Instant::now();
        let alice = Whose::User("alice".parse().unwrap());
        let kept = |token: &str| {
            let remote = limits.admit("192.0.2.1".parse().unwrap(), now).unwrap();
            let known = remote.is_of(&alice, Some(&token.parse().unwrap()), now);
            known.is_ok().then_some(remote)
        };
        let wild: Vec<_> = (0..100).filter_map(|_| kept("u1")).collect();
        assert_eq!(wild.len(), CONNECTIONS_OF_TOKEN);
        let called = |remotes: &[Arc<Remote>]| {
            let called = (0..1_000).zip(remotes.iter().cycle());
            called
                .filter(|(_, remote)| remote.called(now).is_ok())
                .count()
        };
        assert_eq!(called(&wild), 100 - wild.len());
        let other: Vec<_> = (0..100).filter_map(|_| kept("u2")).collect();
        assert_eq!(other.len(), CONNECTIONS_OF_ONE - CONNECTIONS_OF_TOKEN);
        assert_eq!(called(&other), 100 - other.len());
        drop((wild, other));
        let counts = limits.counts();
        assert!(counts.known.is_empty() && counts.tokens.is_empty());
    }

    #[test]
    fn whoever_was_known_makes_few_calls_with_tokens_that_do_not_count() {
        let limits = Arc::new(RemoteLimits::default());
        let now = Instant::now();
        let remote = limits.admit("192.0.2.1".parse().unwrap(), now).unwrap();
        assert!(remote.called(now).is_ok());
        let alice = Whose::User("alice".parse().unwrap());
        remote.is_of(&alice, None, now).unwrap();
        assert!((0..100).all(|_| remote.called(now).is_ok()));
        let answered = (0..10).filter(|_| {
            let may = remote.called(now).is_ok();
            remote.refused();
            may
        });
        assert_eq!(answered.count(), 4);
    }

    #[test]
    fn a_stranger_makes_few_calls_and_a_host_no_more_than_its_allowance() {
        let limits = Arc::new(RemoteLimits::default());
        let now = Instant::now();
        let remote = limits.admit("192.0.2.1".parse().unwrap(), now).unwrap();
        assert_eq!((0..10).filter(|_| remote.called(now).is_ok()).count(), 4);
        remote.is_of(&host("1"), None, now).unwrap();
        // Whatever they ask for, with a token or without.
        let called = |remote: &Remote| (0..1_000).filter(|_| remote.called(now).is_ok()).count();
        assert_eq!(called(&remote), 199);
        let other = limits.admit("192.0.2.1".parse().unwrap(), now).unwrap();
        assert!(
            other.is_of(&host("1"), None, now).is_err(),
            "on any connection"
        );
        assert!(remote.called(now + Duration::from_secs(1)).is_ok());
    }
}
