//! `ctl.sock`: what people and administrators ask.

use jit_grant::{GateMode, Gates, NameError, Possession, Service};
use jit_local::call::{Call, Reply, ServiceError};
use jit_local::message::control::{
    Enroll, Enrolling, FAILED, Gated, LostGate, Page, Prove, Session, Status, Whoami,
};
use serde::Serialize;

use super::paging::{fitting, page};
use super::{Hold, Host, done, failed, nothing};
use crate::host_key;
use crate::peer::Peer;
use crate::session::{NotAnId, SessionId};
use crate::trust::{Trust, TrustError};

#[derive(Serialize)]
struct By {
    by_uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl<S: Hold> Host<S> {
    pub(super) async fn status(&self, peer: &Peer) -> Reply {
        if peer.uid == 0 {
            // Not for everybody: whoever asks without end would keep others from looking.
            self.look_at_gates().await;
        }
        let overview = self.grants.overview();
        let trust = overview.trust.as_ref();
        let milliseconds =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        done(&Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: trust.map(|trust| trust.host_name.to_string()),
            host_id: trust.map(|trust| trust.host_id.to_string()),
            server: trust.map(|trust| trust.server.clone()),
            revision: overview.revision,
            grants: overview.grants,
            heard_ms_ago: overview.heard_ago.map(milliseconds),
            max_staleness_ms: milliseconds(overview.max_staleness),
            current: overview.code.is_none(),
            code: overview.code.map(|code| code.to_string()),
            keys_refused: overview.keys_refused.map(|code| code.to_string()),
            trouble: overview.trouble,
            sessions: self.visible_to(peer).await.len(),
            recording: self.record.on_disk(),
            lost_gates: lost_gates(self.gates.lost()),
        })
    }

    pub(super) async fn list_sessions(&self, call: &Call, peer: &Peer) -> Reply {
        let after = match call.parameters::<Page>() {
            Ok(page) => page.after.map(|after| after.parse::<SessionId>()),
            Err(error) => return error.into(),
        };
        match after.transpose() {
            Ok(after) => done(&page(self.visible_to(peer).await, after.as_ref())),
            Err(NotAnId) => Reply::from(ServiceError::InvalidParameter {
                parameter: "after".to_owned(),
            }),
        }
    }

    /// Root sees all sessions, others those of their own login.
    async fn visible_to(&self, peer: &Peer) -> Vec<Session> {
        let mut sessions = self.sessions.list();
        if peer.uid != 0 {
            let name = self
                .accounts
                .by_uid(peer.uid)
                .await
                .map(|account| account.name)
                .unwrap_or_default();
            sessions.retain(|session| session.login == name);
        }
        sessions
    }

    pub(super) fn whoami(&self, peer: &Peer) -> Reply {
        done(&Whoami {
            session: self.sessions.containing(peer).map(fitting),
        })
    }

    pub(super) async fn reload(&self, peer: &Peer) -> Reply {
        self.note("reload", self.by(peer));
        let settings = self.read_again();
        self.sessions.set_grace(self.settings().grace);
        self.sessions
            .set_warnings(self.settings().warn_before.clone());
        self.sessions.reconsider().await;
        match settings {
            Ok(()) => nothing(),
            Err(error) => failed(FAILED, &error.to_string()),
        }
    }

    /// Makes the host's key where there is none, or only that of the machine that this one was cloned from.
    pub(super) async fn enroll(&self, call: &Call, peer: &Peer) -> Reply {
        let prove = match call.parameters::<Enrolling>() {
            Ok(enrolling) => enrolling.prove.map(possession).transpose(),
            Err(error) => return error.into(),
        };
        let prove = match prove {
            Ok(prove) => prove,
            Err(error) => return failed(FAILED, &error.to_string()),
        };
        let (trust, machine_id) = (self.files.trust.clone(), self.files.machine_id.clone());
        let path = self.files.host_key.clone();
        let own = move || match Trust::read(&trust, &machine_id) {
            Err(TrustError::OtherMachine(_)) => host_key::make(&path),
            _ => host_key::read_or_make(&path),
        };
        let key = match tokio::task::spawn_blocking(own).await {
            Ok(Ok(key)) => key,
            Ok(Err(error)) => return failed(FAILED, &error.to_string()),
            Err(_) => return failed(FAILED, "the host's key could not be made"),
        };
        let public_key = key.public().to_string();
        let proof = match prove.map(|prove| prove.sign(&key)).transpose() {
            Ok(proof) => proof,
            Err(error) => return failed(FAILED, &error.to_string()),
        };
        *self
            .key
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(key);
        self.note("enroll", self.by(peer));
        done(&Enroll { public_key, proof })
    }

    pub(super) async fn gated(&self, call: &Call, peer: &Peer) -> Reply {
        #[derive(Serialize)]
        struct Noted {
            what: String,
            services: Vec<String>,
            detail: String,
            #[serde(flatten)]
            by: By,
        }
        let gated = match call.parameters::<Gated>() {
            Ok(gated) => gated,
            Err(error) => return error.into(),
        };
        // How they are now is looked at first, so that it is this change that is meant and none after it.
        self.look_at_gates().await;
        if ["ungate", "monitor"].contains(&gated.what.as_str()) {
            self.gates.meant(&gated.services).await;
        }
        let short = |text: String| text.chars().take(512).collect::<String>();
        let noted = Noted {
            what: short(gated.what),
            services: gated.services.into_iter().take(64).map(short).collect(),
            detail: short(gated.detail),
            by: self.by(peer),
        };
        match self.record.write("gating", noted) {
            Ok(()) => nothing(),
            Err(error) => failed(FAILED, &error.to_string()),
        }
    }

    fn by(&self, peer: &Peer) -> By {
        By {
            by_uid: peer.real_uid,
            session: self.sessions.containing(peer).map(|session| session.id),
        }
    }
}

fn lost_gates(lost: Gates) -> Vec<LostGate> {
    let gate = |(service, was): (Service, GateMode)| LostGate {
        service: service.into(),
        was: was.word().to_owned(),
    };
    lost.into_iter().map(gate).collect()
}

fn possession(prove: Prove) -> Result<Possession, NameError> {
    Ok(Possession {
        name: prove.name.parse()?,
        secret: prove.secret.parse()?,
    })
}
