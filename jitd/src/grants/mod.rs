//! What this host believes: the bundle in force, whether it still counts, and the judgement from both.
//!
//! A bundle that is refused changes nothing. One that is taken is in force at once and then written to disk: a full disk must not
//! hold back a revocation.

mod freshness;
mod judge;
mod silence;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod uses;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{
    Action, Bundle, Code, DocumentRefused, HostName, KeyError, NextKey, Nonce, Refusal, Word,
};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::trust::{Trust, TrustError};
use freshness::Freshness;
use silence::silence;
use store::Store;
pub use types::{Overview, Places, Taken};
use uses::UseBook;

/// The bundle in force and how fresh it is. Shared by the handlers and the sessions.
pub struct Grants {
    clock: Clock,
    store: Store,
    state: Mutex<State>,
    /// How long the grants count may have changed.
    changed: Notify,
    /// One bundle is verified and written at a time, so that none overtakes another on its way to the disk.
    taking: tokio::sync::Mutex<()>,
    /// So are the uses: what was taken later is never overwritten by what was written earlier.
    keeping: Mutex<()>,
}

struct State {
    max_staleness: Duration,
    trust: Option<Arc<Trust>>,
    /// This machine's own name, until the server gives it one.
    own_name: HostName,
    bundle: Option<Bundle>,
    /// The highest revision ever seen; bundles of a lower one are refused.
    highest: u64,
    freshness: Freshness,
    uses: UseBook,
    /// The server's keys were refused, and nothing of the server's was taken since.
    keys_refused: Option<Code>,
    /// What keeps jitd-sync from hearing the server, as it says.
    trouble: Option<String>,
}

impl Grants {
    /// Nothing believed yet: see [`Self::trust`].
    #[must_use]
    pub fn new(
        places: Places,
        clock: Clock,
        max_staleness: Duration,
        own_name: HostName,
    ) -> Arc<Self> {
        let state = State {
            max_staleness,
            trust: None,
            own_name,
            bundle: None,
            highest: 0,
            freshness: Freshness::default(),
            uses: UseBook::default(),
            keys_refused: None,
            trouble: None,
        };
        Arc::new(Self {
            clock,
            store: Store::new(places),
            state: Mutex::new(state),
            changed: Notify::new(),
            taking: tokio::sync::Mutex::default(),
            keeping: Mutex::default(),
        })
    }

    /// The highest time seen, as kept on disk, to start the clock with.
    #[must_use]
    pub fn highest_time(places: &Places) -> Option<Timestamp> {
        Store::new(places.clone())
            .state()
            .map(|state| state.highest_time)
    }

    /// From now on believes this server, or nobody, and reads back what was kept from it. Returns what the bundle on disk was refused for.
    pub fn trust(
        &self,
        trust: Result<Trust, TrustError>,
        max_staleness: Duration,
    ) -> Option<DocumentRefused> {
        self.changed.notify_one();
        let mut state = self.lock();
        state.max_staleness = max_staleness;
        let trust = trust.ok().map(Arc::new);
        if state.trust == trust {
            return None;
        }
        let same_host = matches!((&state.trust, &trust), (Some(old), Some(new)) if old.host_id == new.host_id && old.keys == new.keys);
        state.trust.clone_from(&trust);
        if same_host {
            return None;
        }
        (state.bundle, state.highest) = (None, 0);
        state.freshness.clear();
        state.uses = UseBook::default();
        state.keys_refused = None;
        state.trouble = None;
        trust.and_then(|trust| self.read_back(&mut state, &trust).err())
    }

    fn read_back(&self, state: &mut State, trust: &Trust) -> Result<(), DocumentRefused> {
        let kept = self
            .store
            .state()
            .filter(|kept| kept.host_id == trust.host_id);
        if let Some(uses) = self.store.uses(&trust.host_id) {
            state.uses = UseBook::of(uses);
        }
        let heard = self.store.heard(&trust.host_id, self.clock.boot());
        state.highest = kept.map_or(0, |kept| kept.highest_revision);
        if let Some((heard, time)) = heard {
            state.highest = state.highest.max(heard.revision);
            state.freshness.restore(heard);
            self.clock.learn(time);
        }
        let Some(document) = self.store.bundle() else {
            return Ok(());
        };
        let bundle = Bundle::verify(
            &document,
            &trust.keys,
            &trust.host_id,
            state.highest,
            self.clock.now(),
        )?;
        state.highest = bundle.revision;
        state.bundle = Some(bundle);
        Ok(())
    }

