//! `sync.sock`: what jitd-sync carries. None of it is believed but what the server signed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jit_grant::{Bundle, Code, DocumentRefused, HostToken};
use jit_local::call::{Call, Reply, ServiceError};
use jit_local::limits::EVENTS_WAIT;
use jit_local::message::sync::{
    After, Events, FAILED, Hello, Keys, NOT_ENROLLED, Taken, Trouble, Word,
};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::{Hold, Host, Refusals, done, failed, nothing};
use crate::grants;
use crate::record::Checkpoint;
use crate::server::Received;
use crate::session::Judge;
use crate::trust::Trust;

/// Bytes of event lines in one reply, so that it fits a message also with every quote escaped.
const EVENTS_BYTES: usize = 24 * 1024;

/// A descriptor that can't be read in this time is given up.
const READING_TIME: Duration = Duration::from_secs(5);

/// Characters of what jitd-sync says keeps it from hearing the server.
const TROUBLE_CHARACTERS: usize = 300;

/// After a refusal the next document on that connection waits so long: a lying jitd-sync can't keep the daemon busy at full speed.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

impl<S: Hold> Host<S> {
    /// What jitd-sync needs to speak for this host.
    pub(super) async fn hello(&self) -> Reply {
        let overview = self.grants.overview();
        let (Some(trust), Some(key)) = (overview.trust, self.key()) else {
            return Reply::failed(NOT_ENROLLED);
        };
        let nonce = match self.grants.new_nonce() {
            Ok(nonce) => nonce,
            Err(error) => return failed(FAILED, &error.to_string()),
        };
        let state = self.state(&trust, &key, &nonce).await;
        match HostToken::sign(&trust.host_id, &key, self.clock.now()) {
            Err(error) => failed(FAILED, &error.to_string()),
            Ok(token) => done(&Hello {
                server: trust.server.clone(),
                host_id: trust.host_id.to_string(),
                token,
                nonce: nonce.to_string(),
                revision: overview.revision.unwrap_or(0),
                more_servers: trust.more_servers.clone(),
                ca: trust.ca.clone(),
                state,
            }),
        }
    }

    /// Takes the bundle whose descriptor came with the message, and judges every session again by it.
    pub(super) async fn bundle(&self, received: Received) -> Reply {
        let Some(descriptor) = received.descriptor else {
            return ServiceError::InvalidParameter {
                parameter: "no descriptor came with the message".to_owned(),
            }
            .into();
        };
        // Held until the bundle is in force or its refusal is over: what waits its turn with 4 MiB would have no bound.
        let Ok(turn) = Arc::clone(&self.reading).try_acquire_owned() else {
            return self
                .refuse(
                    "bundle.refused",
                    Code::Unparsable,
                    "too many bundles at once",
                )
                .await;
        };
        let turn = Arc::new(turn);
        let document = match self.read(descriptor, &turn).await {
            Ok(document) => document,
            Err(error) => {
                let code = if error.kind() == io::ErrorKind::FileTooLarge {
                    Code::BundleTooLarge
                } else {
                    Code::Unparsable
                };
                return self
                    .refuse("bundle.refused", code, &error.to_string())
                    .await;
            }
        };
        match self.grants.take_bundle(document).await {
            Err(refused) => self.refuse_document("bundle.refused", &refused).await,
            Ok(grants::Taken::Known) => taken(),
            Ok(grants::Taken::InForce {
                revision,
                grants,
                void,
                not_stored,
                proved,
            }) => {
                self.note(
                    "bundle.taken",
                    InForce {
                        revision,
                        grants,
                        void,
                        not_stored,
                    },
                );
                self.sessions.reconsider().await;
                if let Some(proved) = proved {
                    self.forget_old_keys(proved).await;
                }
                taken()
            }
        }
    }

    /// Takes the server's next keys. They count at once, also where the disk takes nothing: they come again with the next stream.
    pub(super) async fn keys(&self, call: &Call) -> Reply {
        let chain = match call.parameters::<Keys>() {
            Ok(keys) => keys.chain,
            Err(error) => return error.into(),
        };
        match self.grants.take_keys(&chain).await {
            Err(refused) => self.refuse_document("keys.refused", &refused).await,
            Ok(None) => taken(),
            Ok(Some(trust)) => {
                let not_stored = self.write_keys(&trust).await.err();
                self.note("keys.taken", Key::newest_of(&trust, not_stored));
                taken()
            }
        }
    }

    /// Disk first: where it takes nothing the old key is believed on, and the next bundle tries again.
    async fn forget_old_keys(&self, proved: Arc<Trust>) {
        let written = self.write_keys(&proved).await;
        if written.is_ok()
            && let Err(refused) = self.grants.forget_old_keys(&proved)
        {
            tracing::warn!("the server's old key is believed on: {refused}");
        }
        self.note("keys.proved", Key::newest_of(&proved, written.err()));
    }

