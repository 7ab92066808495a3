//! How a session or an elevation is held, and ended.
//!
//! A session is its query: it lives while the judge says yes to it. Two things stand behind its end before a caller is let in:
//! jitd's own exact timer (`deadline.rs`) and a timer in PID 1 (`arm.rs`, `unit.rs`), which needs nothing of jitd's alive.
//!
//! | idea | file |
//! |---|---|
//! | a caller is let in | `open.rs`, `belong.rs`, `manager.rs`, `shared_groups.rs` |
//! | which cgroup is a session's, who is in it, killing it | `cgroup.rs` |
//! | is it over? at deadlines, new bundles and steps of the clock | `judge.rs`, `elevated.rs` |
//! | the end itself | `end.rs`, `notice.rs`, `connection.rs` |
//! | what left its scopes | `strays.rs`, `another.rs`, `elsewhere.rs`, `unseen.rs` |
//! | nobody does anything at it | `idle.rs`, `activity.rs`, `left_alone.rs` |
//! | warning people that it is near | `warn.rs`, `notice.rs` |
//! | it ended by itself | `gone.rs`, `watch.rs` |
//! | what survives a restart of jitd | `held.rs`, `registry.rs`, `reconcile.rs`, `salvage.rs` |
//! | PID 1 and logind | `pid1.rs`, `private_bus.rs`, `logind.rs` |

mod activity;
mod another;
mod arm;
mod belong;
mod cgroup;
mod connection;
mod deadline;
mod elevated;
mod elsewhere;
mod end;
#[cfg(test)]
mod fixture;
mod gone;
mod held;
mod idle;
mod judge;
mod left_alone;
mod logind;
mod manager;
mod notice;
mod open;
mod pid1;
mod private_bus;
mod process;
mod ready;
mod reconcile;
mod registry;
mod salvage;
mod shared_groups;
mod strays;
mod types;
mod unit;
mod unseen;
mod warn;
mod watch;

pub(crate) use cgroup::{folders, units_of_users};
pub(crate) use deadline::Alarm;
pub(crate) use ready::Ready;
pub use types::{Judge, Live, NotAnId, Opening, Refused, SessionError, SessionId, Standing};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_local::message::control;
use tokio::sync::{Notify, Semaphore};

use crate::accounts::Account;
use crate::clock::Clock;
use crate::peer::Peer;
use crate::record::Record;
use crate::residue::Residue;
use held::Held;
use logind::Logind;
use process::Process;
use registry::Registry;
use watch::Watcher;

/// PID 1, whose timer stands behind every end, waits no longer than this before it kills; so no more can be promised.
pub const LONGEST_GRACE: Duration = unit::STOP_TIMEOUT;

/// PID 1 sends every signal to every connection: with hundreds of them it answers none in time.
const TURNS_AT_ONCE: usize = 4;

/// All sessions and elevations of this host. Clones are the same sessions.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    clock: Clock,
    judge: Arc<dyn Judge>,
    record: Arc<Record>,
    registry: Registry,
    watcher: Watcher,
    logind: Logind,
    residue: Residue,
    table: Mutex<Table>,
    /// From the first signal of an end to cgroup.kill.
    grace: Mutex<Duration>,
    /// So long before an end its warnings are due.
    warn_before: Mutex<Vec<Duration>>,
    /// What is due next may have changed.
    changed: Notify,
    /// Turns at PID 1 for moving timers and for stopping what ends, which may be hundreds at once.
    turns: Semaphore,
    /// The turn at looking through homes.
    homes: Arc<Semaphore>,
    looks: strays::Looks,
}

#[derive(Default)]
struct Table {
    held: BTreeMap<SessionId, Held>,
    /// sudo and su processes between their first session line and their last, by the elevation they belong to.
    openers: HashMap<Process, SessionId>,
    /// Whose timers in PID 1 are being moved: one task each, however often they are judged meanwhile.
    moving: BTreeSet<SessionId>,
}

