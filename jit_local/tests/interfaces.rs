//! The interface descriptions and the Rust messages are two texts of one protocol; here they are held together.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;

use jit_local::call::ServiceError;
use jit_local::interface::{self, Interface};
use jit_local::message::{Failed, control, pam, sync};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

type Fields = BTreeMap<String, String>;

/// What a description declares: parameters and replies of methods, types, and parameters of errors, each as field → type.
#[derive(Default)]
struct Declared {
    calls: BTreeMap<String, Fields>,
    replies: BTreeMap<String, Fields>,
    types: BTreeMap<String, Fields>,
    errors: BTreeMap<String, Fields>,
}

/// Reads the part of Varlink's interface language that our descriptions use.
fn declared(interface: Interface) -> Declared {
    let text: String = interface
        .description
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let mut declared = Declared::default();
    let mut rest = text
        .strip_prefix(&format!("interface {}", interface.name))
        .unwrap();
    while let Some((head, after)) = rest.split_once('(') {
        let (kind, name) = head.trim().split_once(' ').unwrap();
        let (first, after) = after.split_once(')').unwrap();
        let name = name.trim().to_owned();
        rest = after;
        match kind {
            "method" => {
                let (arrow, after) = after.split_once('(').unwrap();
                assert_eq!(arrow.trim(), "->");
                let (second, after) = after.split_once(')').unwrap();
                declared.calls.insert(name.clone(), fields(first));
                declared.replies.insert(name, fields(second));
                rest = after;
            }
            "type" => drop(declared.types.insert(name, fields(first))),
            "error" => drop(declared.errors.insert(name, fields(first))),
            other => panic!("what is {other}?"),
        }
    }
    assert_eq!(rest.trim(), "");
    declared
}

fn fields(text: &str) -> Fields {
    text.split(',')
        .filter(|field| !field.trim().is_empty())
        .map(|field| field.split_once(':').unwrap())
        .map(|(name, kind)| (name.trim().to_owned(), kind.trim().to_owned()))
        .collect()
}

impl Declared {
    /// `sample`, with every field filled, has exactly the declared fields in their types; those declared optional, and
    /// only they, may be missing.
    fn agrees<T: Serialize + DeserializeOwned>(&self, fields: &Fields, sample: &T) {
        let Value::Object(object) = serde_json::to_value(sample).unwrap() else {
            panic!("no object")
        };
        assert_eq!(
            object.keys().collect::<Vec<_>>(),
            fields.keys().collect::<Vec<_>>()
        );
        for (name, kind) in fields {
            assert!(
                self.fits(&object[name], kind),
                "{name}: {} is no {kind}",
                object[name]
            );
            let mut without = object.clone();
            without.remove(name);
            let parsed = serde_json::from_value::<T>(Value::Object(without));
            assert_eq!(parsed.is_ok(), kind.starts_with('?'), "{name} missing");
        }
    }

    fn fits(&self, value: &Value, kind: &str) -> bool {
        if let Some(kind) = kind.strip_prefix('?') {
            return self.fits(value, kind);
        }
        if let Some(kind) = kind.strip_prefix("[]") {
            return value.as_array().is_some_and(|items| {
                !items.is_empty() && items.iter().all(|item| self.fits(item, kind))
            });
        }
        match kind {
            "string" => value.is_string(),
            "int" => value.is_u64(),
            "bool" => value.is_boolean(),
            other => value.as_object().is_some_and(|object| {
                object.keys().eq(self.types[other].keys())
                    && object
                        .iter()
                        .all(|(name, value)| self.fits(value, &self.types[other][name]))
            }),
        }
    }

    /// The methods of the description, by their full names, are exactly those of the messages.
    fn has_methods(&self, interface: Interface, methods: &[&str]) {
        let mut full: Vec<_> = methods.to_vec();
        full.sort_unstable();
        let declared: Vec<_> = self
            .calls
            .keys()
            .map(|method| format!("{}.{method}", interface.name))
            .collect();
        assert_eq!(declared, full);
    }
}

/// The full names of the errors that a description declares.
fn errors(interface: Interface) -> Vec<String> {
    let declared = declared(interface).errors;
    declared
        .keys()
        .map(|error| format!("{}.{error}", interface.name))
        .collect()
}

#[test]
fn errors_agree_with_their_descriptions() {
    assert!(errors(interface::PAM).is_empty());
    assert_eq!(errors(interface::CONTROL), [control::FAILED]);
    assert_eq!(errors(interface::SYNC), [sync::FAILED, sync::NOT_ENROLLED]);
    let failed = Failed { why: text() };
    for interface in [interface::CONTROL, interface::SYNC] {
        let declared = declared(interface);
        declared.agrees(&declared.errors["Failed"], &failed);
    }
    assert!(declared(interface::SYNC).errors["NotEnrolled"].is_empty());
}

#[test]
fn the_errors_that_every_service_knows_agree_with_their_description() {
    let declared = declared(interface::SERVICE);
    for error in [
        ServiceError::InterfaceNotFound { interface: text() },
        ServiceError::MethodNotFound { method: text() },
        ServiceError::InvalidParameter { parameter: text() },
        ServiceError::PermissionDenied {},
    ] {
        let name = error.name().strip_prefix("org.varlink.service.").unwrap();
        let sent = serde_json::to_value(&error).unwrap();
        let sent: Vec<_> = sent.as_object().unwrap().keys().collect();
        let fields = &declared.errors[name];
        assert_eq!(sent, fields.keys().collect::<Vec<_>>(), "{name}");
        assert!(fields.values().all(|kind| kind == "string"), "{name}");
    }
}

