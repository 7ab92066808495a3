//! How a host stands, in its own signed words: sent with every question for the server's word, so that a gate that was taken out is
//! known upstream within a heartbeat (T8).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::envelope::{
    DocumentRefused, Kind, NotSigned, SKEW_SECONDS, Sealed, check_not_from_the_future, clean, seal,
    unparsable,
};
use crate::key::{PublicKey, SigningKey};
use crate::name::{HostId, Nonce, Service};
use crate::token::{HostToken, SERVER};

const HOST_STATE: Kind = Kind {
    typ: "jit-state+jwt",
    max_bytes: 16 * 1024,
};

/// What the lines of ours in a PAM service's file do, the weakest first. A service without any is none of these, and weaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateMode {
    /// Some of them are missing, or not in their place.
    Damaged,
    /// Everybody passes and is recorded.
    Monitor,
    /// What jitd does not allow is refused, until somebody has to have confirmed it.
    Provisional,
    /// What jitd does not allow is refused.
    Enforce,
}

impl GateMode {
    /// As in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Monitor => "monitor",
            Self::Provisional => "provisional",
            Self::Enforce => "enforce",
        }
    }
}

/// The services with lines of ours, and what these do.
pub type Gates = BTreeMap<Service, GateMode>;

/// One gate that became different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateChange {
    /// Whose.
    pub service: Service,
    /// How it was. None: no line of ours was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<GateMode>,
    /// How it is. None: no line of ours is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<GateMode>,
}

impl GateChange {
    /// What differs between `before` and `after`, by service.
    #[must_use]
    pub fn between(before: &Gates, after: &Gates) -> Vec<Self> {
        let gone = before
            .keys()
            .filter(|service| !after.contains_key(*service));
        let mut services: Vec<&Service> = after.keys().chain(gone).collect();
        services.sort_unstable();
        let change = |service: &Service| Self {
            service: service.clone(),
            was: before.get(service).copied(),
            is: after.get(service).copied(),
        };
        let changes = services.into_iter().map(change);
        changes.filter(|change| change.was != change.is).collect()
    }

    /// It lets in whom it kept out before, or may.
    #[must_use]
    pub fn is_weaker(&self) -> bool {
        self.is < self.was
    }
}

impl fmt::Display for GateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |mode: Option<GateMode>| mode.map_or("not gated", GateMode::word);
        let how = if self.is_weaker() {
            "weaker"
        } else {
            "no weaker"
        };
        let (was, is) = (word(self.was), word(self.is));
        write!(
            f,
            "the gate of {} is {how}: it was {was} and is {is}",
            self.service
        )
    }
}

/// How a host stands, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// jitd's version.
    pub version: String,
    /// Its gates.
    pub gates: Gates,
    /// What it enforces, by the names that a grant's `crit` has ([`ENFORCED`](crate::ENFORCED)). Hosts of before say nothing of it.
    pub enforces: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: HostId,
    aud: String,
    at: Timestamp,
    nonce: Nonce,
    version: String,
    gates: Gates,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    enforces: BTreeSet<String>,
}

impl HostState {
    /// Gates that it may speak of.
    pub const MAX_GATES: usize = 64;
    /// Names of what it enforces, and bytes of one of them.
    const MAX_ENFORCES: usize = 64;
    /// Bytes of [`Self::version`].
    const MAX_VERSION: usize = 64;
    /// Seconds that it is believed for. The host's token that it comes with counts for a little less.
    const MAX_SECONDS: i64 = HostToken::MAX_SECONDS + SKEW_SECONDS;

    /// The signed form, by `host` at `now`, beside the question that has `nonce`.
    ///
    /// # Errors
    /// [`NotSigned::WouldBeRefused`] where it speaks of too many gates; [`NotSigned`] where the signer fails.
    pub fn sign(
        &self,
        host: &HostId,
        nonce: &Nonce,
        now: Timestamp,
        key: &SigningKey,
    ) -> Result<String, NotSigned> {
        self.check()?;
        let claims = Claims {
            iss: host.clone(),
            aud: SERVER.to_owned(),
            at: now,
            nonce: nonce.clone(),
            version: self.version.clone(),
            gates: self.gates.clone(),
            enforces: self.enforces.clone(),
        };
        seal(HOST_STATE, &claims, key)
    }

