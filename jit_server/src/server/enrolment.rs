//! Hosts that come and go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jit_grant::{
    EnrolmentToken, GrantId, HostId, HostName, Possession, PublicKey, Secret, TokenId,
};

use super::{Server, Writer};
use crate::enrolment::{EnrolmentRefused, MOST_TOKENS, Token};
use crate::error::Error;
use crate::event::{Actor, Event, HostEnrolled, TokenMade};
use crate::label::{LabelKey, LabelValue};
use crate::text::Reason;
use crate::workflow::State;

/// What a host is known by from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The host.
    pub host: HostEnrolled,
    /// The key that it has to believe.
    pub server_key: PublicKey,
    /// Keys that documents lead on from to that one; an enrolment token may name one of them.
    pub earlier_keys: Vec<PublicKey>,
}

/// A host that wants in with an enrolment token.
#[derive(Debug, Clone)]
pub struct WithToken {
    /// The token's secret.
    pub secret: Secret,
    /// The name that it wants.
    pub name: HostName,
    /// The key that it wants to be known by.
    pub key: PublicKey,
    /// `jit-possession+jwt`, bound to all of these.
    pub proof: String,
    /// The address that it comes from.
    pub from: Option<IpAddr>,
}

/// An enrolment token that is to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The one name that it enrols.
    pub name: Option<HostName>,
    /// What its hosts are labelled with. With none, a host that takes the place of another has that one's.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Its hosts are removed when they are silent for so many seconds.
    pub lapse_seconds: Option<u32>,
    /// So many hosts.
    pub uses: u32,
    /// For so many seconds.
    pub for_seconds: u32,
}

/// What the removal of a host came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The grants that ended with it.
    pub revoked: Vec<GrantId>,
    /// The enrolment token that it came with, where that lets in more hosts.
    pub token: Option<Token>,
}

pub(crate) const REMOVED: &str = "the host was removed";
const SILENT: &str = "the host fell silent";

