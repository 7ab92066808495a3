//! `pam.sock`: decisions. The account phase decides; the session phase decides again with more known, then registers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jit_grant::{Action, Code, Credential, Decision, Query, Refusal};
use jit_local::call::Call as Frame;
use jit_local::message::control::Session;
use jit_local::message::pam::{Call, Verdict};
use serde::Serialize;

use super::evidence::{Phase, Recorded, mode, shortened};
use super::{Answer, Hold, Host, done};
use crate::accounts::{Account, AccountError};
use crate::peer::Peer;
use crate::session::{Live, Opening, Refused, SessionId};
use crate::subject::{self, Door, POLKIT, Subject};

/// From a login's first session line to its last, with every other module's work between them.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// What was decided about a call.
pub(super) enum Decided {
    /// Root itself, or a service's job or user manager; what sits inside an elevation stays there.
    Exempt { login: String },
    /// A person whose grant allows it.
    Live {
        query: Query,
        live: Live,
        parent: Option<SessionId>,
    },
    /// A person, or somebody unclear, and why not.
    Refused {
        query: Option<Query>,
        refusal: Refusal,
        login: String,
    },
}

impl<S: Hold> Host<S> {
    /// The account phase: may this go on?
    pub(super) async fn account(&self, frame: &Frame, peer: &Peer) -> Answer {
        let call = match frame.parameters::<Call>() {
            Ok(call) => call,
            Err(error) => return Answer::from(jit_local::call::Reply::from(error)),
        };
        let verdict = self
            .in_time(&call, self.decide_account(Phase::Account, &call, peer))
            .await;
        Answer::from(done(&verdict))
    }

    /// The session line before pam_systemd.
    pub(super) async fn open_before(&self, frame: &Frame, peer: &Peer) -> Answer {
        let call = match frame.parameters::<Call>() {
            Ok(call) => call,
            Err(error) => return Answer::from(jit_local::call::Reply::from(error)),
        };
        let verdict = self.in_time(&call, self.decide_before(&call, peer)).await;
        // An elevation or a job that was refused here has its caller's own refusal behind it, and its scope ends in 5 s.
        let end_connection =
            !verdict.allow && call.enforce && self.door(&call) == Some(Door::Login);
        Answer {
            reply: done(&verdict),
            end_connection,
        }
    }

    /// The session line after pam_systemd.
    pub(super) async fn open_after(&self, frame: &Frame, peer: &Peer) -> Answer {
        let call = match frame.parameters::<Call>() {
            Ok(call) => call,
            Err(error) => return Answer::from(jit_local::call::Reply::from(error)),
        };
        let verdict = self.in_time(&call, self.decide_after(&call, peer)).await;
        // By now neither sshd nor sudo is sure to stop at a refusal (T6).
        let end_connection =
            !verdict.allow && call.enforce && self.door(&call) != Some(Door::Manager);
        Answer {
            reply: done(&verdict),
            end_connection,
        }
    }

    /// The session closes.
    pub(super) async fn close(&self, frame: &Frame, peer: &Peer) -> Answer {
        if let Err(error) = frame.parameters::<Call>() {
            return Answer::from(jit_local::call::Reply::from(error));
        }
        self.sessions.closed(peer).await;
        Answer::from(done(&allowed(None)))
    }

    /// Ends logins whose last session line never comes, for as long as the daemon runs.
    pub async fn end_half_open(self: Arc<Self>) {
        #[derive(Serialize)]
        struct HalfOpen {
            pid: i32,
            code: Code,
        }
        loop {
            let peer = self.shown.overdue(&self.clock).await;
            if !peer.still_there() {
                continue;
            }
            self.note(
                "login.half_open",
                HalfOpen {
                    pid: peer.pid,
                    code: Code::EndNoSession,
                },
            );
            self.sessions.end_connection(peer);
        }
    }