impl Sessions {
    /// Takes up what the registry under `run_dir` tells of, and begins to watch over it. The judge must be ready: what it says
    /// is over now is ended now. `grace` is as in [`Sessions::set_grace`].
    ///
    /// # Errors
    /// Where there can be no registry or the kernel gives no timer or watch.
    pub async fn start(
        run_dir: &Path,
        clock: Clock,
        judge: Arc<dyn Judge>,
        record: Arc<Record>,
        grace: Duration,
    ) -> Result<Self, SessionError> {
        let kernel = |what| move |source| SessionError::Kernel { what, source };
        let alarm = Alarm::new().map_err(kernel("a timer"))?;
        let watcher = Watcher::start().map_err(kernel("a watch on cgroups"))?;
        let registry = Registry::open(run_dir)?;
        let residue = Residue::start(run_dir, clock.clone(), Arc::clone(&record))
            .map_err(kernel("a folder for what elevations leave behind"))?;
        let inner = Arc::new(Inner {
            clock,
            judge,
            record,
            registry,
            watcher,
            logind: Logind::default(),
            residue,
            table: Mutex::default(),
            grace: Mutex::new(grace),
            warn_before: Mutex::default(),
            changed: Notify::new(),
            turns: Semaphore::new(TURNS_AT_ONCE),
            homes: Arc::new(Semaphore::new(1)),
            looks: strays::Looks::default(),
        });
        inner.reconcile().await?;
        inner
            .residue
            .open(inner.table().held.keys().map(ToString::to_string));
        tokio::spawn(Arc::clone(&inner).keep_deadlines(alarm));
        tokio::spawn(Arc::clone(&inner).adopt_unseen());
        let connecting = Arc::clone(&inner);
        tokio::spawn(async move { connecting.logind.connect().await });
        Ok(Self(inner))
    }

    /// The session or elevation whose scope the caller's cgroup lies in. Scopes never lie in one another, so there is at most one.
    #[must_use]
    pub fn containing(&self, peer: &Peer) -> Option<control::Session> {
        let cgroup = peer.cgroup().ok()?;
        let table = self.0.table();
        table
            .held
            .values()
            .find(|held| held.scope_of(&cgroup).is_some())
            .map(Held::describe)
    }

    /// The login that `id` is in, however many elevations lie between them; itself where it is one or is in none.
    #[must_use]
    pub fn login_of(&self, id: SessionId) -> SessionId {
        elevated::login_above(&self.0.table(), &id).unwrap_or(id)
    }

    /// Registers a login after pam_systemd has given it a session scope, and arms both its ends before it returns.
    ///
    /// # Errors
    /// JIT-130 where the caller is not the leader of a logind session in a scope of its own (T14), JIT-131 where an end could not be
    /// armed, JIT-140 where it could not be recorded, and the judge's code where it is over by now.
    pub async fn open_login(&self, opening: Opening) -> Result<control::Session, Refused> {
        let id = in_a_task(Arc::clone(&self.0).open_login(opening)).await?;
        let held = self.0.held(&id).ok_or_else(open::gone)?;
        Ok(held.describe())
    }

    /// Moves the caller into a scope of its own that ends with the grant and with the scope it came from, and arms both its ends
    /// before it returns (T18). It is ended after five seconds unless [`Sessions::confirm_elevation`] comes (T6).
    ///
    /// # Errors
    /// JIT-131 where the scope or an end could not be made, JIT-140 where it could not be recorded, and the judge's code where it is
    /// over by now. The caller is to be refused then: it may already be in a scope that is about to be ended.
    pub async fn open_elevation(&self, opening: Opening) -> Result<SessionId, Refused> {
        in_a_task(Arc::clone(&self.0).open_elevation(opening)).await
    }

    /// True where what leaves the scope of the login that `peer` opens can be found, by an audit session of that login's own. Known once
    /// pam_loginuid has set it.
    #[must_use]
    pub fn has_audit_session(&self, peer: &Peer) -> bool {
        self.0.has_audit_session(peer)
    }

    /// The login `id` was given these groups: what it leaves of them is looked for when nothing is left of it.
    pub fn given_groups(&self, id: &SessionId, gids: BTreeSet<u32>) {
        self.0.given_groups(id, gids);
    }

    /// Registers the user manager that the caller is about to become, and arms both its ends before it returns (T16).
    ///
    /// # Errors
    /// As [`Sessions::open_login`], with user@UID.service in the place of the login's scope.
    pub async fn open_manager(&self, opening: Opening) -> Result<SessionId, Refused> {
        in_a_task(Arc::clone(&self.0).open_manager(opening)).await
    }

    /// The session phase of sudo or su has come. Some where the account phase opened an elevation for this very process, or where it
    /// is root's and sits inside an elevation; None where no decision stands behind it.
    #[must_use]
    pub fn confirm_elevation(&self, peer: &Peer) -> Option<SessionId> {
        self.0.confirm_elevation(peer)
    }

    /// The elevation `id` goes on as `account`: what begins in that user's manager or in the user's name as a job from now on ends with
    /// it (T15).
    pub fn goes_on_as(&self, id: &SessionId, account: Account) {
        self.0.goes_on_as(id, account);
    }