    /// A nonce for the server's next word. Its age begins now.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new_nonce(&self) -> Result<Nonce, KeyError> {
        let nonce = Nonce::generate()?;
        self.lock()
            .freshness
            .expect(nonce.clone(), self.clock.boot());
        Ok(nonce)
    }

    /// Takes a word of the server's: from now on the grants in force count for another while.
    ///
    /// # Errors
    /// Why it does not count; nothing changed then.
    pub fn take_word(&self, document: &[u8]) -> Result<(), DocumentRefused> {
        let trust = self.trusted()?;
        let word = Word::verify(document, &trust.keys, &trust.host_id)?;
        let mut state = self.lock();
        state.still_trusts(&trust)?;
        self.clock.learn(word.at);
        let held = state.bundle.as_ref().map_or(0, |bundle| bundle.revision);
        let heard = state.freshness.hear(&word, held);
        if matches!(heard, Ok(_) | Err(DocumentRefused::NewerRevision { .. })) {
            state.uses.hear(word.at);
        }
        heard?;
        state.keys_refused = None;
        state.trouble = None;
        self.changed.notify_one();
        self.keep_heard(&state);
        Ok(())
    }

    /// Takes a signed bundle: verified away from the daemon's one thread, then in force, then on disk.
    ///
    /// # Errors
    /// Why it does not count; nothing changed then.
    pub async fn take_bundle(
        self: &Arc<Self>,
        document: Vec<u8>,
    ) -> Result<Taken, DocumentRefused> {
        let _one_at_a_time = self.taking.lock().await;
        let grants = Arc::clone(self);
        let verified = tokio::task::spawn_blocking(move || grants.verify(document)).await;
        let (trust, document, bundle) = verified
            .map_err(|_| DocumentRefused::Unparsable("it could not be verified".to_owned()))??;
        if self
            .lock()
            .bundle
            .as_ref()
            .is_some_and(|held| held.revision == bundle.revision)
        {
            return Ok(Taken::Known);
        }
        let (revision, grants) = (bundle.revision, bundle.grants.len());
        let void = bundle
            .void
            .iter()
            .take(16)
            .map(|void| void.id.clone())
            .collect();
        self.put_in_force(&trust, bundle)?;
        let without_old = trust.keys.without_old(&document);
        let not_stored = self
            .persist(Some(document))
            .await
            .err()
            .map(|error| error.to_string());
        // A bundle of the old key that is still the one on disk must be believed at the next start.
        let proved = without_old
            .filter(|_| not_stored.is_none())
            .map(|keys| Arc::new(trust.with_keys(keys)));
        Ok(Taken::InForce {
            revision,
            grants,
            void,
            not_stored,
            proved,
        })
    }

    /// Takes the documents that lead from key to key of the server's. From now on the newest is believed, beside the one that was
    /// so far; nothing else changes. Returns what is to be on disk. None: the newest is known.
    ///
    /// # Errors
    /// Why they don't count; no key changed then.
    pub async fn take_keys(&self, chain: &[String]) -> Result<Option<Arc<Trust>>, DocumentRefused> {
        // A bundle that is being verified must find the keys that it was verified with.
        let _one_at_a_time = self.taking.lock().await;
        let trust = self.trusted()?;
        let known = trust
            .keys
            .newest()
            .ok_or_else(|| DocumentRefused::UnknownKey(String::new()))?;
        let newest = NextKey::newest(chain, known).inspect_err(|refused| {
            self.lock().keys_refused = Some(refused.code());
        })?;
        if newest == known {
            return Ok(None);
        }
        let next = Arc::new(trust.with_keys(trust.keys.followed_by(newest)));
        self.replace(&trust, &next)?;
        Ok(Some(next))
    }

    /// Forgets the server's old keys, once `proved` (see [`Taken::InForce`]) is on disk.
    ///
    /// # Errors
    /// The host was enrolled anew meanwhile, or the keys went on.
    pub fn forget_old_keys(&self, proved: &Arc<Trust>) -> Result<(), DocumentRefused> {
        let trust = self.trusted()?;
        if trust.keys.newest() != proved.keys.newest() {
            return Err(DocumentRefused::OtherAudience(proved.host_id.to_string()));
        }
        self.replace(&trust, proved)
    }

    /// Another set of keys of the same server: what was believed of it stays.
    fn replace(&self, before: &Arc<Trust>, after: &Arc<Trust>) -> Result<(), DocumentRefused> {
        let mut state = self.lock();
        state.still_trusts(before)?;
        if before.host_id != after.host_id {
            return Err(DocumentRefused::OtherAudience(after.host_id.to_string()));
        }
        state.trust = Some(Arc::clone(after));
        state.keys_refused = None;
        Ok(())
    }

    fn verify(&self, document: Vec<u8>) -> Result<(Arc<Trust>, Vec<u8>, Bundle), DocumentRefused> {
        let trust = self.trusted()?;
        let highest = self.lock().highest;
        let bundle = Bundle::verify(
            &document,
            &trust.keys,
            &trust.host_id,
            highest,
            self.clock.now(),
        )?;
        Ok((trust, document, bundle))
    }

    fn put_in_force(&self, trust: &Arc<Trust>, bundle: Bundle) -> Result<(), DocumentRefused> {
        let mut state = self.lock();
        state.still_trusts(trust)?;
        self.clock.learn(bundle.issued_at);
        state.highest = state.highest.max(bundle.revision);
        state.freshness.bundle_changed(bundle.revision);
        state.keys_refused = None;
        self.changed.notify_one();
        state.uses.forget_all_but(&bundle);
        state.bundle = Some(bundle);
        self.keep_heard(&state);
        Ok(())
    }

    /// Writes the highest revision and time seen to disk, with a new bundle where there is one.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn persist(self: &Arc<Self>, document: Option<Vec<u8>>) -> io::Result<()> {
        let grants = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let kept = {
                let state = grants.lock();
                state.trust.as_ref().map(|trust| store::Kept {
                    host_id: trust.host_id.clone(),
                    highest_revision: state.highest,
                    highest_time: grants.clock.highest(),
                })
            };
            grants.store.write(kept.as_ref(), document.as_deref())
        });
        written.await.map_err(io::Error::other)?
    }

    /// On the tmpfs of /run, so it costs no disk. Where it fails, a restart of jitd has to hear a word first, which is safe.
    fn keep_heard(&self, state: &State) {
        if let (Some(trust), Some(heard), Some(bundle)) =
            (&state.trust, state.freshness.heard(), &state.bundle)
            && let Err(error) =
                self.store
                    .keep_heard(&trust.host_id, heard, bundle.revision, &self.clock)
        {
            tracing::warn!("a restart of jitd will wait for the server's word: {error}");
        }
    }

    /// What to show to the person who was refused.
    #[must_use]
    pub fn message(&self, refusal: &Refusal, login: &str) -> String {
        let state = self.lock();
        match &state.trust {
            // A socket on this very machine is where jitctl asks anyway.
            Some(trust) => {
                let place =
                    Some(trust.server.as_str()).filter(|server| !server.starts_with("unix:"));
                refusal.message(&trust.host_name, login, place)
            }
            None => refusal.message(&state.own_name, login, None),
        }
    }

    /// A refusal with nothing but its code, as words for a person.
    #[must_use]
    pub fn refuse(&self, code: Code, action: Option<Action>, login: &str) -> (Code, String) {
        let refusal = action.map_or_else(
            || Refusal::because(code),
            |action| Refusal::because(code).to(action),
        );
        (code, self.message(&refusal, login))
    }

    /// So long until the grants stop counting; None where they don't count.
    #[must_use]
    pub fn fresh_for(&self) -> Option<Duration> {
        let state = self.lock();
        let now = self.clock.boot();
        state.check(now).ok()?;
        state
            .freshness
            .until(state.max_staleness)
            .map(|until| until.saturating_sub(now))
    }

    /// Returns once [`Self::fresh_for`] may say something else than that time goes by. For one waiter.
    pub async fn freshness_changed(&self) {
        self.changed.notified().await;
    }

    /// jitd-sync says what keeps it from hearing the server. True where it said something else last, or the server was heard since.
    pub fn in_trouble(&self, what: String) -> bool {
        let said_before = self.lock().trouble.replace(what.clone());
        said_before != Some(what)
    }

    /// How things stand.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let state = self.lock();
        let now = self.clock.boot();
        Overview {
            trust: state.trust.clone(),
            revision: state.bundle.as_ref().map(|bundle| bundle.revision),
            grants: state
                .bundle
                .as_ref()
                .map_or(0, |bundle| bundle.grants.len()),
            heard_ago: state
                .freshness
                .heard()
                .map(|heard| now.saturating_sub(heard.made_at)),
            max_staleness: state.max_staleness,
            code: state.check(now).err(),
            keys_refused: state.keys_refused,
            trouble: state.trouble.clone(),
        }
    }

    /// Who is believed now.
    ///
    /// # Errors
    /// Where nobody is.
    fn trusted(&self) -> Result<Arc<Trust>, DocumentRefused> {
        self.lock()
            .trust
            .clone()
            .ok_or_else(|| DocumentRefused::UnknownKey("any: this host is not enrolled".to_owned()))
    }

    /// Nothing is left half-changed where a thread panics: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A document that was verified for one server does not count once the host was enrolled with another meanwhile.
    fn still_trusts(&self, trust: &Arc<Trust>) -> Result<(), DocumentRefused> {
        match &self.trust {
            Some(now) if now.host_id == trust.host_id && now.keys == trust.keys => Ok(()),
            _ => Err(DocumentRefused::OtherAudience(trust.host_id.to_string())),
        }
    }

    /// The refusal where no grant counts; for want of word, it says since when.
    fn not_counting(&self, code: Code, clock: &Clock) -> Refusal {
        let refusal = Refusal::because(code);
        let now = clock.boot();
        let silent = match code {
            Code::Stale => self
                .freshness
                .heard()
                .map(|heard| now.saturating_sub(heard.made_at)),
            Code::NoWord => Some(now),
            _ => None,
        };
        match (&self.trust, silent) {
            (Some(trust), Some(silent)) => {
                refusal.with_detail(&silence(&trust.server, clock.now(), silent))
            }
            _ => refusal,
        }
    }

    fn check(&self, now: Duration) -> Result<(), Code> {
        match (&self.trust, &self.bundle) {
            (Some(_), Some(bundle)) => {
                self.freshness
                    .check(bundle.revision, now, self.max_staleness)
            }
            _ => Err(Code::NotEnrolled),
        }
    }
}
