//! Documents as version 1 has them, in both directions.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

#[path = "golden/mod.rs"]
mod golden;

use std::collections::BTreeSet;
use std::path::Path;

use golden::Kind;
use jiff::Timestamp;
use jit_grant::{
    Allow, Approval, Bundle, Checkpoint, Code, DocumentRefused, GateMode, Grant, HostId, HostState,
    HostToken, Limits, NextKey, Nonce, Possession, RequestNote, SigningKey, TrustedKeys, Word,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A key that everybody knows, so that the files can be made again: PKCS #8 around the seed 1, 1, 1, ….
fn key() -> SigningKey {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend([1; 32]);
    SigningKey::from_pkcs8(&der).unwrap()
}

fn noon() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn host() -> HostId {
    "h0123456789abcdef0123456789abcdef".parse().unwrap()
}

fn nonce() -> Nonce {
    "A".repeat(32).parse().unwrap()
}

fn trusted() -> TrustedKeys {
    TrustedKeys::new(vec![key().public()])
}

fn claims_of(document: &str) -> Value {
    use base64::Engine;
    let payload = document.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload);
    serde_json::from_slice(&payload.unwrap()).unwrap()
}

fn sealed(typ: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(typ.to_owned());
    header.kid = Some(key().public().kid());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(key().pkcs8())).unwrap()
}

fn kind<T: std::fmt::Debug>(
    name: &'static str,
    document: &str,
    read: impl Fn(&str) -> Result<T, DocumentRefused> + 'static,
) -> Kind {
    let typ = format!("jit-{}+jwt", name.split('.').next().unwrap_or(name));
    assert_eq!(sealed(&typ, &claims_of(document)).split('.').count(), 3);
    read(document).unwrap();
    Kind {
        name,
        written: claims_of(document),
        read: Box::new(move |claims| {
            let found = read(&sealed(&typ, claims)).map_err(|refused| refused.to_string())?;
            Ok(format!("{found:?}"))
        }),
    }
}

fn bundle() -> Bundle {
    let grant = Grant {
        id: "g1".parse().unwrap(),
        principal: "ann".parse().unwrap(),
        login: "alice".parse().unwrap(),
        role: "web-admin".parse().unwrap(),
        not_before: noon(),
        expires: noon() + jiff::SignedDuration::from_hours(1),
        extendable_until: Some(noon() + jiff::SignedDuration::from_hours(2)),
        allow: Allow {
            ssh: true,
            sudo: true,
            su: true,
            jobs: true,
        },
        end_login_with_elevation: true,
        keys: vec![format!("SHA256:{}A", "B".repeat(42)).parse().unwrap()],
        shared: true,
        limits: Limits::default(),
        request: RequestNote {
            id: "r1".parse().unwrap(),
            reason: "disk full".to_owned(),
            ticket: Some("OPS-1".to_owned()),
        },
        approvals: vec![Approval {
            by: "bob".parse().unwrap(),
            at: noon(),
            stage: 1,
        }],
        crit: vec!["keys".to_owned()],
        statement: Some("reserved".to_owned()),
        signatures: vec!["reserved".to_owned()],
    };
    Bundle {
        host: host(),
        revision: 7,
        issued_at: noon(),
        grants: vec![grant],
        void: Vec::new(),
    }
}

