use super::*;
use crate::access::Method;
use crate::fixture::Fixture;
use crate::peer::Peer;
use crate::server::Received;
use crate::session::Opening;
use jit_grant::{Action, Credential, Query};
use jit_local::call::{Call, Nothing};
use jit_local::message::sync;
use std::os::unix::net::UnixStream;

async fn with_a_grant() -> Fixture {
    let fixture = Fixture::new();
    let grant = fixture.grant(1, "ada");
    fixture.granting(vec![grant]).await
}

async fn start(fixture: &Fixture) -> Host<Sessions> {
    take_up(fixture.started_again(), &fixture.path("run"))
        .await
        .unwrap()
}

/// This very process as ada's login, in monitor mode: it is judged as any other, and needs no systemd.
async fn open(host: &Host<Sessions>) {
    let query = Query {
        login: "ada".parse().unwrap(),
        action: Action::Ssh,
        credential: Credential::Method("password".to_owned()),
        rhost: None,
        tty: None,
        service: "sshd".to_owned(),
        now: host.clock.now(),
        within: None,
        used: Default::default(),
        groups: Default::default(),
        lacking: Default::default(),
    };
    let opening = Opening {
        peer: Peer::of(&UnixStream::pair().unwrap().0).unwrap(),
        query,
        standing: None,
        parent: None,
        enforce: false,
    };
    host.sessions.open_login(opening).await.unwrap();
    assert_eq!(held_by(host), [Some("g1".to_owned())]);
}

/// The grants that hold the open sessions.
fn held_by(host: &Host<Sessions>) -> Vec<Option<String>> {
    let sessions = host.sessions.list().into_iter();
    sessions.map(|session| session.grant).collect()
}

fn would_have_ended(host: &Host<Sessions>) -> bool {
    let (lines, _) = host.record.read_after(0, u64::MAX, 1 << 20).unwrap();
    lines.iter().any(|line| line.contains("session.would_end"))
}

#[tokio::test]
async fn a_session_outlives_a_restart_by_the_word_that_was_heard_before_it() {
    let fixture = with_a_grant().await;
    open(&start(&fixture).await).await;
    fixture.readings.pass(Duration::from_secs(60));
    let host = start(&fixture).await;
    assert_eq!(held_by(&host), [Some("g1".to_owned())]);
    assert!(!would_have_ended(&host));
}

#[tokio::test]
async fn a_session_is_over_after_a_restart_where_no_word_was_kept() {
    let fixture = with_a_grant().await;
    open(&start(&fixture).await).await;
    std::fs::remove_file(fixture.path("run/heard.json")).unwrap();
    let host = start(&fixture).await;
    assert_eq!(held_by(&host), [None]);
    assert!(would_have_ended(&host));
}

/// The sessions ask the judge while the handler waits for them: no lock of his may be held then.
#[tokio::test]
async fn a_revocation_makes_the_sessions_ask_the_judge_again_and_ends_them() {
    let fixture = with_a_grant().await;
    let host = start(&fixture).await;
    open(&host).await;
    let path = fixture.path("bundle");
    std::fs::write(&path, fixture.bundle(8, vec![])).unwrap();
    let received = Received {
        descriptor: Some(std::fs::File::open(path).unwrap().into()),
    };
    let call = Call::new(sync::BUNDLE, &Nothing {}).unwrap();
    let peer = crate::fixture::caller(0);
    let answer = host.answer(Method::Bundle, &call, received, &peer).await;
    assert!(answer.reply.parameters::<sync::Taken>().unwrap().taken);
    assert_eq!(held_by(&host), [None]);
    assert!(would_have_ended(&host));
}