    /// Believes `document` only if `key`, that of `host`, signed it for us beside the question that has `nonce`, not long before `now`. Gives
    /// when it was signed, too: whoever carries it has questions of before as well, and can send one again with its state.
    ///
    /// # Errors
    /// The first that applies, in the order size, UTF-8, JWS, algorithm and type, key, signature, audience, host, nonce, time, bounds.
    pub fn verify(
        document: &[u8],
        host: &HostId,
        nonce: &Nonce,
        key: PublicKey,
        now: Timestamp,
    ) -> Result<(Self, Timestamp), DocumentRefused> {
        let sealed = Sealed::parse(HOST_STATE, document)?;
        if sealed.kid != key.kid() {
            return Err(DocumentRefused::UnknownKey(clean(&sealed.kid, 64)));
        }
        sealed.check_signature(key)?;
        let claims: Claims = sealed.claims()?;
        for (found, ours) in [
            (claims.aud.as_str(), SERVER),
            (claims.iss.as_str(), host.as_str()),
        ] {
            if found != ours {
                return Err(DocumentRefused::OtherAudience(clean(found, 64)));
            }
        }
        if claims.nonce != *nonce {
            return Err(DocumentRefused::NotOurNonce);
        }
        check_not_from_the_future(claims.at, now)?;
        if now.duration_since(claims.at) > SignedDuration::from_secs(Self::MAX_SECONDS) {
            return Err(DocumentRefused::OldState(claims.at));
        }
        let state = Self {
            version: claims.version,
            gates: claims.gates,
            enforces: claims.enforces,
        };
        state.check()?;
        Ok((state, claims.at))
    }

