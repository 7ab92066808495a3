//! What each method does: one function a method, in the file of its socket.

mod control;
mod evidence;
mod gates;
mod groups;
mod paging;
mod pam;
mod refusals;
mod shown;
mod sync;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jit_grant::{ChainHead, Checkpoint, HostId, SigningKey};
use jit_local::call::{Call, Nothing, Reply};
use jit_local::message::{Failed, control as message};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::access::Method;
use crate::accounts::{Account, Accounts};
use crate::clock::Clock;
use crate::config::{ConfigError, Settings};
use crate::gates::Watched;
use crate::grants::Grants;
use crate::groups::LocalGroups;
use crate::peer::Peer;
use crate::record::{Record, Signer};
use crate::server::Received;
use crate::session::{Alarm, Opening, Refused, SessionId, Sessions};
use crate::trust::Trust;

/// What handlers ask of whoever holds sessions: [`Sessions`], and in tests something that needs no systemd.
#[allow(missing_docs, reason = "as documented at Sessions")]
pub trait Hold: Clone + Send + Sync + 'static {
    fn containing(&self, peer: &Peer) -> Option<message::Session>;
    fn open_login(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<message::Session, Refused>> + Send;
    fn open_elevation(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<SessionId, Refused>> + Send;
    fn open_manager(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<SessionId, Refused>> + Send;
    fn confirm_elevation(&self, peer: &Peer) -> Option<SessionId>;
    fn goes_on_as(&self, id: &SessionId, account: Account);
    fn adopt_scope(
        &self,
        peer: &Peer,
    ) -> impl Future<Output = Result<Option<SessionId>, Refused>> + Send;
    fn closed(&self, peer: &Peer) -> impl Future<Output = ()> + Send;
    fn end_connection(&self, peer: Peer);
    fn reconsider(&self) -> impl Future<Output = ()> + Send;
    fn set_grace(&self, grace: Duration);
    fn set_warnings(&self, before: Vec<Duration>);
    fn list(&self) -> Vec<message::Session>;
    fn login_of(&self, id: SessionId) -> SessionId;
    fn given_groups(&self, id: &SessionId, gids: BTreeSet<u32>);
    fn has_audit_session(&self, peer: &Peer) -> bool;
}

impl Hold for Sessions {
    fn containing(&self, peer: &Peer) -> Option<message::Session> {
        Self::containing(self, peer)
    }
    fn open_login(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<message::Session, Refused>> + Send {
        Self::open_login(self, opening)
    }
    fn open_elevation(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<SessionId, Refused>> + Send {
        Self::open_elevation(self, opening)
    }
    fn open_manager(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<SessionId, Refused>> + Send {
        Self::open_manager(self, opening)
    }
    fn confirm_elevation(&self, peer: &Peer) -> Option<SessionId> {
        Self::confirm_elevation(self, peer)
    }
    fn goes_on_as(&self, id: &SessionId, account: Account) {
        Self::goes_on_as(self, id, account);
    }
    fn adopt_scope(
        &self,
        peer: &Peer,
    ) -> impl Future<Output = Result<Option<SessionId>, Refused>> + Send {
        Self::adopt_scope(self, peer)
    }
    fn closed(&self, peer: &Peer) -> impl Future<Output = ()> + Send {
        Self::closed(self, peer)
    }
    fn end_connection(&self, peer: Peer) {
        Self::end_connection(self, peer);
    }
    fn reconsider(&self) -> impl Future<Output = ()> + Send {
        Self::reconsider(self)
    }
    fn set_grace(&self, grace: Duration) {
        Self::set_grace(self, grace);
    }
    fn set_warnings(&self, before: Vec<Duration>) {
        Self::set_warnings(self, before);
    }
    fn list(&self) -> Vec<message::Session> {
        Self::list(self)
    }
    fn login_of(&self, id: SessionId) -> SessionId {
        Self::login_of(self, id)
    }
    fn given_groups(&self, id: &SessionId, gids: BTreeSet<u32>) {
        Self::given_groups(self, id, gids);
    }
    fn has_audit_session(&self, peer: &Peer) -> bool {
        Self::has_audit_session(self, peer)
    }
}

pub use refusals::Refusals;
pub use shown::Shown;

/// The files that jitd reads and writes.
#[derive(Debug, Clone)]
pub struct Files {
    /// Settings.
    pub config: PathBuf,
    /// Whom to believe.
    pub trust: PathBuf,
    /// What machine this is.
    pub machine_id: PathBuf,
    /// The host's own key.
    pub host_key: PathBuf,
}

/// All that handlers share.
pub struct Host<S> {
    /// Files that Reload and Enroll read again.
    pub files: Files,
    /// Settings in force.
    pub settings: RwLock<Arc<Settings>>,
    /// What is believed.
    pub grants: Arc<Grants>,
    /// Evidence.
    pub record: Arc<Record>,
    /// Unix accounts.
    pub accounts: Accounts,
    /// Unix groups.
    pub groups: LocalGroups,
    /// Sessions and elevations.
    pub sessions: S,
    /// Time.
    pub clock: Clock,
    /// The host's own key, once there is one.
    pub key: Mutex<Option<SigningKey>>,
    /// So many bundles from jitd-sync are dealt with at once, which bounds what they hold of memory: one on a filesystem that hangs costs
    /// a thread, not all of them.
    pub reading: Arc<Semaphore>,
    /// What logins that are being opened showed who they are with.
    pub shown: Shown,
    /// What was refused of jitd-sync's documents.
    pub refusals: Mutex<Refusals>,
    /// What jitd-sync said to keep it from hearing the server.
    pub troubles: Mutex<Refusals>,
    /// The gates of this host.
    pub gates: Arc<Watched>,
}

/// Bundles that may be dealt with at once.
pub const READING_AT_ONCE: usize = 2;

/// A reply, and what is to be done once it has gone out.
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// End the connection that the caller serves: its session was refused, and sshd alone would keep it open.
    pub end_connection: bool,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            end_connection: false,
        }
    }
}

impl<S: Hold> Host<S> {
    /// Does what `call` asks for.
    pub async fn answer(
        &self,
        method: Method,
        call: &Call,
        received: Received,
        peer: &Peer,
    ) -> Answer {
        // Also of a method that has no parameters: the version is among them.
        if let Err(error) = call.parameters::<Nothing>() {
            return Reply::from(error).into();
        }
        match method {
            Method::Account => self.account(call, peer).await,
            Method::OpenBefore => self.open_before(call, peer).await,
            Method::OpenAfter => self.open_after(call, peer).await,
            Method::Close => self.close(call, peer).await,
            Method::Status => self.status(peer).await.into(),
            Method::Sessions => self.list_sessions(call, peer).await.into(),
            Method::Whoami => self.whoami(peer).into(),
            Method::Reload => self.reload(peer).await.into(),
            Method::Enroll => self.enroll(call, peer).await.into(),
            Method::Gated => self.gated(call, peer).await.into(),
            Method::Hello => self.hello().await.into(),
            Method::Bundle => self.bundle(received).await.into(),
            Method::Word => self.word(call).await.into(),
            Method::Keys => self.keys(call).await.into(),
            Method::Trouble => self.trouble(call).into(),
            Method::Events => self.events(call).await.into(),
        }
    }

    /// Calls [`Hold::reconsider`] when the grants stop counting for want of word, for as long as the daemon runs. Sleeps until
    /// then, on the boot clock: it does not stand still in suspend.
    pub(crate) async fn watch_freshness(self: Arc<Self>, alarm: Alarm) {
        #[derive(Serialize)]
        struct Silent {
            max_staleness_s: u64,
        }
        let mut was_fresh = self.grants.fresh_for().is_some();
        loop {
            let set = match self.grants.fresh_for() {
                // At the very end they still count.
                Some(left) => alarm.set_in(left + Duration::from_millis(1)),
                None => alarm.unset(),
            };
            if let Err(error) = set {
                tracing::error!(%error, "the end of what the server last said can't be waited for");
            }
            tokio::select! {
                () = alarm.rings() => {}
                () = self.grants.freshness_changed() => {}
            }
            let fresh = self.grants.fresh_for().is_some();
            if was_fresh && !fresh {
                self.note(
                    "grants.stale",
                    Silent {
                        max_staleness_s: self.settings().max_staleness.as_secs(),
                    },
                );
                self.sessions.reconsider().await;
            }
            was_fresh = fresh;
        }
    }
}

impl<S> Host<S> {
    /// Settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads settings and trust.json again. Mistaken settings change nothing. What trust.json says counts either way: a file
    /// that is no longer to be believed is not.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn read_again(&self) -> Result<(), ConfigError> {
        let settings = Settings::read(&self.files.config);
        if let Ok(settings) = &settings {
            *self
                .settings
                .write()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings.clone());
        }
        self.believe();
        settings.map(|_| ())
    }

    /// Reads trust.json and the bundle that was kept, and signs checkpoints for that host from now on.
    pub fn believe(&self) {
        let trust = Trust::read(&self.files.trust, &self.files.machine_id);
        let (host, problem) = match &trust {
            Ok(trust) => (Some(trust.host_id.clone()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let refused = self.grants.trust(trust, self.settings().max_staleness);
        self.note(
            "trust",
            Believed {
                host: host.as_ref(),
                problem,
                bundle_refused: refused.map(|refused| refused.to_string()),
            },
        );
        self.sign_checkpoints(host);
    }

    fn sign_checkpoints(&self, host: Option<HostId>) {
        let (Some(host), Some(key)) = (host, self.key()) else {
            return;
        };
        let clock = self.clock.clone();
        let signer: Signer = Arc::new(move |seq, head| {
            let head = ChainHead::try_from(head.to_owned()).ok()?;
            Checkpoint {
                host: host.clone(),
                seq,
                head,
                at: clock.now(),
            }
            .sign(&key)
            .ok()
        });
        self.record.sign_with(signer);
    }

    fn key(&self) -> Option<SigningKey> {
        self.key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Records what does not depend on being recorded: where it can't be, the log of jitd itself says so.
    pub(crate) fn note(&self, kind: &str, fields: impl Serialize) {
        if let Err(error) = self.record.write(kind, fields) {
            tracing::error!("{kind}: {error}");
        }
    }

    /// The same, with `sessions`.
    pub fn holding<H>(self, sessions: H) -> Host<H> {
        let Self {
            files,
            settings,
            grants,
            record,
            accounts,
            groups,
            sessions: _,
            clock,
            key,
            reading,
            shown,
            refusals,
            troubles,
            gates,
        } = self;
        Host {
            files,
            settings,
            grants,
            record,
            accounts,
            groups,
            sessions,
            clock,
            key,
            reading,
            shown,
            refusals,
            troubles,
            gates,
        }
    }
}

#[derive(Serialize)]
struct Believed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a HostId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle_refused: Option<String>,
}

/// A reply; one that has no JSON form, which none of ours is, becomes one that every client takes for none.
fn done(parameters: &impl Serialize) -> Reply {
    Reply::done(parameters).unwrap_or(Reply {
        parameters: None,
        error: None,
        continues: false,
    })
}

fn nothing() -> Reply {
    done(&Nothing {})
}

/// An error of an interface of ours that says why.
fn failed(error: &str, why: &str) -> Reply {
    let why = why.to_owned();
    Reply {
        error: Some(error.to_owned()),
        ..done(&Failed { why })
    }
}