    async fn decide_account(&self, phase: Phase, call: &Call, peer: &Peer) -> Verdict {
        match self
            .decide(phase, call, peer, Ok(Credential::Pending))
            .await
        {
            Decided::Exempt { .. } => allowed(None),
            Decided::Refused {
                query,
                refusal,
                login,
            } => {
                let verdict = self.refused(&refusal, &login);
                if let Some(query) = query.filter(|_| !call.enforce)
                    && self.door(call) == Some(Door::Manager)
                {
                    // In monitor mode it goes on all the same, and is listed.
                    let _ = self
                        .sessions
                        .open_manager(opening(call, peer, query, None, None))
                        .await;
                }
                verdict
            }
            Decided::Live {
                query,
                live,
                parent,
            } => {
                let asks_only = call.service == POLKIT && phase == Phase::Account;
                let holds = match self.door(call) {
                    Some(Door::Manager) => true,
                    Some(Door::Elevation | Door::Job) => call.enforce && !asks_only,
                    Some(Door::Login) | None => false,
                };
                if holds {
                    self.hold(call, peer, query, live, parent).await
                } else {
                    allowed(Some(&live))
                }
            }
        }
    }

    /// Answers yes only once the caller is in its own scope with its end armed (T18).
    async fn hold(
        &self,
        call: &Call,
        peer: &Peer,
        query: Query,
        live: Live,
        parent: Option<SessionId>,
    ) -> Verdict {
        let (action, login) = (query.action, query.login.to_string());
        let opening = opening(call, peer, query, Some(live.clone()), parent);
        let held = match self.door(call) {
            Some(Door::Manager) => self.sessions.open_manager(opening).await,
            _ => self.sessions.open_elevation(opening).await,
        };
        match held {
            Ok(_) => allowed(Some(&live)),
            Err(refused) => self.not_held(call, action, &login, refused),
        }
    }

    async fn decide_before(&self, call: &Call, peer: &Peer) -> Verdict {
        if self.door(call) == Some(Door::Manager) {
            // The account phase of the same process has decided; what it registered is found again.
            return self.decide_account(Phase::OpenBefore, call, peer).await;
        }
        if self.door(call) == Some(Door::Login) {
            let credential = subject::ssh_credential(call.auth_info.as_deref());
            let end_at = call.enforce.then(|| self.clock.boot() + OPEN_WITHIN);
            self.shown.remember(peer, credential.clone(), end_at);
            return match self.decide(Phase::OpenBefore, call, peer, credential).await {
                Decided::Exempt { .. } => allowed(None),
                Decided::Live { live, .. } => allowed(Some(&live)),
                Decided::Refused { refusal, login, .. } => self.refused(&refusal, &login),
            };
        }
        // Before it is confirmed: an elevation that is refused here ends by itself.
        let goes_on_as = match self.other_user(call).await {
            Ok(account) => account,
            Err(refused) if peer.real_uid == 0 => {
                tracing::warn!(user = call.user, "root goes on: {}", refused.message);
                None
            }
            Err(refused) => {
                let action = self.action(call).unwrap_or(Action::Sudo);
                return self.not_held(call, action, &call.user, refused);
            }
        };
        let confirm = || {
            let id = self.sessions.confirm_elevation(peer)?;
            if let Some(account) = goes_on_as.clone() {
                self.sessions.goes_on_as(&id, account);
            }
            Some(id)
        };
        if confirm().is_some() {
            return allowed(None);
        }
        // No decision stands behind this: sudo's !pam_acct_mgmt skips the account phase (T6). So it is made now.
        let verdict = self.decide_account(Phase::OpenBefore, call, peer).await;
        if verdict.allow {
            confirm();
        }
        verdict
    }

    /// Whom the elevation goes on as: by the session phase that is PAM_USER. What that user's manager and jobs begin has to be found at
    /// its end (T15); who has no entry in the directory has neither.
    async fn other_user(&self, call: &Call) -> Result<Option<Account>, Refused> {
        match self.accounts.by_name(&call.user).await {
            Ok(account) => Ok(Some(account)),
            Err(AccountError::Unknown) => Ok(None),
            Err(error @ (AccountError::Slow | AccountError::Failed(_))) => Err(Refused {
                code: Code::WhoseLogin,
                message: error.to_string(),
            }),
        }
    }

