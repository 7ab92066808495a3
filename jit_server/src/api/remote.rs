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
    /// The token of a user that was shown on it last, or the first one of its chain of rotations.
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
mod tests;