    /// After pam_systemd: where it moved the caller of [`Sessions::confirm_elevation`] into a new session scope, that scope ends with
    /// the elevation from now on (T12). None where the caller belongs to no elevation; nothing is adopted then.
    ///
    /// # Errors
    /// JIT-130 where the caller sits in anything but a scope of this elevation or a new one of its own, JIT-131 where the end could
    /// not be armed.
    pub async fn adopt_scope(&self, peer: &Peer) -> Result<Option<SessionId>, Refused> {
        in_a_task(Arc::clone(&self.0).adopt_scope(peer.clone())).await
    }

    /// PAM closed the session. One with a scope is held on until nothing is left in it.
    pub async fn closed(&self, peer: &Peer) {
        self.0.pam_closed(Process::of(peer)).await;
    }

    /// Ends the connection that the caller serves, shortly, so that its refusal can still be shown: the caller and what descends
    /// from it, and nobody else.
    pub fn end_connection(&self, peer: Peer) {
        tokio::spawn(connection::end(Process::of(&peer)));
    }

    /// Judges every session again: ends what is over, moves the ends that moved. First signals are on their way when this returns,
    /// and PID 1's timers have moved or are being retried.
    pub async fn reconsider(&self) {
        Arc::clone(&self.0).reconsider().await;
    }

    /// From now on what ends is given so long, at most [`LONGEST_GRACE`], between the first signal and its death, for programs that save something when they
    /// are told to go. Ends that have begun go on as they began.
    pub fn set_grace(&self, grace: Duration) {
        *self.0.grace() = grace;
    }

    /// From now on people are warned so long before the end of what they have open. Until then nobody is.
    pub fn set_warnings(&self, before: Vec<Duration>) {
        *self.0.warn_before() = before;
        self.0.changed.notify_one();
    }

    /// Every session and elevation, by id.
    #[must_use]
    pub fn list(&self) -> Vec<control::Session> {
        self.0.table().held.values().map(Held::describe).collect()
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grace(&self) -> MutexGuard<'_, Duration> {
        self.grace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn_before(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.warn_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of what is held as `id`.
    fn held(&self, id: &SessionId) -> Option<Held> {
        self.table().held.get(id).cloned()
    }

    /// Changes what is held as `id`, in memory and on disk. None where it is gone.
    fn change<T>(
        &self,
        id: &SessionId,
        change: impl FnOnce(&mut Held) -> T,
    ) -> Option<std::io::Result<T>> {
        let mut table = self.table();
        let held = table.held.get_mut(id)?;
        let changed = change(held);
        Some(self.registry.save(held).map(|()| changed))
    }

    fn forget(&self, id: &SessionId) {
        let mut table = self.table();
        let scopes = table
            .held
            .remove(id)
            .map(|held| held.scopes)
            .unwrap_or_default();
        for held in table.held.values_mut() {
            held.also_ends
                .retain(|unit| !scopes.iter().any(|scope| scope.unit == *unit));
        }
        // One that still runs is on its way into a scope that must not join anything now: see `elevation_of`.
        table
            .openers
            .retain(|process, elevation| elevation != id || process.open().is_some());
        self.registry.remove(id);
        drop(table);
        self.residue.ended(id.as_str());
        self.changed.notify_one();
    }

    /// `id` and all that was started from it, however far down: elevations, and jobs of whom they went on as.
    fn family(table: &Table, id: &SessionId) -> Vec<SessionId> {
        let mut family = vec![id.clone()];
        let mut next = 0;
        while let Some(parent) = family.get(next).cloned() {
            let children = table
                .held
                .values()
                .filter(|held| held.parent.as_ref() == Some(&parent));
            let jobs = table
                .held
                .get(&parent)
                .into_iter()
                .flat_map(|held| another::jobs_begun_since(table, held));
            family.extend(
                children
                    .chain(jobs)
                    .map(|held| held.id.clone())
                    .filter(|child| !family.contains(child))
                    .collect::<Vec<_>>(),
            );
            next += 1;
        }
        family
    }
}

/// Runs `task` to its end, also where the caller that waits for it goes away half way.
async fn in_a_task<T: Send + 'static>(
    task: impl Future<Output = Result<T, Refused>> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::spawn(task).await {
        Ok(result) => result,
        Err(error) => Err(Refused {
            code: jit_grant::Code::EndNotArmed,
            message: format!("opening it failed: {error}"),
        }),
    }
}
