//! The one writer. What it is told to do becomes events; they are on disk before anybody hears of them.

mod alarms;
mod apply;
mod call;
mod changes;
mod documents;
mod enrolment;
mod follow;
mod host_lines;
mod others;
mod policy;
mod refused;
mod restored;
mod room;
mod rotation;
mod standing;
mod user_tokens;
mod users;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use jit_grant::{HostId, HostName, Principal};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use crate::alarm;
use crate::bundles;
use crate::clock::Clock;
use crate::error::Error;
use crate::event::{Actor, Entry, Event, RecordNeeds};
use crate::mark::Mark;
use crate::policy::PolicyFile;
use crate::signer::Signer;
use crate::store::{Kept, Loaded, Part, Place, Store};
use crate::streams::Streams;
use crate::workflow::{self, Command, State};

pub use apply::Applied;
pub use call::Call;
pub use changes::{Confirmed, Now};
pub use documents::SignedBundle;
pub use enrolment::{Enrolment, NewToken, Removal, WithToken};
pub(crate) use enrolment::{REMOVED, removal};
pub use follow::CUT_OFF_AFTER;
pub(crate) use rotation::check_key;
pub use user_tokens::{By, Use};
pub use users::{Became, Spoken};

/// The running server, whatever it is reached through.
pub struct Server {
    clock: Box<dyn Clock>,
    store: Box<dyn Store>,
    signer: Signer,
    mark: Mark,
    policy: Mutex<PolicyFile>,
    known: RwLock<Known>,
    writer: Arc<AsyncMutex<Writer>>,
    streams: Streams,
    uses: user_tokens::Uses,
    heard: standing::Heard,
    room: room::Room,
    /// Of calls that were refused.
    refusals: Mutex<alarm::Bound<refused::Whose>>,
    others: others::Others,
    contact: follow::Contact,
    speaks: watch::Sender<bool>,
    /// Why this server must start anew.
    over: watch::Sender<Option<String>>,
    changes: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
}

/// What is so now: read often, written by the writer alone.
#[derive(Debug, Default)]
struct Known {
    state: State,
    revisions: HashMap<HostId, u64>,
}

/// What only the writer needs.
#[derive(Debug)]
struct Writer {
    /// How far the record has come as far as this server knows.
    place: Place,
    /// The policy event recorded last, so that a restart records nothing new.
    policy: Option<Event>,
    bound: alarm::Bound<Option<HostName>>,
    /// The call because of which it writes, where there is one.
    call: Option<Arc<Call>>,
}

impl Server {
    /// Replays what was kept. `clock` is made from the time of the last event, which it must never go below. Where `mark` says that this is
    /// an older copy, or nothing, see [`Event::Restored`].
    ///
    /// # Errors
    /// Where the record can't be read or written.
    pub async fn start(
        store: Box<dyn Store>,
        signer: Signer,
        mark: Mark,
        policy_path: PathBuf,
        clock: impl FnOnce(Timestamp) -> Box<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let Loaded {
            entries,
            revisions,
            place,
        } = store.load().await?;
        let mut known = Known {
            state: State::default(),
            revisions: revisions.into_iter().collect(),
        };
        let mut policy = None;
        let copy = entries.last().map(|entry| (place.last_seq, entry.at));
        let mut last_at = Timestamp::UNIX_EPOCH;
        let mut declared = None;
        for entry in entries {
            known.state.apply(&entry);
            last_at = last_at.max(entry.at);
            if follow::is_of_policy(&entry.event) {
                policy = Some(entry.event);
            } else if let Event::Restored(restored) = entry.event {
                declared = declared.max(restored.mark);
            }
        }
        if known.state.keys.newest().is_none() {
            check_key(&signer, &*store, None).await?;
        }
        let clock = clock(last_at);
        known.state.forget_expired(clock.now());
        let streams = Streams::default();
        for host in known.state.directory.hosts() {
            let id = &host.enrolled.host_id;
            streams.announce(id, known.revisions.get(id).copied().unwrap_or(0));
        }
        let server = Arc::new(Self {
            clock,
            store,
            signer,
            mark,
            policy: Mutex::new(PolicyFile::new(policy_path)),
            known: RwLock::new(known),
            writer: Arc::new(AsyncMutex::new(Writer {
                place,
                policy,
                bound: alarm::Bound::default(),
                call: None,
            })),
            streams,
            uses: user_tokens::Uses::default(),
            heard: standing::Heard::default(),
            room: room::Room::default(),
            others: others::Others::default(),
            contact: follow::Contact::default(),
            speaks: watch::Sender::new(true),
            over: watch::Sender::new(None),
            refusals: Mutex::default(),
            changes: watch::Sender::new(place.last_seq),
            stopping: watch::Sender::new(false),
        });
        server.look(|state| server.go_by_record(state));
        server.check_mark(copy, declared).await?;
        server.end_rotation().await?;
        server.look_at_policy().await?;
        Ok(server)
    }