    fn check(&self) -> Result<(), DocumentRefused> {
        if self.gates.len() > Self::MAX_GATES {
            return Err(unparsable("more gates than a host's state may have"));
        }
        let is_name = |name: &String| {
            name.len() <= Self::MAX_ENFORCES && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.enforces.len() > Self::MAX_ENFORCES || !self.enforces.iter().all(is_name) {
            return Err(unparsable("what the host enforces is no list of names"));
        }
        let version = self.version.as_bytes();
        if version.len() > Self::MAX_VERSION || !version.iter().all(u8::is_ascii_graphic) {
            return Err(unparsable("the version is none"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(of: &[(&str, GateMode)]) -> Gates {
        let gate = |(service, mode): &(&str, GateMode)| (service.parse().unwrap(), *mode);
        of.iter().map(gate).collect()
    }

    fn host(digit: char) -> HostId {
        format!("h{}", digit.to_string().repeat(32))
            .parse()
            .unwrap()
    }

    fn nonce(letter: char) -> Nonce {
        letter.to_string().repeat(22).parse().unwrap()
    }

    #[test]
    fn a_state_is_believed_of_its_host_beside_its_question_and_by_its_key_alone() {
        let (key, other) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let state = HostState {
            version: "0.1.0".to_owned(),
            gates: gates(&[("sshd", GateMode::Enforce), ("su", GateMode::Monitor)]),
            enforces: ["login_from".to_owned()].into(),
        };
        let now = "2026-11-27T12:00:00Z".parse().unwrap();
        let document = state.sign(&host('1'), &nonce('a'), now, &key).unwrap();
        let verify = |host, nonce, key: &SigningKey| {
            HostState::verify(document.as_bytes(), &host, &nonce, key.public(), now)
        };
        assert_eq!(verify(host('1'), nonce('a'), &key), Ok((state, now)));
        assert!(matches!(
            verify(host('2'), nonce('a'), &key),
            Err(DocumentRefused::OtherAudience(_))
        ));
        assert_eq!(
            verify(host('1'), nonce('b'), &key),
            Err(DocumentRefused::NotOurNonce)
        );
        assert!(matches!(
            verify(host('1'), nonce('a'), &other),
            Err(DocumentRefused::UnknownKey(_))
        ));
        let token = crate::HostToken::sign(&host('1'), &key, now).unwrap();
        let token = HostState::verify(token.as_bytes(), &host('1'), &nonce('a'), key.public(), now);
        assert!(matches!(token, Err(DocumentRefused::WrongKind(_))));
    }

    #[test]
    fn t8_a_state_is_believed_for_a_few_minutes_and_not_before_its_time() {
        let key = SigningKey::generate().unwrap();
        let state = HostState {
            version: "0.1.0".to_owned(),
            gates: Gates::new(),
            enforces: BTreeSet::new(),
        };
        let at: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let document = state.sign(&host('1'), &nonce('a'), at, &key).unwrap();
        let after = |seconds| {
            let now = at + SignedDuration::from_secs(seconds);
            let document = document.as_bytes();
            HostState::verify(document, &host('1'), &nonce('a'), key.public(), now)
        };
        for seconds in [-60, 0, 360] {
            assert_eq!(after(seconds), Ok((state.clone(), at)), "{seconds}");
        }
        assert_eq!(after(-61), Err(DocumentRefused::FromTheFuture(at)));
        for seconds in [361, 86_400] {
            assert_eq!(after(seconds), Err(DocumentRefused::OldState(at)));
        }
    }

    #[test]
    fn a_state_without_bounds_is_neither_signed_nor_believed() {
        let key = SigningKey::generate().unwrap();
        let many: Gates = (0..=HostState::MAX_GATES)
            .map(|number| {
                (
                    format!("service{number}").parse().unwrap(),
                    GateMode::Enforce,
                )
            })
            .collect();
        let ok = HostState {
            version: "0.1.0".to_owned(),
            gates: Gates::new(),
            enforces: BTreeSet::new(),
        };
        let numbered = |count: usize| (0..count).map(|n| format!("name{n}")).collect();
        for state in [
            HostState {
                gates: many,
                ..ok.clone()
            },
            HostState {
                enforces: numbered(65),
                ..ok.clone()
            },
            HostState {
                enforces: ["a b".to_owned()].into(),
                ..ok.clone()
            },
            HostState {
                enforces: ["a".repeat(65)].into(),
                ..ok.clone()
            },
            HostState {
                version: "a b".to_owned(),
                ..ok.clone()
            },
            HostState {
                version: "1".repeat(65),
                ..ok.clone()
            },
        ] {
            let now = Timestamp::UNIX_EPOCH;
            assert!(state.sign(&host('1'), &nonce('a'), now, &key).is_err());
            let claims = Claims {
                iss: host('1'),
                aud: SERVER.to_owned(),
                at: now,
                nonce: nonce('a'),
                version: state.version,
                gates: state.gates,
                enforces: state.enforces,
            };
            let document = seal(HOST_STATE, &claims, &key).unwrap();
            let document = document.as_bytes();
            let read = HostState::verify(document, &host('1'), &nonce('a'), key.public(), now);
            assert!(matches!(read, Err(DocumentRefused::Unparsable(_))));
        }
    }

    #[test]
    fn changes_are_found_by_service_and_known_as_weaker_or_not() {
        let before = gates(&[
            ("atd", GateMode::Monitor),
            ("sshd", GateMode::Enforce),
            ("su", GateMode::Enforce),
            ("sudo", GateMode::Monitor),
        ]);
        let after = gates(&[
            ("cron", GateMode::Enforce),
            ("sshd", GateMode::Enforce),
            ("su", GateMode::Damaged),
            ("sudo", GateMode::Provisional),
        ]);
        let changes = GateChange::between(&before, &after);
        let said: Vec<_> = changes
            .iter()
            .map(|change| {
                (
                    change.service.as_str(),
                    change.was,
                    change.is,
                    change.is_weaker(),
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                ("atd", Some(GateMode::Monitor), None, true),
                ("cron", None, Some(GateMode::Enforce), false),
                ("su", Some(GateMode::Enforce), Some(GateMode::Damaged), true),
                (
                    "sudo",
                    Some(GateMode::Monitor),
                    Some(GateMode::Provisional),
                    false
                ),
            ]
        );
        assert_eq!(GateChange::between(&before, &before), []);
        assert_eq!(
            [changes[0].to_string(), changes[1].to_string()],
            [
                "the gate of atd is weaker: it was monitor and is not gated",
                "the gate of cron is no weaker: it was not gated and is enforce"
            ]
        );
    }
}