impl Server {
    /// Enrols a host of this machine's administrator. The same name with the same key again changes nothing; with another key it is
    /// another host from now on, with the labels of the one before.
    ///
    /// # Errors
    /// A key that is another host's, or that it could not be kept.
    pub async fn enrol(
        self: &Arc<Self>,
        name: HostName,
        key: PublicKey,
    ) -> Result<Enrolment, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            if let Some(host) = server.known_by(&name, key)? {
                return Ok(server.answer(host));
            }
            let labels =
                server.look(|state| Some(state.directory.host(&name)?.enrolled.labels.clone()));
            let host = HostEnrolled {
                labels: labels.unwrap_or_default(),
                ..new_host(name, key)?
            };
            server
                .bring_in(&mut writer, Actor::Administrator, host)
                .await
        })
        .await
    }

    /// Enrols a host that shows a token. Again with the same token, name and key it changes nothing: the answer may have been lost.
    ///
    /// # Errors
    /// The first rule against it. A refusal of a known token is in the record, up to a number of them.
    pub async fn enrol_with_token(self: &Arc<Self>, wanted: WithToken) -> Result<Enrolment, Error> {
        let secret = wanted.secret.hash();
        let proved = Possession::verify(wanted.proof.as_bytes(), wanted.key);
        let proved = proved.map_err(|error| Error::NotProved(error.to_string()))?;
        if proved
            != (Possession {
                name: wanted.name.clone(),
                secret: secret.clone(),
            })
        {
            return Err(Error::NotProved(
                "the proof is for another name or token".to_owned(),
            ));
        }
        let known = || self.look(|state| state.tokens.know(&secret));
        if !known() {
            // It may have been made at another server a moment ago. Of strangers' calls at one moment one asks for all.
            self.look_again().await?;
        }
        if !known() {
            // Strangers can send any number of these: nothing is kept of them, and they have no turn.
            tracing::warn!(name = %wanted.name, "a host was not enrolled: {}", EnrolmentRefused::Unknown);
            return Err(EnrolmentRefused::Unknown.into());
        }
        self.uninterrupted(move |server, mut writer| async move {
            let WithToken {
                name, key, from, ..
            } = wanted;
            let now = server.now();
            let before = server.known_by(&name, key)?;
            let admitted = server.look(|state| {
                if let Some(host) =
                    before.filter(|host| state.tokens.is_of(&secret, host.token.as_ref()))
                {
                    return Ok((host, false));
                }
                let taken = state.directory.host(&name);
                let token = state.tokens.admit(&secret, &name, taken.is_some(), now)?;
                // Only a token made for this very name lets in another host in its place. One that says nothing of labels takes none away:
                // it would take the name out of every role that goes by them.
                let labels = match taken {
                    Some(taken) if token.labels.is_empty() => &taken.enrolled.labels,
                    _ => &token.labels,
                };
                let host = HostEnrolled {
                    labels: labels.clone(),
                    lapse_seconds: token.lapse_seconds,
                    token: Some(token.token.clone()),
                    from,
                    ..new_host(name.clone(), key)?
                };
                Ok((host, true))
            });
            match admitted {
                Ok((host, false)) => Ok(server.answer(host)),
                Ok((host, true)) => server.bring_in(&mut writer, Actor::Server, host).await,
                Err(Error::Enrolment(refused)) => {
                    server
                        .record_refusal(&mut writer, &refused, name, from)
                        .await?;
                    Err(refused.into())
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Makes an enrolment token. It is told this once: only its secret's hash is kept.
    ///
    /// # Errors
    /// Too many of them, or that it could not be kept.
    pub async fn make_token(
        self: &Arc<Self>,
        new: NewToken,
    ) -> Result<(TokenMade, EnrolmentToken), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            let (open, next) =
                server.look(|state| (state.tokens.open(now).count(), state.tokens.next()));
            if open >= MOST_TOKENS {
                return Err(Error::TooManyTokens(open));
            }
            let secret = Secret::generate()?;
            let made = TokenMade {
                token: TokenId::try_from(format!("e{next}"))
                    .map_err(|error| Error::Setup(error.to_string()))?,
                secret: secret.hash(),
                name: new.name,
                labels: new.labels,
                lapse_seconds: new.lapse_seconds,
                uses: new.uses,
                expires: now + SignedDuration::from_secs(i64::from(new.for_seconds)),
            };
            server
                .keep(
                    &mut writer,
                    now,
                    Actor::Administrator,
                    vec![Event::TokenMade(made.clone())],
                )
                .await?;
            let token = EnrolmentToken {
                secret,
                server_key: server.signer.public(),
            };
            Ok((made, token))
        })
        .await
    }

    /// The enrolment tokens that count, the oldest first.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        let now = self.now();
        let mut tokens: Vec<Token> = self.look(|state| state.tokens.open(now).cloned().collect());
        tokens.sort_by_key(|token| token.at);
        tokens
    }

    /// Takes an enrolment token away. The hosts that it let in stay.
    ///
    /// # Errors
    /// No such token that counts, or that it could not be kept.
    pub async fn revoke_token(self: &Arc<Self>, token: TokenId) -> Result<(), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            let counts =
                server.look(|state| state.tokens.open(now).any(|open| open.made.token == token));
            if !counts {
                return Err(Error::NoSuchToken(token));
            }
            let event = Event::TokenRevoked { token };
            server
                .keep(&mut writer, now, Actor::Administrator, vec![event])
                .await
                .map(drop)
        })
        .await
    }

    /// Forgets a host: its stream ends and its tokens count no more. What was granted on it is revoked, so that no later host of the
    /// name has it. The host is told so where it listens.
    ///
    /// # Errors
    /// No such host, or that it could not be kept.
    pub async fn remove_host(self: &Arc<Self>, name: HostName) -> Result<Removal, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            let (events, token) = server.look(|state| {
                let events = removal(state, &name, REMOVED, now)?;
                let came_with = state.directory.host(&name);
                let came_with = came_with.and_then(|host| host.enrolled.token.as_ref());
                let mut open = state.tokens.open(now);
                let token = open.find(|token| Some(&token.made.token) == came_with);
                Ok::<_, Error>((events, token.cloned()))
            })?;
            let kept = server
                .keep(&mut writer, now, Actor::Administrator, events)
                .await?;
            let revoked = kept.iter().filter_map(|entry| entry.event.grant());
            Ok(Removal {
                revoked: revoked.cloned().collect(),
                token,
            })
        })
        .await
    }

    /// What removes the hosts that were silent for longer than their tokens let them.
    pub(super) fn silenced(&self, state: &State, now: Timestamp) -> Vec<Event> {
        let silent = state.directory.hosts().filter(|host| {
            let longest = host.enrolled.lapse_seconds;
            let id = &host.enrolled.host_id;
            let silent = self.streams.silent_for(id);
            let silent = silent.map(|here| self.silent_elsewhere(id).unwrap_or(here).min(here));
            let lapsed = longest.zip(silent);
            lapsed.is_some_and(|(longest, silent)| silent.as_secs() >= u64::from(longest))
        });
        let removals =
            silent.filter_map(|host| removal(state, &host.enrolled.name, SILENT, now).ok());
        removals.flatten().collect()
    }

    /// The host of that name and key, where there is one.
    fn known_by(&self, name: &HostName, key: PublicKey) -> Result<Option<HostEnrolled>, Error> {
        let public_key = key.to_string();
        let found = self.look(|state| {
            let mut hosts = state.directory.hosts();
            hosts
                .find(|host| host.enrolled.public_key == public_key)
                .map(|host| host.enrolled.clone())
        });
        match found {
            Some(other) if other.name != *name => Err(Error::KeyOfOtherHost(other.name)),
            found => Ok(found),
        }
    }

    async fn bring_in(
        &self,
        writer: &mut Writer,
        actor: Actor,
        host: HostEnrolled,
    ) -> Result<Enrolment, Error> {
        let now = self.now();
        let lost = |state: &State| state.lost_by_labels(&host.name, &host.labels, None, now);
        let mut events = self.look(lost);
        events.push(Event::HostEnrolled(host.clone()));
        self.keep(writer, now, actor, events).await?;
        Ok(self.answer(host))
    }

    fn answer(&self, host: HostEnrolled) -> Enrolment {
        Enrolment {
            host,
            server_key: self.signer.public(),
            earlier_keys: self.look(|state| state.keys.earlier().collect()),
        }
    }

    async fn record_refusal(
        &self,
        writer: &mut Writer,
        refused: &EnrolmentRefused,
        name: HostName,
        from: Option<IpAddr>,
    ) -> Result<(), Error> {
        tracing::warn!(%name, "a host was not enrolled: {refused}");
        let token = refused
            .token()
            .filter(|token| self.look(|state| state.tokens.keeps_refusal(token)));
        let Some(token) = token.cloned() else {
            return Ok(());
        };
        let event = Event::EnrolmentRefused {
            token,
            name,
            why: refused.to_string(),
            from,
        };
        self.keep(writer, self.now(), Actor::Server, vec![event])
            .await
            .map(drop)
    }
}