#[test]
fn the_protocol_s_text_names_every_error() {
    let text = include_str!("../PROTOCOL.md");
    for interface in [interface::PAM, interface::CONTROL, interface::SYNC] {
        for error in errors(interface) {
            assert!(text.contains(&format!("| `{error}` |")), "{error}");
        }
    }
}

fn text() -> String {
    "x".to_owned()
}

#[test]
fn pam_messages_agree_with_their_description() {
    let declared = declared(interface::PAM);
    let methods = [pam::ACCOUNT, pam::OPEN_BEFORE, pam::OPEN_AFTER, pam::CLOSE];
    declared.has_methods(interface::PAM, &methods);
    let call = pam::Call {
        service: text(),
        user: text(),
        ruser: Some(text()),
        rhost: Some(text()),
        tty: Some(text()),
        auth_info: Some(text()),
        logind_session: Some(text()),
        enforce: true,
        sets_groups: true,
    };
    let verdict = pam::Verdict {
        allow: true,
        code: Some(text()),
        message: Some(text()),
        grant: Some(text()),
        until: Some(text()),
        gids: vec![1],
    };
    for method in ["Account", "OpenBefore", "OpenAfter", "Close"] {
        declared.agrees(&declared.calls[method], &call);
        declared.agrees(&declared.replies[method], &verdict);
    }
}

#[test]
fn control_messages_agree_with_their_description() {
    let declared = declared(interface::CONTROL);
    let methods = [
        control::STATUS,
        control::SESSIONS,
        control::WHOAMI,
        control::RELOAD,
        control::ENROLL,
        control::GATED,
    ];
    declared.has_methods(interface::CONTROL, &methods);
    let session = control::Session {
        id: text(),
        kind: text(),
        parent: Some(text()),
        principal: Some(text()),
        login: text(),
        service: text(),
        scopes: vec![text()],
        grant: Some(text()),
        since: text(),
        until: Some(text()),
        rhost: Some(text()),
        tty: Some(text()),
        enforced: true,
        idle_after_seconds: Some(900),
        groups: vec![text()],
    };
    let status = control::Status {
        version: text(),
        host: Some(text()),
        host_id: Some(text()),
        server: Some(text()),
        revision: Some(1),
        grants: 1,
        heard_ms_ago: Some(1),
        max_staleness_ms: 1,
        current: true,
        code: Some(text()),
        keys_refused: Some(text()),
        trouble: Some(text()),
        sessions: 1,
        recording: true,
        lost_gates: vec![control::LostGate {
            service: text(),
            was: text(),
        }],
    };
    declared.agrees(&declared.types["Session"], &session);
    declared.agrees(&declared.replies["Status"], &status);
    declared.agrees(
        &declared.replies["Sessions"],
        &control::Sessions {
            sessions: vec![session.clone()],
            next: Some(text()),
        },
    );
    declared.agrees(
        &declared.replies["Whoami"],
        &control::Whoami {
            session: Some(session),
        },
    );
    declared.agrees(
        &declared.replies["Enroll"],
        &control::Enroll {
            public_key: text(),
            proof: Some(text()),
        },
    );
    let prove = control::Prove {
        name: text(),
        secret: text(),
    };
    declared.agrees(
        &declared.calls["Enroll"],
        &control::Enrolling { prove: Some(prove) },
    );
    declared.agrees(
        &declared.calls["Gated"],
        &control::Gated {
            what: text(),
            services: vec![text()],
            detail: text(),
        },
    );
    declared.agrees(
        &declared.calls["Sessions"],
        &control::Page {
            after: Some(text()),
        },
    );
    for method in ["Status", "Whoami", "Reload"] {
        assert!(declared.calls[method].is_empty(), "{method}");
    }
    assert!(declared.replies["Reload"].is_empty() && declared.replies["Gated"].is_empty());
}

#[test]
fn sync_messages_agree_with_their_description() {
    let declared = declared(interface::SYNC);
    declared.has_methods(
        interface::SYNC,
        &[
            sync::HELLO,
            sync::BUNDLE,
            sync::WORD,
            sync::KEYS,
            sync::TROUBLE,
            sync::EVENTS,
        ],
    );
    let hello = sync::Hello {
        server: text(),
        host_id: text(),
        token: text(),
        nonce: text(),
        revision: 1,
        more_servers: vec![text()],
        ca: Some(text()),
        state: Some(text()),
    };
    let taken = sync::Taken {
        taken: false,
        code: Some(text()),
    };
    declared.agrees(&declared.replies["Hello"], &hello);
    declared.agrees(&declared.replies["Bundle"], &taken);
    declared.agrees(&declared.calls["Word"], &sync::Word { word: text() });
    let chain = vec![text()];
    declared.agrees(&declared.calls["Keys"], &sync::Keys { chain });
    declared.agrees(&declared.calls["Trouble"], &sync::Trouble { what: text() });
    assert!(declared.replies["Trouble"].is_empty());
    declared.agrees(&declared.replies["Word"], &taken);
    declared.agrees(&declared.replies["Keys"], &taken);
    declared.agrees(&declared.calls["Events"], &sync::After { seq: 1 });
    declared.agrees(
        &declared.replies["Events"],
        &sync::Events {
            lines: vec![text()],
            checkpoint: Some(text()),
        },
    );
    assert!(declared.calls["Hello"].is_empty() && declared.calls["Bundle"].is_empty());
}