    async fn decide_after(&self, call: &Call, peer: &Peer) -> Verdict {
        match self.door(call) {
            Some(Door::Login) => return self.open_login(call, peer).await,
            Some(Door::Manager) => return allowed(None),
            _ if !call.enforce => return allowed(None),
            _ => {}
        }
        match self.sessions.adopt_scope(peer).await {
            Ok(_) => allowed(None),
            Err(refused) => self.not_held(
                call,
                self.action(call).unwrap_or(Action::Sudo),
                &call.user,
                refused,
            ),
        }
    }

    async fn open_login(&self, call: &Call, peer: &Peer) -> Verdict {
        // Not what comes with this call: see `shown`.
        let credential = self.shown.take(peer);
        let (query, standing, verdict) =
            match self.decide(Phase::OpenAfter, call, peer, credential).await {
                Decided::Exempt { .. } => return allowed(None),
                Decided::Live { query, live, .. } => {
                    let verdict = allowed(Some(&live));
                    (query, Some(live), verdict)
                }
                Decided::Refused {
                    query,
                    refusal,
                    login,
                } => {
                    let verdict = self.refused(&refusal, &login);
                    match query {
                        // In monitor mode it goes on all the same, and is listed.
                        Some(query) if !call.enforce => (query, None, verdict),
                        _ => return verdict,
                    }
                }
            };
        let (action, login) = (query.action, query.login.to_string());
        let opening = opening(call, peer, query, standing, None);
        match self.sessions.open_login(opening).await {
            Ok(session) => self.with_groups(call, verdict, session),
            Err(refused) => self.not_held(call, action, &login, refused),
        }
    }

    /// Decides, and records it. What can't be recorded is not allowed.
    async fn decide(
        &self,
        phase: Phase,
        call: &Call,
        peer: &Peer,
        credential: Result<Credential, subject::Unclear>,
    ) -> Decided {
        let decided = self.judge(phase, call, peer, credential).await;
        match self
            .record
            .write("decision", Recorded::new(phase, call, peer, &decided))
        {
            Ok(()) => decided,
            Err(error) => {
                tracing::error!("{error}");
                let (query, login) = match decided {
                    // Root is never refused: nobody else could make room on the disk.
                    exempt @ Decided::Exempt { .. } => return exempt,
                    Decided::Live { query, .. } => (Some(query.clone()), query.login.to_string()),
                    Decided::Refused { query, login, .. } => (query, login),
                };
                Decided::Refused {
                    query,
                    refusal: Refusal::because(Code::NotRecorded),
                    login,
                }
            }
        }
    }