    async fn write_keys(&self, trust: &Arc<Trust>) -> Result<(), String> {
        let (trust, path, machine_id) = (
            Arc::clone(trust),
            self.files.trust.clone(),
            self.files.machine_id.clone(),
        );
        let written =
            tokio::task::spawn_blocking(move || trust.write_keys(&path, &machine_id)).await;
        match written {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Since when it is known which grants are used up: once, where that was lost.
    async fn keep_uses(&self) {
        if !self.grants.has_unkept_uses() {
            return;
        }
        let grants = Arc::clone(&self.grants);
        let kept = tokio::task::spawn_blocking(move || grants.keep_uses()).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!("which grants are used up can't be kept: {error}");
        }
    }

    /// Takes the server's word. It may have raised the clock and so made something over, also where it keeps nothing fresh (T25).
    pub(super) async fn word(&self, call: &Call) -> Reply {
        let word = match call.parameters::<Word>() {
            Ok(word) => word,
            Err(error) => return error.into(),
        };
        let refused = match self.grants.take_word(word.word.as_bytes()) {
            Ok(()) => {
                self.keep_uses().await;
                self.sessions.reconsider().await;
                return taken();
            }
            Err(refused) => refused,
        };
        match refused {
            // A word that overtook its bundle is everyday life, no evidence of anything. Its time counts all the same.
            DocumentRefused::NewerRevision { .. } => {
                self.keep_uses().await;
                self.sessions.reconsider().await;
                not_taken(refused.code())
            }
            DocumentRefused::NotOurNonce => {
                self.sessions.reconsider().await;
                self.refuse_document("word.refused", &refused).await
            }
            _ => self.refuse_document("word.refused", &refused).await,
        }
    }

    /// Remembers what keeps jitd-sync from hearing the server, for `jitctl status`, and records what is new of it. It is jitd-sync's
    /// word and nobody else's, so the record calls it that.
    pub(super) fn trouble(&self, call: &Call) -> Reply {
        #[derive(Serialize)]
        struct Said {
            said_by_jitd_sync: String,
            /// Said before this and not recorded.
            #[serde(skip_serializing_if = "is_none")]
            left_out: u64,
        }
        let trouble = match call.parameters::<Trouble>() {
            Ok(trouble) => trouble,
            Err(error) => return error.into(),
        };
        let said: String = trouble.what.chars().take(TROUBLE_CHARACTERS).collect();
        if self.grants.in_trouble(said.clone())
            && let Some(left_out) = another(&self.troubles, self.clock.boot())
        {
            let said_by_jitd_sync = said;
            self.note(
                "sync.trouble",
                Said {
                    said_by_jitd_sync,
                    left_out,
                },
            );
        }
        nothing()
    }

    /// Recorded events after a number, of those that a power cut can't take; waits for one.
    pub(super) async fn events(&self, call: &Call) -> Reply {
        let after = match call.parameters::<After>() {
            Ok(after) => after.seq,
            Err(error) => return error.into(),
        };
        // Without one in time the reply has no lines.
        let read = tokio::time::timeout(EVENTS_WAIT, self.synced_after(after)).await;
        match read.unwrap_or(Ok((Vec::new(), None))) {
            Ok((lines, checkpoint)) => done(&Events {
                lines,
                checkpoint: checkpoint.map(|checkpoint| checkpoint.token),
            }),
            Err(error) => failed(FAILED, &error.to_string()),
        }
    }

    async fn synced_after(&self, after: u64) -> io::Result<(Vec<String>, Option<Checkpoint>)> {
        let mut synced = self.record.synced();
        loop {
            let last = *synced.borrow_and_update();
            let read = self.record.read_after(after, last, EVENTS_BYTES)?;
            // The record itself holds the sender, so there is always a next one.
            if !read.0.is_empty() || synced.changed().await.is_err() {
                return Ok(read);
            }
        }
    }

    /// Reads a descriptor that came from outside, away from the daemon's one thread: it may be on a filesystem that hangs.
    /// Where it hangs the turn is not given back.
    async fn read(
        &self,
        descriptor: OwnedFd,
        turn: &Arc<OwnedSemaphorePermit>,
    ) -> io::Result<Vec<u8>> {
        let turn = Arc::clone(turn);
        let reading = tokio::task::spawn_blocking(move || {
            let document = read_descriptor(descriptor);
            drop(turn);
            document
        });
        match tokio::time::timeout(READING_TIME, reading).await {
            Ok(Ok(document)) => document,
            _ => Err(io::Error::other("the descriptor could not be read in time")),
        }
    }

    async fn refuse_document(&self, kind: &str, refused: &DocumentRefused) -> Reply {
        self.refuse(kind, refused.code(), &refused.to_string())
            .await
    }

    async fn refuse(&self, kind: &str, code: Code, why: &str) -> Reply {
        #[derive(Serialize)]
        struct Why<'a> {
            code: Code,
            why: &'a str,
            /// Refused before this one and not recorded.
            #[serde(skip_serializing_if = "is_none")]
            left_out: u64,
        }
        if let Some(left_out) = another(&self.refusals, self.clock.boot()) {
            self.note(
                kind,
                Why {
                    code,
                    why,
                    left_out,
                },
            );
        }
        tokio::time::sleep(REFUSED_PAUSE).await;
        not_taken(code)
    }
}

/// Counts one more of them; Some: it is to be recorded.
fn another(counted: &Mutex<Refusals>, now: Duration) -> Option<u64> {
    let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
    counted.another(now)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Regular files and memfds only, their size looked at before a byte is read; read from their beginning, since the sender shares
/// the descriptor's position.
fn read_descriptor(descriptor: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(descriptor);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other(
            "the descriptor is neither a file nor a memfd",
        ));
    }
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if length > Bundle::MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the bundle has {length} bytes"),
        ));
    }
    let mut document = vec![0; length];
    file.read_exact_at(&mut document, 0)?;
    Ok(document)
}

/// A key of the server's, in the record.
#[derive(Serialize)]
struct Key {
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_stored: Option<String>,
}

impl Key {
    fn newest_of(trust: &Trust, not_stored: Option<String>) -> Self {
        let kid = trust.keys.newest().map(|key| key.kid()).unwrap_or_default();
        Self { kid, not_stored }
    }
}

#[derive(Serialize)]
struct InForce {
    revision: u64,
    grants: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    void: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_stored: Option<String>,
}

fn taken() -> Reply {
    done(&Taken {
        taken: true,
        code: None,
    })
}

fn not_taken(code: Code) -> Reply {
    done(&Taken {
        taken: false,
        code: Some(code.to_string()),
    })
}
