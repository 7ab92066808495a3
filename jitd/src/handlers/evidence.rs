//! A decision as evidence: what is written down of it before it counts.

use jiff::Timestamp;
use jit_grant::{Code, Credential};
use jit_local::message::pam::Call;
use serde::Serialize;

use super::pam::Decided;
use crate::peer::Peer;
use crate::session::SessionId;

/// The phase that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Account,
    OpenBefore,
    OpenAfter,
}

/// A decision as evidence.
#[derive(Serialize)]
pub(super) struct Recorded<'a> {
    phase: Phase,
    mode: &'static str,
    service: &'a str,
    login: &'a str,
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ruser: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rhost: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tty: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a Credential>,
    pid: i32,
    real_uid: u32,
    allow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
}

impl<'a> Recorded<'a> {
    pub(super) fn new(phase: Phase, call: &'a Call, peer: &Peer, decided: &'a Decided) -> Self {
        let (login, query) = match decided {
            Decided::Exempt { login } => (shortened(login), None),
            Decided::Live { query, .. } => (query.login.as_str(), Some(query)),
            Decided::Refused { query, login, .. } => (shortened(login), query.as_ref()),
        };
        let (live, parent) = match decided {
            Decided::Live { live, parent, .. } => (Some(live), parent.as_ref()),
            _ => (None, None),
        };
        let refusal = match decided {
            Decided::Refused { refusal, .. } => Some(refusal),
            _ => None,
        };
        Self {
            phase,
            mode: mode(call),
            service: shortened(&call.service),
            login,
            user: shortened(&call.user),
            ruser: call.ruser.as_deref().map(shortened),
            rhost: call.rhost.as_deref().map(shortened),
            tty: call.tty.as_deref().map(shortened),
            credential: query.map(|query| &query.credential),
            pid: peer.pid,
            real_uid: peer.real_uid,
            allow: refusal.is_none(),
            code: refusal.map(|refusal| refusal.code),
            why: refusal.and_then(|refusal| refusal.detail.as_deref()),
            grant: live.map(|live| live.grant.as_str()),
            principal: live.map(|live| live.principal.as_str()),
            until: live.map(|live| live.until),
            parent: parent.map(SessionId::as_str),
        }
    }
}

/// Text from elsewhere that is only shown and recorded.
pub(super) fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(256)
        .map_or(text, |(end, _)| &text[..end])
}

pub(super) fn mode(call: &Call) -> &'static str {
    if call.enforce { "enforce" } else { "monitor" }
}
