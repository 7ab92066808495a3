//! `sync.sock`: what jitd-sync carries. None of it is believed but what the server signed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use jit_grant::{Bundle, Code, DocumentRefused, HostToken};
use jit_local::call::{Call, Reply, ServiceError};
use jit_local::limits::EVENTS_WAIT;
use jit_local::message::sync::{After, Events, FAILED, Hello, NOT_ENROLLED, Taken, Word};
use serde::Serialize;

use super::{Hold, Host, done, failed};
use crate::grants;
use crate::record::Checkpoint;
use crate::server::Received;

/// Bytes of event lines in one reply, so that it fits a message also with every quote escaped.
const EVENTS_BYTES: usize = 24 * 1024;

/// A descriptor that can't be read in this time is given up.
const READING_TIME: Duration = Duration::from_secs(5);

/// After a refusal the next document waits so long: a lying jitd-sync can't fill the record at full speed.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

impl<S: Hold> Host<S> {
    /// What jitd-sync needs to speak for this host.
    pub(super) fn hello(&self) -> Reply {
        let overview = self.grants.overview();
        let (Some(trust), Some(key)) = (overview.trust, self.key()) else {
            return Reply::failed(NOT_ENROLLED);
        };
        let nonce = match self.grants.new_nonce() {
            Ok(nonce) => nonce,
            Err(error) => return failed(FAILED, &error.to_string()),
        };
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
        let document = match self.read(descriptor).await {
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
                taken()
            }
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
                self.sessions.reconsider().await;
                return taken();
            }
            Err(refused) => refused,
        };
        match refused {
            // A word that overtook its bundle is everyday life, no evidence of anything. Its time counts all the same.
            DocumentRefused::NewerRevision { .. } => {
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
    async fn read(&self, descriptor: OwnedFd) -> io::Result<Vec<u8>> {
        let permit = Arc::clone(&self.reading)
            .try_acquire_owned()
            .map_err(|_| io::Error::other("too many bundles at once"))?;
        let reading = tokio::task::spawn_blocking(move || {
            let document = read_descriptor(descriptor);
            drop(permit);
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
        }
        self.note(kind, Why { code, why });
        tokio::time::sleep(REFUSED_PAUSE).await;
        not_taken(code)
    }
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
