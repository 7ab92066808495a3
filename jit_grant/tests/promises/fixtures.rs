//! Small worlds to ask questions in.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::Timestamp;
use jit_grant::{
    Action, Allow, Bundle, Credential, Fingerprint, Grant, HostId, Limits, Networks, Query,
    RequestNote, SigningKey, TrustedKeys,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

pub(crate) static SERVER_KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate().unwrap());
pub(crate) static HOST_KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate().unwrap());

pub(crate) fn trusted() -> TrustedKeys {
    TrustedKeys::new(vec![SERVER_KEY.public()])
}

pub(crate) fn host() -> HostId {
    "h0123456789abcdef0123456789abcdef".parse().unwrap()
}

pub(crate) fn other_host() -> HostId {
    "hffffffffffffffffffffffffffffffff".parse().unwrap()
}

/// Minutes after noon of an ordinary day.
pub(crate) fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_795_348_800 + minutes * 60).unwrap()
}

pub(crate) fn fingerprint(number: u8) -> Fingerprint {
    let letter = char::from(b'A' + number % 26);
    format!("SHA256:{}A", letter.to_string().repeat(42))
        .parse()
        .unwrap()
}

pub(crate) fn networks(written: &[&str]) -> Networks {
    serde_json::from_value(serde_json::json!(written)).unwrap()
}

pub(crate) const SSH_ONLY: Allow = Allow {
    ssh: true,
    sudo: false,
    su: false,
    jobs: false,
};

/// ann's grant g1 for alice's account, ssh only, from minute 10 to minute 20.
pub(crate) fn grant() -> Grant {
    Grant {
        id: "g1".parse().unwrap(),
        principal: "ann".parse().unwrap(),
        login: "alice".parse().unwrap(),
        role: "web-admin".parse().unwrap(),
        not_before: minute(10),
        expires: minute(20),
        allow: SSH_ONLY,
        keys: Vec::new(),
        shared: false,
        limits: Limits::default(),
        request: RequestNote {
            id: "r1".parse().unwrap(),
            reason: "disk full".to_owned(),
            ticket: None,
        },
        approvals: Vec::new(),
        crit: Vec::new(),
        statement: None,
        signatures: Vec::new(),
        extendable_until: None,
        end_login_with_elevation: false,
    }
}

pub(crate) fn bundle(grants: Vec<Grant>) -> Bundle {
    Bundle {
        host: host(),
        revision: 7,
        issued_at: minute(0),
        grants,
        void: Vec::new(),
    }
}

/// May alice log in over ssh, in minute 15, with a credential that sshd has not told yet?
pub(crate) fn query() -> Query {
    Query {
        login: "alice".parse().unwrap(),
        action: Action::Ssh,
        credential: Credential::Pending,
        rhost: Some("192.0.2.7".to_owned()),
        tty: Some("ssh".to_owned()),
        service: "sshd".to_owned(),
        now: minute(15),
        within: None,
        used: BTreeSet::new(),
        groups: BTreeSet::new(),
        lacking: BTreeSet::new(),
    }
}

/// Signs any claims under any header, as our own code would not.
pub(crate) fn sign_anything(header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(
        header,
        claims,
        &EncodingKey::from_ed_der(SERVER_KEY.pkcs8()),
    )
    .unwrap()
}

pub(crate) fn bundle_header() -> Header {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some("jit-bundle+jwt".to_owned());
    header.kid = Some(SERVER_KEY.public().kid());
    header
}