    /// The time by the server's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks at the state. What `look` gets must not be held on to: writers wait.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.known().state)
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hosts' streams.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Changes whenever something has happened.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Becomes true when the server is to stop.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Lets streams and waiting calls end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Ends the connection to the database. Nothing can be done after that.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// At most `limit` of the record after `seq`, and no more than one answer is to have.
    ///
    /// # Errors
    /// Where the record can't be read.
    pub async fn record(&self, after: u64, limit: u32) -> Result<Part<Kept>, Error> {
        Ok(self.store.record(after, limit).await?)
    }

    /// Lines of the grant's host about what elevations held by it left behind; the oldest, at most `limit`.
    ///
    /// # Errors
    /// Where the record can't be read.
    pub async fn left_behind(
        &self,
        grant: &jit_grant::GrantId,
        limit: u32,
    ) -> Result<Part<String>, Error> {
        match self.look(|state| Some(state.grant(grant)?.host.clone())) {
            Some(host) => Ok(self.store.left_behind(&host, grant, limit).await?),
            None => Ok(Part::none()),
        }
    }

    /// Does what somebody wants, if the rules allow it and the token that he is known by still counts. When this returns, it is on disk and the hosts are being told.
    ///
    /// # Errors
    /// The rule against it, or that it could not be kept; then nothing has happened.
    pub async fn execute(
        self: &Arc<Self>,
        by: impl Into<By>,
        wanted: Command,
    ) -> Result<Vec<Entry>, Error> {
        let By { actor, token } = by.into();
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let now = server.now();
            let policy = server.policy();
            let events = server.look(|state| {
                let token = token.map(|token| user_tokens::admit(state, &token.secret, now));
                let token = token.transpose()?;
                let events = workflow::command(state, &policy, now, &actor, wanted)?;
                if let Some(token) = token {
                    token.made.scopes.cover(state, &events)?;
                }
                Ok::<_, Error>(events)
            })?;
            if events.is_empty() {
                return Ok(Vec::new());
            }
            alarms::tell(&events);
            server.keep(&mut writer, now, actor, events).await
        })
        .await
    }

    /// Lets time pass: what nobody decided in time lapses, and a changed policy comes into force.
    ///
    /// # Errors
    /// That it could not be kept.
    pub async fn tick(self: &Arc<Self>) -> Result<(), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let everybody_asked = server.hear_others().await?;
            let now = server.now();
            let events = server.look(|state| {
                let silenced = everybody_asked.then(|| server.silenced(state, now));
                let over = state.tokens.lapsed(now).cloned();
                let over = over.map(|token| Event::TokenExpired { token });
                let users_over = state.user_tokens.lapsed(now).cloned();
                let users_over = users_over.map(|made| Event::UserTokenExpired {
                    token: made.token,
                    user: made.user,
                });
                workflow::lapsed(state, now)
                    .into_iter()
                    .chain(over)
                    .chain(users_over)
                    .chain(silenced.into_iter().flatten())
                    .collect::<Vec<_>>()
            });
            if !events.is_empty() {
                alarms::tell(&events);
                server.keep(&mut writer, now, Actor::Server, events).await?;
            }
            server
                .known
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .state
                .forget_expired(now);
            server.look(|state| server.uses.retain(|token| state.user_tokens.knows(token)));
            Ok(())
        })
        .await
    }

    /// The user behind an account of this machine.
    ///
    /// # Errors
    /// The names, where several users share the account's login.
    pub fn principal_of(&self, account: &str) -> Result<Option<Principal>, Vec<Principal>> {
        use crate::directory::AccountOwner;
        self.look(|state| match state.directory.owner_of_account(account) {
            AccountOwner::User(user) => Ok(Some(user.name.clone())),
            AccountOwner::Nobody => Ok(None),
            AccountOwner::Several(names) => Err(names.into_iter().cloned().collect()),
        })
    }

    /// Runs `work` as the writer, to its end even when whoever wants it goes away in the midst: otherwise what is on disk and
    /// what is in memory could differ.
    async fn uninterrupted<T, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>, OwnedMutexGuard<Writer>) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let server = Arc::clone(self);
        let call = Call::current();
        let done = tokio::spawn(async move {
            let mut writer = Arc::clone(&server.writer).lock_owned().await;
            let _turn = server.turn(&mut writer).await?;
            if let Some(call) = &call {
                server.look(|state| call.check(state, server.now()))?;
            }
            writer.call = call;
            work(server, writer).await
        });
        done.await.unwrap_or(Err(Error::Stopping))
    }

    /// Keeps events, and new revisions for the hosts that they concern.
    async fn keep(
        &self,
        writer: &mut Writer,
        at: Timestamp,
        actor: Actor,
        events: Vec<Event>,
    ) -> Result<Vec<Entry>, Error> {
        let revisions = {
            let known = self.known();
            let touched = bundles::touched(&known.state, &events, at);
            let next = |host: &HostId| {
                bundles::next_revision(known.revisions.get(host).copied().unwrap_or(0), at)
            };
            touched
                .into_iter()
                .map(|host| {
                    let next = next(&host);
                    (host, next)
                })
                .collect()
        };
        let mut entries = self.numbered(writer, at, &actor, events);
        self.keep_all(writer, entries.clone(), revisions).await?;
        if let Some(call) = &writer.call {
            call.kept(&entries);
        }
        // What the record needs is nothing that anybody wanted.
        entries.retain(|entry| !matches!(entry.event, Event::RecordNeeds(_)));
        Ok(entries)
    }

    /// Events as they come next in the record; before them what it needs from then on, where that is more than before.
    fn numbered(
        &self,
        writer: &Writer,
        at: Timestamp,
        actor: &Actor,
        events: Vec<Event>,
    ) -> Vec<Entry> {
        // What the server does by itself while it answers, it would have done without the call.
        let call = writer.call.as_ref().filter(|_| *actor != Actor::Server);
        let needs = self.look(|state| RecordNeeds::before(&events, state.record_version()));
        let first = usize::from(needs.is_some());
        let events = needs.map(Event::RecordNeeds).into_iter().chain(events);
        let numbered = (writer.place.last_seq + 1..).zip(events);
        let entries = numbered.map(|(seq, event)| Entry {
            seq,
            at,
            actor: event.actor(actor),
            via: call
                .filter(|_| !matches!(event, Event::RecordNeeds(_)))
                .and_then(|call| call.via()),
            event,
        });
        let mut entries: Vec<Entry> = entries.collect();
        if let (Some(call), Some(first)) = (call, entries.get_mut(first)) {
            call.sign(first);
        }
        entries
    }

    /// Disk first, then memory, then the world.
    async fn keep_all(
        &self,
        writer: &mut Writer,
        entries: Vec<Entry>,
        revisions: Vec<(HostId, u64)>,
    ) -> Result<(), Error> {
        let after = writer.place;
        let kept = self.store.append(after, &entries, &revisions).await;
        let place = kept.inspect_err(|error| self.failed(error))?;
        self.take_in(writer, &entries, &revisions, place);
        Ok(())
    }
}
