//! Messages of the local protocol as version 1 has them, in both directions: an older pam_jit.so stays mapped in a running sshd, and an older
//! jitd may answer a newer one.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

#[path = "../../jit_grant/tests/golden/mod.rs"]
mod golden;

use std::path::Path;

use golden::Kind;
use jit_local::call::{Call, Nothing, Reply};
use jit_local::message::{Failed, control, pam, sync};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A message as a call and as a reply has it in `parameters`.
fn kind<T: Serialize + DeserializeOwned + std::fmt::Debug>(
    name: &'static str,
    message: &T,
) -> Kind {
    let call = Call::new("io.jit.X", message).unwrap().parameters.unwrap();
    let reply = Reply::done(message).unwrap().parameters.unwrap();
    assert_eq!(call.get(), reply.get());
    Kind {
        name,
        written: serde_json::from_str(call.get()).unwrap(),
        read: Box::new(|parameters: &Value| {
            let call = Call::parse(&format!(r#"{{"method":"x","parameters":{parameters}}}"#));
            let call = call.unwrap().parameters::<T>();
            let reply = Reply::parse(&format!(r#"{{"parameters":{parameters}}}"#));
            let reply = reply.unwrap().parameters::<T>();
            let call = call.map_err(|error| error.to_string())?;
            let reply = reply.map_err(|error| error.to_string())?;
            assert_eq!(format!("{call:?}"), format!("{reply:?}"));
            Ok(format!("{call:?}"))
        }),
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn golden_messages_are_read_and_what_is_written_today_has_what_their_readers_need() {
    let session = control::Session {
        id: text("abcdefgh23"),
        kind: text("elevation"),
        parent: some("abcdefgh24"),
        principal: some("ann"),
        login: text("alice"),
        service: text("sudo"),
        scopes: vec![text("session-1.scope")],
        grant: some("g1"),
        since: text("2026-11-22T12:00:00Z"),
        until: some("2026-11-22T12:30:00Z"),
        rhost: some("192.0.2.7"),
        tty: some("pts/0"),
        enforced: true,
        idle_after_seconds: None,
        groups: Vec::new(),
    };
    let status = control::Status {
        version: text("0.1.0"),
        host: some("web-1"),
        host_id: some("h0123456789abcdef0123456789abcdef"),
        server: some("https://jit.example:7443"),
        revision: Some(7),
        grants: 1,
        heard_ms_ago: Some(3_000),
        max_staleness_ms: 3_600_000,
        current: false,
        code: some("JIT-111"),
        keys_refused: some("JIT-213"),
        trouble: some("server: not reached"),
        sessions: 1,
        recording: true,
        lost_gates: vec![control::LostGate {
            service: text("sshd"),
            was: text("enforce"),
        }],
    };
    let kinds = [
        kind("nothing", &Nothing {}),
        kind(
            "failed",
            &Failed {
                why: text("no room"),
            },
        ),
        kind(
            "pam.call",
            &pam::Call {
                service: text("sshd"),
                user: text("alice"),
                ruser: some("ann"),
                rhost: some("192.0.2.7"),
                tty: some("ssh"),
                auth_info: some("publickey ssh-ed25519 AAAA"),
                logind_session: some("1"),
                enforce: true,
                sets_groups: false,
            },
        ),
        kind(
            "pam.call.groups",
            &pam::Call {
                service: text("sshd"),
                user: text("alice"),
                enforce: true,
                sets_groups: true,
                ..pam::Call::default()
            },
        ),
        kind(
            "pam.verdict.groups",
            &pam::Verdict {
                allow: true,
                code: None,
                message: None,
                grant: some("g1"),
                until: some("2026-11-22T12:30:00Z"),
                gids: vec![4, 33],
            },
        ),
        kind(
            "control.session.groups",
            &control::Session {
                groups: vec![text("adm")],
                ..session.clone()
            },
        ),
        kind(
            "pam.verdict",
            &pam::Verdict {
                allow: false,
                code: some("JIT-101"),
                message: some("jit: no grant"),
                grant: some("g1"),
                until: some("2026-11-22T12:30:00Z"),
                gids: Vec::new(),
            },
        ),
        kind("control.status", &status),
        kind(
            "control.page",
            &control::Page {
                after: some("abcdefgh23"),
            },
        ),
        kind(
            "control.sessions",
            &control::Sessions {
                sessions: vec![session.clone()],
                next: some("abcdefgh23"),
            },
        ),
        kind(
            "control.whoami",
            &control::Whoami {
                session: Some(session),
            },
        ),
        kind(
            "control.enrolling",
            &control::Enrolling {
                prove: Some(control::Prove {
                    name: text("web-1"),
                    secret: "0".repeat(64),
                }),
            },
        ),
        kind(
            "control.enroll",
            &control::Enroll {
                public_key: text("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
                proof: some("a.b.c"),
            },
        ),
        kind(
            "control.gated",
            &control::Gated {
                what: text("gate"),
                services: vec![text("sshd")],
                detail: text("monitor"),
            },
        ),
        kind(
            "sync.hello",
            &sync::Hello {
                server: text("https://jit.example:7443"),
                host_id: text("h0123456789abcdef0123456789abcdef"),
                token: text("a.b.c"),
                nonce: "A".repeat(32),
                revision: 7,
                more_servers: vec![text("https://jit2.example:7443")],
                ca: some("-----BEGIN CERTIFICATE-----"),
                state: some("a.b.c"),
            },
        ),
        kind(
            "sync.word",
            &sync::Word {
                word: text("a.b.c"),
            },
        ),
        kind(
            "sync.keys",
            &sync::Keys {
                chain: vec![text("a.b.c")],
            },
        ),
        kind(
            "sync.trouble",
            &sync::Trouble {
                what: text("server: not reached"),
            },
        ),
        kind(
            "sync.taken",
            &sync::Taken {
                taken: false,
                code: some("JIT-201"),
            },
        ),
        kind("sync.after", &sync::After { seq: 9 }),
        kind(
            "sync.events",
            &sync::Events {
                lines: vec![text("{}")],
                checkpoint: some("a.b.c"),
            },
        ),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    golden::hold(&folder, &kinds);
    golden::hold_null_for_absent(&kinds);
}