/// What removes a host: what is granted there ends first.
pub(crate) fn removal(
    state: &State,
    name: &HostName,
    why: &'static str,
    now: Timestamp,
) -> Result<Vec<Event>, Error> {
    let host = state
        .directory
        .host(name)
        .ok_or_else(|| Error::NoSuchHost(name.clone()))?;
    let granted = state.live_grants(now).filter(|grant| grant.host == *name);
    let mut events: Vec<Event> = granted
        .map(|grant| Event::Revoked {
            grant: grant.id.clone(),
            reason: Reason::ours(why),
        })
        .collect();
    events.push(Event::HostRemoved {
        name: name.clone(),
        host_id: host.enrolled.host_id.clone(),
    });
    Ok(events)
}

fn new_host(name: HostName, key: PublicKey) -> Result<HostEnrolled, Error> {
    Ok(HostEnrolled {
        name,
        host_id: new_host_id()?,
        public_key: key.to_string(),
        labels: BTreeMap::new(),
        lapse_seconds: None,
        token: None,
        from: None,
    })
}

/// `h` and 32 hexadecimal digits from the system's random generator.
fn new_host_id() -> Result<HostId, Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| jit_grant::KeyError::NotGenerated)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    HostId::try_from(format!("h{hex}")).map_err(|error| Error::Setup(error.to_string()))
}