    async fn judge(
        &self,
        phase: Phase,
        call: &Call,
        peer: &Peer,
        credential: Result<Credential, subject::Unclear>,
    ) -> Decided {
        let refused = |refusal: Refusal| Decided::Refused {
            query: None,
            refusal,
            login: call.user.clone(),
        };
        let Some(action) = self.action(call) else {
            return refused(Refusal::because(Code::UnknownService).with_detail(&call.service));
        };
        let unclear = |why: &subject::Unclear| {
            refused(
                Refusal::because(Code::WhoseLogin)
                    .to(action)
                    .with_detail(&why.0),
            )
        };
        let door = Door::of(&call.service, action);
        let people_from = self.settings().people_from_uid;
        let login = match subject::whose(door, call, peer, &self.accounts, people_from).await {
            Ok(Subject::Root) => {
                let login = "root".to_owned();
                return Decided::Exempt { login };
            }
            Ok(Subject::Service(login)) => return Decided::Exempt { login },
            Ok(Subject::Person(login)) => login,
            Err(why) => return unclear(&why),
        };
        // A user manager or a job vouches for nobody: anything may have been started in it by any principal of the login.
        let inside = |session: &Session| ["login", "elevation"].contains(&session.kind.as_str());
        let parent = match door {
            Door::Elevation => self.sessions.containing(peer).filter(inside),
            Door::Login | Door::Job | Door::Manager => None,
        };
        let credential = match (door, credential) {
            (Door::Login, Ok(credential)) => credential,
            (Door::Login, Err(why)) => return unclear(&why),
            (Door::Manager, _) => Credential::Together(BTreeSet::new()),
            (Door::Elevation | Door::Job, _) => subject::vouched_for_by(parent.as_ref()),
        };
        let cut = |text: Option<&str>| text.map(|text| shortened(text).to_owned());
        let mut query = Query {
            login,
            action,
            credential,
            rhost: subject::came_from(door, cut(call.rhost.as_deref()), parent.as_ref()),
            tty: cut(call.tty.as_deref()),
            service: call.service.clone(),
            now: self.clock.now(),
            within: parent.as_ref().and_then(|parent| {
                let login = self.sessions.login_of(parent.id.parse().ok()?);
                Some(login.to_string())
            }),
            used: BTreeSet::new(),
            groups: BTreeSet::new(),
            lacking: BTreeSet::new(),
        };
        match door {
            Door::Manager => {
                query.credential = Credential::Together(self.grants.holders(&query));
            }
            Door::Login => query.lacking = self.lacking(&query.login, call, peer, phase),
            Door::Elevation | Door::Job => {}
        }
        match self.decide_by_groups(door, phase, call, &query) {
            Decision::Allow(allowed) => Decided::Live {
                query,
                live: allowed.into(),
                parent: parent.and_then(|parent| parent.id.parse().ok()),
            },
            Decision::Refuse(refusal) => {
                let login = query.login.to_string();
                Decided::Refused {
                    query: Some(query),
                    refusal,
                    login,
                }
            }
        }
    }

    fn action(&self, call: &Call) -> Option<Action> {
        self.settings().services.get(&call.service).copied()
    }

    fn door(&self, call: &Call) -> Option<Door> {
        Some(Door::of(&call.service, self.action(call)?))
    }

    /// A decision that takes too long is a refusal: the module has its own deadline, and a session opened after it would be nobody's.
    async fn in_time(&self, call: &Call, deciding: impl Future<Output = Verdict>) -> Verdict {
        match tokio::time::timeout(self.settings().decision_deadline, deciding).await {
            Ok(verdict) => verdict,
            Err(_) => {
                let late = Refused {
                    code: Code::TimedOut,
                    message: "jitd itself took too long".to_owned(),
                };
                self.not_held(
                    call,
                    self.action(call).unwrap_or(Action::Ssh),
                    &call.user,
                    late,
                )
            }
        }
    }

    fn refused(&self, refusal: &Refusal, login: &str) -> Verdict {
        Verdict {
            allow: false,
            code: Some(refusal.code.to_string()),
            message: Some(self.grants.message(refusal, login)),
            grant: None,
            until: None,
            gids: Vec::new(),
        }
    }

    /// A grant allows it, and yet it can't be held to its end: no.
    pub(super) fn not_held(
        &self,
        call: &Call,
        action: Action,
        login: &str,
        refused: Refused,
    ) -> Verdict {
        #[derive(Serialize)]
        struct NotHeld<'a> {
            login: &'a str,
            service: &'a str,
            mode: &'static str,
            code: Code,
            why: &'a str,
        }
        let service = shortened(&call.service);
        self.note(
            "refused",
            NotHeld {
                login,
                service,
                mode: mode(call),
                code: refused.code,
                why: shortened(&refused.message),
            },
        );
        self.refused(&Refusal::because(refused.code).to(action), login)
    }
}

fn opening(
    call: &Call,
    peer: &Peer,
    query: Query,
    standing: Option<Live>,
    parent: Option<SessionId>,
) -> Opening {
    Opening {
        peer: peer.clone(),
        query,
        standing,
        parent,
        enforce: call.enforce,
    }
}

fn allowed(live: Option<&Live>) -> Verdict {
    Verdict {
        allow: true,
        code: None,
        message: None,
        grant: live.map(|live| live.grant.to_string()),
        until: live.map(|live| live.until.to_string()),
        gids: Vec::new(),
    }
}