fn kinds() -> Vec<Kind> {
    let word = Word {
        revision: 7,
        at: noon(),
        nonce: nonce(),
    };
    let checkpoint = Checkpoint {
        host: host(),
        seq: 9,
        head: "0".repeat(64).parse().unwrap(),
        at: noon(),
    };
    let possession = Possession {
        name: "web-1".parse().unwrap(),
        secret: "0".repeat(64).parse().unwrap(),
    };
    let next = NextKey {
        seq: 1,
        at: noon(),
        next: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
            .parse()
            .unwrap(),
    };
    let state = HostState {
        version: "0.1.0".to_owned(),
        gates: [("sshd".parse().unwrap(), GateMode::Enforce)].into(),
        enforces: BTreeSet::new(),
    };
    let announcing = HostState {
        enforces: ["login_from".to_owned()].into(),
        ..state.clone()
    };
    let state = state.sign(&host(), &nonce(), noon(), &key()).unwrap();
    let announcing = announcing.sign(&host(), &nonce(), noon(), &key()).unwrap();
    let mut limited = bundle();
    limited.grants[0].limits.login_from =
        Some(serde_json::from_value(json!(["10.0.0.0/8", "2001:db8::/32"])).unwrap());
    limited.grants[0].crit.push("login_from".to_owned());
    let mut single = bundle();
    single.grants[0].limits.single_use = true;
    single.grants[0].crit.push("single_use".to_owned());
    let mut left_alone = bundle();
    left_alone.grants[0].limits.idle = Some(900.try_into().unwrap());
    left_alone.grants[0].crit.push("idle".to_owned());
    let mut grouped = bundle();
    grouped.grants[0].limits.groups = serde_json::from_value(json!(["adm", "www-data"])).unwrap();
    grouped.grants[0].crit.push("groups".to_owned());
    vec![
        kind("state", &state, |document| {
            HostState::verify(
                document.as_bytes(),
                &host(),
                &nonce(),
                key().public(),
                noon(),
            )
            .map(|(state, _)| state)
        }),
        kind("bundle", &bundle().sign(&key()).unwrap(), |document| {
            Bundle::verify(document.as_bytes(), &trusted(), &host(), 0, noon())
        }),
        kind("word", &word.sign(&host(), &key()).unwrap(), |document| {
            Word::verify(document.as_bytes(), &trusted(), &host())
        }),
        kind("next-key", &next.sign(&key()).unwrap(), |document| {
            NextKey::newest(&[document.to_owned()], key().public())
        }),
        kind(
            "host",
            &HostToken::sign(&host(), &key(), noon()).unwrap(),
            |document| HostToken::verify(document.as_bytes(), noon(), |_| Some(key().public())),
        ),
        kind(
            "possession",
            &possession.sign(&key()).unwrap(),
            |document| Possession::verify(document.as_bytes(), key().public()),
        ),
        kind("events", &checkpoint.sign(&key()).unwrap(), |document| {
            Checkpoint::verify(document.as_bytes(), &host(), key().public())
        }),
        kind("state.enforces", &announcing, |document| {
            HostState::verify(
                document.as_bytes(),
                &host(),
                &nonce(),
                key().public(),
                noon(),
            )
            .map(|(state, _)| state)
        }),
        kind(
            "bundle.single-use",
            &single.sign(&key()).unwrap(),
            |document| Bundle::verify(document.as_bytes(), &trusted(), &host(), 0, noon()),
        ),
        kind(
            "bundle.login-from",
            &limited.sign(&key()).unwrap(),
            |document| Bundle::verify(document.as_bytes(), &trusted(), &host(), 0, noon()),
        ),
        kind(
            "bundle.idle",
            &left_alone.sign(&key()).unwrap(),
            |document| Bundle::verify(document.as_bytes(), &trusted(), &host(), 0, noon()),
        ),
        kind(
            "bundle.groups",
            &grouped.sign(&key()).unwrap(),
            |document| Bundle::verify(document.as_bytes(), &trusted(), &host(), 0, noon()),
        ),
    ]
}

#[test]
fn golden_documents_are_read_and_what_is_written_today_has_what_their_readers_need() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    golden::hold(&folder, &kinds());
}

#[test]
fn golden_every_document_says_its_version_and_one_of_a_later_version_is_refused_as_such() {
    for kind in kinds() {
        assert_eq!(kind.written["protocol"], 1, "{}", kind.name);
        for later in [json!(2), json!(u64::MAX), json!(0)] {
            let mut claims = kind.written.clone();
            claims["protocol"] = later.clone();
            let why = (kind.read)(&claims).unwrap_err();
            assert!(why.contains("of version"), "{}: {why}", kind.name);
        }
        let mut claims = kind.written.clone();
        claims["protocol"] = json!("1");
        assert!((kind.read)(&claims).is_err());
    }
    let mut claims = claims_of(&bundle().sign(&key()).unwrap());
    claims["protocol"] = json!(2);
    let document = sealed("jit-bundle+jwt", &claims);
    let refused = Bundle::verify(document.as_bytes(), &trusted(), &host(), 0, noon());
    assert_eq!(refused.unwrap_err().code(), Code::NewerVersion);
}
