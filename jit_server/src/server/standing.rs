//! How hosts say that they stand, with each question for the server's word: recorded where it is different, and an alarm where a gate is
//! weaker (T8).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{GateChange, HostId, HostName, HostState, Nonce};
use tokio::time::Instant;

use super::Server;
use crate::alarm::Alarm;
use crate::directory::Standing;
use crate::error::Error;
use crate::event::{Actor, Event};
use crate::text::brief;

/// From one recorded change of a host's standing to the next, of which there are no more an hour than of an alarm, so that a host can't
/// fill the record. It says how it stands every 30 s, so that what is passed over comes again; its own chain has all of it.
const BETWEEN: Duration = Duration::from_secs(20);

/// What is remembered of hosts' words beside the record.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<HashMap<HostId, Last>>);

#[derive(Debug, Default)]
struct Last {
    recorded: Option<Instant>,
    /// When what was believed last was said, by the host's clock; by this server's where the host's was ahead of it, so that a clock that is
    /// set right takes nothing away.
    said: Option<Timestamp>,
    /// The last word came without.
    missed: bool,
    /// That is in the record.
    told: bool,
}

impl Heard {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what `host` said at `said` is newer than what it said before; then it is what was said last.
    fn is_news(&self, host: &HostId, said: Timestamp, now: Timestamp) -> bool {
        let mut hosts = self.hosts();
        let last = hosts.entry(host.clone()).or_default();
        let is_news = last.said.is_none_or(|before| said > before);
        if is_news {
            last.said = Some(said.min(now));
        }
        is_news
    }

    /// Nothing to be believed came from `host`. True where that is to be told of: once, and where it may be nobody's doing not before the
    /// second time in a row: a host whose disk is busy may be late with it, and a question may be overtaken by the next.
    fn withholds(&self, host: &HostId, may_be_chance: bool) -> bool {
        let mut hosts = self.hosts();
        let last = hosts.entry(host.clone()).or_default();
        let before = std::mem::replace(&mut last.missed, true);
        if last.told || (may_be_chance && !before) {
            return false;
        }
        last.told = true;
        true
    }

    fn was_not_told(&self, host: &HostId) {
        if let Some(last) = self.hosts().get_mut(host) {
            last.told = false;
        }
    }

    fn speaks(&self, host: &HostId) {
        if let Some(last) = self.hosts().get_mut(host) {
            (last.missed, last.told) = (false, false);
        }
    }

    /// Whether something new of `host` may be recorded now; then it counts as done.
    fn may_record(&self, host: &HostId) -> bool {
        let mut hosts = self.hosts();
        let last = hosts.entry(host.clone()).or_default();
        let may = last.recorded.is_none_or(|at| at.elapsed() >= BETWEEN);
        if may {
            last.recorded = Some(Instant::now());
        }
        may
    }

    fn keep_only(&self, known: impl Fn(&HostId) -> bool) {
        self.hosts().retain(|host, _| known(host));
    }
}

impl Server {
    /// Takes what came as `host`'s own word on how it stands, beside the question that had `nonce`. Whoever carries it may send a question
    /// of before again with what the host said then; it has to be newer than what is known.
    ///
    /// # Errors
    /// [`Error::UnknownHost`], or that what is different could not be kept.
    pub async fn hear_standing(
        self: &Arc<Self>,
        host: &HostId,
        nonce: &Nonce,
        said: Option<&str>,
    ) -> Result<(), Error> {
        let key = self.host_key(host).ok_or(Error::UnknownHost)?;
        let known = self.look(|state| {
            let known = state.directory.host_by_id(host)?;
            Some((known.enrolled.name.clone(), known.standing.clone()))
        });
        let (name, before) = known.ok_or(Error::UnknownHost)?;
        let now = self.now();
        let read = |document: &str| HostState::verify(document.as_bytes(), host, nonce, key, now);
        let (why, may_be_chance) = match said.map(read) {
            Some(Ok((state, said))) if self.heard.is_news(host, said, now) => {
                let HostState {
                    version,
                    gates,
                    enforces,
                } = state;
                let now = Standing {
                    version,
                    gates,
                    enforces,
                };
                self.heard.speaks(host);
                return self.stands(host, name, before, now).await;
            }
            Some(Ok((_, said))) => {
                let why =
                    format!("the host said it at {said}, no later than what was heard before");
                (Some(why), true)
            }
            Some(Err(refused)) => (Some(brief(&refused.to_string())), false),
            // A jitd of before does not speak of it.
            None if before.is_none() => return Ok(()),
            None => (None, true),
        };
        if !self.heard.withholds(host, may_be_chance) {
            return Ok(());
        }
        let host = host.clone();
        self.uninterrupted(move |server, mut writer| async move {
            let alarm = Alarm::StateWithheld { why };
            let raised = server.raise_with(&mut writer, Some(name), alarm).await;
            if raised.is_err() {
                server.heard.was_not_told(&host);
            }
            raised
        })
        .await
    }

    async fn stands(
        self: &Arc<Self>,
        host: &HostId,
        name: HostName,
        before: Option<Standing>,
        now: Standing,
    ) -> Result<(), Error> {
        if before.as_ref() == Some(&now) || !self.heard.may_record(host) {
            return Ok(());
        }
        let weaker: Vec<GateChange> = before.map_or_else(Vec::new, |before| {
            let changes = GateChange::between(&before.gates, &now.gates).into_iter();
            changes.filter(GateChange::is_weaker).collect()
        });
        let event = Event::HostState {
            name: name.clone(),
            host_id: host.clone(),
            standing: now,
        };
        self.uninterrupted(move |server, mut writer| async move {
            server.look(|state| {
                let known = |host: &HostId| state.directory.host_by_id(host).is_some();
                server.heard.keep_only(known);
            });
            // First: the record must not have it as known before the alarm is in it. Also where the change itself is passed over: else a
            // host that makes many of them would hide one.
            for change in weaker {
                server
                    .raise_with(&mut writer, Some(name.clone()), Alarm::GateWeaker(change))
                    .await?;
            }
            let (at, kind, name) = (server.now(), event.kind(), Some(name));
            let Some(left_out) = writer.bound.another(&name, kind, at) else {
                return Ok(());
            };
            let kept = server
                .keep(&mut writer, at, Actor::Server, vec![event])
                .await;
            if kept.is_err() {
                writer.bound.give_back(&name, kind, left_out);
            }
            kept.map(drop)
        })
        .await
    }
}
