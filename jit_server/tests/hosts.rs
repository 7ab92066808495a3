//! What hosts call.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use common::{Host, Running, Stream, chain, chain_of, checkpoint, hash, read};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use jit_grant::{Checkpoint, GateMode, HostState, HostToken, Nonce, SigningKey, Word};
use serde_json::{Value, json};

#[tokio::test]
async fn a_host_that_is_up_to_date_hears_nothing_until_something_changes() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let held = running.server.revision(&host.id);
    let mut stream = host.listen(&running.server, held).await;
    let request = running.as_("alice").asks(60).await;
    running.as_("bob").approves(&request).await;
    let bundle = host.verified(&running.server, &stream.next().await);
    assert!(bundle.revision > held);
    assert_eq!(bundle.grants.len(), 1);
}

#[tokio::test]
async fn revisions_rise_across_a_restart_and_past_what_a_host_holds() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let first = running.server.revision(&host.id);
    running.stop().await;
    let running = Running::start(folder.path()).await;
    assert_eq!(running.server.revision(&host.id), first);
    let mut stream = host.listen(&running.server, first + 1).await;
    assert!(
        host.verified(&running.server, &stream.next().await)
            .revision
            > first + 1,
        "as after a restored backup"
    );
}

#[tokio::test]
async fn a_stream_says_at_once_that_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let held = running.server.revision(&host.id);
    let authorization = host.authorization(&running.server);
    let held = held.to_string();
    let headers = [
        ("authorization", authorization.as_str()),
        ("last-event-id", held.as_str()),
    ];
    let path = "/v1/host/stream";
    let answer = host.door.send(Method::GET, path, &headers, Bytes::new());
    let mut body = answer.await.into_body();
    // The next sign of life comes after 15 s.
    let first = tokio::time::timeout(Duration::from_secs(10), body.frame());
    let first = first.await.unwrap().unwrap().unwrap();
    assert!(first.data_ref().unwrap().starts_with(b":"));
}

#[tokio::test]
async fn asked_for_one_bundle_the_server_answers_as_soon_as_there_is_a_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let mut answer = Stream::of(host.asks_for_newer(&running.server, 0, 0).await);
    let first = host.verified(&running.server, &answer.next().await);
    assert!(
        answer.next_or_end().await.is_none(),
        "whole after one bundle"
    );
    let request = running.as_("alice").asks(60).await;
    let bob = running.as_("bob");
    let (waited, _) = tokio::join!(
        host.asks_for_newer(&running.server, first.revision, 25),
        async {
            let root = running.as_("root");
            // Not before it waits.
            while root.get("/v1/hosts").await.is(200)[0]["connected"] == false {}
            bob.approves(&request).await
        }
    );
    let newer = host.verified(&running.server, &Stream::of(waited).next().await);
    assert!(newer.revision > first.revision && newer.grants.len() == 1);
}

#[tokio::test]
async fn asked_for_one_bundle_the_server_waits_no_longer_than_it_is_to() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let held = running.server.revision(&host.id);
    let began = tokio::time::Instant::now();
    let answer = host.asks_for_newer(&running.server, held, 1).await;
    assert_eq!(answer.status(), 204);
    assert!(began.elapsed() >= Duration::from_secs(1));
    running
        .as_("root")
        .get("/v1/host/bundle")
        .await
        .refuses(401, "no-token");
    let headers = [("authorization", &*host.authorization(&running.server))];
    for wrong in ["after=x", "wait=-1", "before=1"] {
        let path = format!("/v1/host/bundle?{wrong}");
        let answer = host.door.send(Method::GET, &path, &headers, Bytes::new());
        assert_eq!(answer.await.status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_removed_host_that_asks_for_bundles_one_by_one_is_told_that_nothing_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let held = running.server.revision(&host.id);
    let root = running.as_("root");
    let (waited, _) = tokio::join!(host.asks_for_newer(&running.server, held, 25), async {
        while root.get("/v1/hosts").await.is(200)[0]["connected"] == false {}
        let remove = root.send(Method::DELETE, "/v1/hosts/web-1", &[], Bytes::new());
        read(remove.await).await.is(200)
    });
    let last = host.verified(&running.server, &Stream::of(waited).next().await);
    assert!(last.revision > held && last.grants.is_empty());
    let again = host.asks_for_newer(&running.server, last.revision, 25);
    read(again.await).await.refuses(401, "unknown-host");
}

#[tokio::test]
async fn the_servers_word_answers_this_nonce_at_this_revision() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let nonce = Nonce::generate().unwrap();
    let answer = host
        .post(
            &running.server,
            "/v1/host/word",
            json!({ "nonce": nonce.as_str() }),
        )
        .await
        .is(200);
    let word = Word::verify(
        answer["word"].as_str().unwrap().as_bytes(),
        &host.trusted,
        &host.id,
    )
    .unwrap();
    assert_eq!(
        (word.nonce, word.revision),
        (nonce, running.server.revision(&host.id))
    );
}

#[tokio::test]
async fn t8_a_gate_that_is_weaker_and_a_standing_that_is_withheld_are_alarms_and_words_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    // A host of before, which does not speak of its gates.
    asks_for_word(&running, &host, None).await;
    let first = [("sshd", GateMode::Enforce), ("su", GateMode::Enforce)];
    asks_for_word(&running, &host, Some(&first)).await;
    asks_for_word(&running, &host, Some(&first)).await;
    let standing = of_kind(&running, "host_state").await;
    assert_eq!(standing.len(), 1, "once");
    assert_eq!(
        (&standing[0]["subject"], &standing[0]["detail"]["gates"]),
        (
            &json!("web-1"),
            &json!({ "sshd": "enforce", "su": "enforce" })
        )
    );
    assert_eq!(of_kind(&running, "alarm").await.len(), 0);

    let weaker = [("su", GateMode::Monitor), ("sudo", GateMode::Enforce)];
    asks_for_word(&running, &host, Some(&weaker)).await;
    assert_eq!(of_kind(&running, "host_state").await.len(), 1, "too soon");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    tokio::time::resume();
    asks_for_word(&running, &host, Some(&weaker)).await;
    let said = |alarms: &[Value]| -> Vec<String> {
        let said = alarms.iter().map(|alarm| &alarm["detail"]["said"]);
        said.map(|said| said.as_str().unwrap().to_owned()).collect()
    };
    let told = [
        "the gate of sshd is weaker: it was enforce and is not gated",
        "the gate of su is weaker: it was enforce and is monitor",
    ];
    assert_eq!(said(&of_kind(&running, "alarm").await), told);

    asks_for_word(&running, &host, None).await;
    assert_eq!(of_kind(&running, "alarm").await.len(), 2, "late once");
    for _ in 0..3 {
        asks_for_word(&running, &host, None).await;
    }
    let replayed = Nonce::generate().unwrap();
    let state = state(&running, &host, &replayed, &first);
    let question = json!({ "nonce": Nonce::generate().unwrap(), "state": state });
    let path = "/v1/host/word";
    host.post(&running.server, path, question).await.is(200);
    let alarms = said(&of_kind(&running, "alarm").await);
    assert_eq!(alarms.len(), 3, "{alarms:?}");
    assert_eq!(
        alarms[2],
        "it says no more how its gates are, as it did before"
    );
    // It speaks again, and then what speaks is not the host.
    asks_for_word(&running, &host, Some(&weaker)).await;
    let question = json!({ "nonce": Nonce::generate().unwrap(), "state": state });
    host.post(&running.server, path, question).await.is(200);
    let alarms = said(&of_kind(&running, "alarm").await);
    assert!(
        alarms.len() == 4 && alarms[3].contains("not to be believed"),
        "{alarms:?}"
    );

    let hosts = async |name: &str| running.as_(name).get("/v1/hosts").await.is(200);
    assert_eq!(
        hosts("root").await[0]["gates"],
        json!({ "su": "monitor", "sudo": "enforce" })
    );
    assert_eq!(hosts("alice").await[0]["gates"], Value::Null);
    running.stop().await;
    let running = Running::start(folder.path()).await;
    asks_for_word(&running, &host, Some(&weaker)).await;
    assert_eq!(
        of_kind(&running, "alarm").await.len(),
        4,
        "a restart knows it"
    );
}

/// What is said in the alarms of the record, of late and before.
async fn alarms(running: &Running) -> Vec<String> {
    let alarms = of_kind(running, "alarm").await;
    let said = alarms.iter().map(|alarm| &alarm["detail"]["said"]);
    said.map(|said| said.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn t8_a_question_of_before_with_its_state_is_an_alarm_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let gates = [("sshd", GateMode::Enforce)];
    let said = |at: Timestamp| {
        let nonce = Nonce::generate().unwrap();
        let state = state_at(at, &host, &nonce, &gates);
        json!({ "nonce": nonce, "state": state })
    };
    let now = running.server.now();
    let ago = |seconds| said(now - SignedDuration::from_secs(seconds));
    let asks = async |question: &Value| {
        let path = "/v1/host/word";
        let answer = host.post(&running.server, path, question.clone()).await;
        assert!(answer.is(200)["word"].is_string());
    };
    let (old, before, last) = (ago(361), ago(20), ago(10));
    asks(&before).await;
    asks(&last).await;
    // One that was overtaken on its way.
    asks(&before).await;
    assert_eq!(alarms(&running).await.len(), 0);
    asks(&before).await;
    let told = alarms(&running).await;
    assert!(
        told.len() == 1 && told[0].contains("no later than"),
        "{told:?}"
    );
    for _ in 0..3 {
        asks(&last).await;
    }
    assert_eq!(alarms(&running).await.len(), 1, "once");
    asks(&ago(5)).await;
    asks(&old).await;
    let told = alarms(&running).await;
    assert!(
        told.len() == 2 && told[1].contains("too long ago"),
        "{told:?}"
    );
    // A restart forgets what was said last, and believes nothing older for that.
    running.stop().await;
    let running = Running::start(folder.path()).await;
    host.post(&running.server, "/v1/host/word", old)
        .await
        .is(200);
    assert_eq!(alarms(&running).await.len(), 3);
}

#[tokio::test]
async fn t8_a_clock_that_was_ahead_and_is_set_right_is_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    for ahead in [50, 51, 0, 0, 0] {
        let nonce = Nonce::generate().unwrap();
        let ahead = SignedDuration::from_secs(ahead);
        // The next word is asked for half a minute later.
        let heard = running.server.now();
        while running.server.now() == heard {
            tokio::task::yield_now().await;
        }
        let at = running.server.now() + ahead;
        let state = state_at(at, &host, &nonce, &[("sshd", GateMode::Enforce)]);
        let question = json!({ "nonce": nonce, "state": state });
        host.post(&running.server, "/v1/host/word", question)
            .await
            .is(200);
    }
    assert_eq!(alarms(&running).await.len(), 0);
}

#[tokio::test]
async fn t8_what_comes_with_a_token_that_is_over_is_no_word_of_the_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let gates = [("sshd", GateMode::Enforce)];
    let over = running.server.now() - SignedDuration::from_secs(301);
    let token = HostToken::sign(&host.id, &host.key, over).unwrap();
    let asks = async |gates: &[(&str, GateMode)]| {
        let nonce = Nonce::generate().unwrap();
        let state = state(&running, &host, &nonce, gates);
        let body = json!({ "nonce": nonce, "state": state }).to_string();
        let headers = [("authorization", &*format!("Bearer {token}"))];
        let path = "/v1/host/word";
        let sent = host.door.send(Method::POST, path, &headers, body.into());
        assert!(read(sent.await).await.is(200)["word"].is_string());
    };
    asks(&gates).await;
    assert_eq!(of_kind(&running, "host_state").await.len(), 0);
    asks_for_word(&running, &host, Some(&gates)).await;
    // Before it is told the time, it has no better one.
    asks(&gates).await;
    assert_eq!(alarms(&running).await.len(), 0);
    asks(&gates).await;
    let told = ["it says no more how its gates are, as it did before"];
    assert_eq!(alarms(&running).await, told);
}

#[tokio::test]
async fn t8_a_host_that_changes_without_end_is_recorded_ten_times_an_hour_and_hides_no_weaker_gate()
{
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let services: Vec<_> = (0..15).map(|number| format!("service{number}")).collect();
    let gates: Vec<_> = services
        .iter()
        .map(|service| (service.as_str(), GateMode::Enforce))
        .collect();
    let later = async |gates: &[(&str, GateMode)]| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(20)).await;
        tokio::time::resume();
        asks_for_word(&running, &host, Some(gates)).await;
    };
    for more in 1..=gates.len() {
        later(&gates[..more]).await;
    }
    assert_eq!(of_kind(&running, "host_state").await.len(), 10);
    assert_eq!(of_kind(&running, "alarm").await.len(), 0);
    later(&gates[1..]).await;
    assert_eq!(of_kind(&running, "host_state").await.len(), 10);
    assert_eq!(of_kind(&running, "alarm").await.len(), 1);
}

async fn asks_for_word(running: &Running, host: &Host, gates: Option<&[(&str, GateMode)]>) {
    let nonce = Nonce::generate().unwrap();
    let state = gates.map(|gates| state(running, host, &nonce, gates));
    let question = json!({ "nonce": nonce, "state": state });
    let answer = host.post(&running.server, "/v1/host/word", question).await;
    assert!(answer.is(200)["word"].is_string());
}

/// Later each time than the time before.
fn state(running: &Running, host: &Host, nonce: &Nonce, gates: &[(&str, GateMode)]) -> String {
    static SAID: AtomicI64 = AtomicI64::new(0);
    let later = SignedDuration::from_nanos(SAID.fetch_add(1, Ordering::Relaxed));
    state_at(running.server.now() + later, host, nonce, gates)
}

fn state_at(at: Timestamp, host: &Host, nonce: &Nonce, gates: &[(&str, GateMode)]) -> String {
    let gate = |(service, mode): &(&str, GateMode)| (service.parse().unwrap(), *mode);
    let state = HostState {
        version: "0.1.0".to_owned(),
        gates: gates.iter().map(gate).collect(),
        enforces: std::collections::BTreeSet::new(),
    };
    state.sign(&host.id, nonce, at, &host.key).unwrap()
}

async fn of_kind(running: &Running, kind: &str) -> Vec<Value> {
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    events
        .filter(|event| event["kind"] == kind)
        .cloned()
        .collect()
}

#[tokio::test]
async fn only_a_token_signed_by_the_host_speaks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let now = running.server.now();
    let forged = HostToken::sign(&host.id, &SigningKey::generate().unwrap(), now).unwrap();
    let old = HostToken::sign(
        &host.id,
        &host.key,
        now - jiff::SignedDuration::from_secs(301),
    )
    .unwrap();
    for token in [forged, old, "rubbish".to_owned()] {
        let headers = [("authorization", &*format!("Bearer {token}"))];
        let response = host
            .door
            .send(Method::GET, "/v1/host/stream", &headers, Bytes::new())
            .await;
        read(response).await.refuses(401, "bad-token");
    }
    running
        .as_("root")
        .get("/v1/host/stream")
        .await
        .refuses(401, "no-token");
}

#[tokio::test]
async fn t25_a_host_whose_time_is_behind_is_told_the_servers_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let now = running.server.now();
    let behind = now - jiff::SignedDuration::from_hours(24);
    let token = |key: &SigningKey| HostToken::sign(&host.id, key, behind).unwrap();
    let nonce = Nonce::generate().unwrap();
    let send = async |method, path: &str, token: String, body: Value| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
        ];
        let body = Bytes::from(body.to_string());
        read(host.door.send(method, path, &headers, body).await).await
    };
    let question = json!({ "nonce": nonce.as_str() });
    let answer = send(
        Method::POST,
        "/v1/host/word",
        token(&host.key),
        question.clone(),
    )
    .await
    .is(200);
    let word = answer["word"].as_str().unwrap().as_bytes();
    let word = Word::verify(word, &host.trusted, &host.id).unwrap();
    assert!(word.at >= now && word.nonce == nonce);
    let forged = token(&SigningKey::generate().unwrap());
    send(Method::POST, "/v1/host/word", forged, question)
        .await
        .refuses(401, "bad-token");
    let lines = json!({ "lines": [], "checkpoint": "" });
    send(Method::POST, "/v1/host/events", token(&host.key), lines)
        .await
        .refuses(401, "bad-token");
    let listed = running.as_("root").get("/v1/hosts").await.is(200);
    assert_eq!(
        listed[0]["last_seen"],
        Value::Null,
        "an old token shows nobody"
    );
}

#[tokio::test]
async fn enrolling_again_keeps_the_identity_and_another_key_makes_another_host() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    let root = running.as_("root");
    let again = json!({ "name": "web-1", "public_key": host.key.public().to_string() });
    assert_eq!(
        root.post("/v1/hosts", again).await.is(201)["host_id"],
        host.id.as_str()
    );
    let cloned = json!({ "name": "web-7", "public_key": host.key.public().to_string() });
    root.post("/v1/hosts", cloned)
        .await
        .refuses(409, "key-of-other-host");

    let replaced = Host::enrol(&root, "web-1").await;
    assert_ne!(replaced.id, host.id);
    let last = host.verified(&running.server, &stream.next().await);
    assert!(last.grants.is_empty());
    assert!(
        stream.next_or_end().await.is_none(),
        "the old host's stream ends"
    );
    host.post(
        &running.server,
        "/v1/host/word",
        json!({ "nonce": "A".repeat(32) }),
    )
    .await
    .refuses(401, "unknown-host");
}

#[tokio::test]
async fn the_list_of_hosts_says_who_listens() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let listed = running.as_("root").get("/v1/hosts").await.is(200);
    assert_eq!(
        (&listed[0]["connected"], &listed[0]["last_seen"]),
        (&json!(false), &Value::Null)
    );
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    let listed = running.as_("root").get("/v1/hosts").await.is(200);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["connected"]),
        (&json!("web-1"), &json!(true))
    );
    assert!(listed[0]["last_seen"].is_string());
}

#[tokio::test]
async fn a_hosts_chain_is_kept_whole_and_shown_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let lines = chain(5);
    let send = |from: usize, to: usize| json!({ "lines": lines[from..to], "checkpoint": checkpoint(&host, &lines[..to]) });

    let path = "/v1/host/events";
    assert_eq!(
        host.post(&running.server, path, send(0, 3)).await.is(200),
        json!({ "seq": 3 })
    );
    assert_eq!(
        host.post(&running.server, path, send(1, 4)).await.is(200),
        json!({ "seq": 4 }),
        "what is stored is skipped"
    );
    let changed: Vec<String> = lines
        .iter()
        .map(|line| line.replace("alice", "malice"))
        .collect();
    let forged = json!({ "lines": changed[4..], "checkpoint": checkpoint(&host, &lines) });
    assert_eq!(
        host.post(&running.server, path, forged).await.is(409)["seq"],
        4,
        "the signature is over other lines"
    );
    let other = Host {
        key: SigningKey::generate().unwrap(),
        ..Host::enrol(&running.as_("root"), "web-2").await
    };
    let by_another = json!({ "lines": lines[4..], "checkpoint": checkpoint(&other, &lines) });
    assert_eq!(
        host.post(&running.server, path, by_another).await.is(409)["seq"],
        4
    );

    let record = running.as_("alice").get("/v1/audit").await.is(200);
    let of_host: Vec<_> = record["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["origin"] == "web-1")
        .collect();
    assert_eq!(of_host.len(), 4);
    assert_eq!(
        (
            &of_host[0]["kind"],
            &of_host[0]["actor"],
            &of_host[0]["subject"]
        ),
        (&json!("login"), &json!("alice"), &json!("g1"))
    );
    let record = running.as_("bob").get("/v1/audit").await.is(200);
    assert!(
        record["events"]
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["origin"] == "server"),
        "alice's logins are not bob's to see"
    );
}

#[tokio::test]
async fn what_was_open_under_a_grant_is_told_to_its_principal_and_the_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    let whose = |kind: &str| json!({ "at": "2026-11-22T12:00:00Z", "kind": kind, "id": "abcdefgh23", "login": "alice", "principal": "alice", "grant": "g1" });
    let mut opened = whose("session.opened");
    opened["service"] = json!("sshd");
    let mut ended = whose("session.ended");
    ended["code"] = json!("JIT-301");
    let lines = chain_of(vec![opened, whose("session.ending"), ended]);
    let batch = json!({ "lines": lines, "checkpoint": checkpoint(&host, &lines) });
    let stored = host.post(&running.server, "/v1/host/events", batch).await;
    stored.is(200);
    let path = "/v1/grants/g1/sessions";
    for name in ["alice", "root"] {
        let told = running.as_(name).get(path).await.is(200);
        let events = told["events"].as_array().unwrap();
        let kinds: Vec<_> = events.iter().map(|event| &event["kind"]).collect();
        assert_eq!(kinds, ["session.opened", "session.ended"]);
        assert_eq!(
            (&events[0]["origin"], &events[0]["detail"]["service"]),
            (&json!("web-1"), &json!("sshd"))
        );
        assert_eq!(told["complete"], true);
    }
    let told = running.as_("bob").get(path).await.is(200);
    assert_eq!(told["events"], json!(null), "alice's logins are not bob's");
    running
        .as_("alice")
        .get("/v1/grants/g2/sessions")
        .await
        .refuses(404, "no-grant");
}

#[tokio::test]
async fn a_gap_in_a_hosts_chain_is_refused_with_the_number_that_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let lines = chain(4);
    let gap = json!({ "lines": lines[2..], "checkpoint": checkpoint(&host, &lines) });
    let refused = host
        .post(&running.server, "/v1/host/events", gap)
        .await
        .is(409);
    assert_eq!(
        (&refused["seq"], &refused["code"]),
        (&json!(0), &json!("chain"))
    );
}

#[tokio::test]
async fn what_is_refused_of_a_chain_and_what_is_lost_is_an_alarm_that_no_flood_fills_the_record_with()
 {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let path = "/v1/host/events";
    let lines = chain(4);
    let gap = json!({ "lines": lines[2..], "checkpoint": checkpoint(&host, &lines) });
    for _ in 0..50 {
        host.post(&running.server, path, gap.clone()).await.is(409);
    }
    let forged = json!({ "lines": lines, "checkpoint": "x" });
    host.post(&running.server, path, forged).await.is(409);
    let lost = json!({ "seq": 9, "at": "2026-11-22T12:00:00Z", "kind": "record.lost", "after": 0, "dropped_before": 7 });
    let lost = vec![json!({ "event": lost, "prev": "0".repeat(64) }).to_string()];
    let signed = Checkpoint {
        host: host.id.clone(),
        seq: 9,
        head: hash(&lost[0]).parse().unwrap(),
        at: "2026-11-22T12:00:01Z".parse().unwrap(),
    };
    let lost = json!({ "lines": lost, "checkpoint": signed.sign(&host.key).unwrap() });
    assert_eq!(
        host.post(&running.server, path, lost).await.is(200)["seq"],
        9
    );

    let alarms = |record: Value| -> Vec<Value> {
        let events = record["events"].as_array().unwrap().clone();
        events
            .into_iter()
            .filter(|event| event["kind"] == "alarm")
            .collect()
    };
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let told = alarms(record);
    let of = |cause: &str| {
        let told = told.iter().map(|event| &event["detail"]["alarm"]);
        told.filter(|alarm| alarm["cause"] == cause)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("chain_gap").len(), 10, "of 50");
    assert_eq!(
        of("chain_gap")[0],
        &json!({ "cause": "chain_gap", "due": 1, "came": 3 })
    );
    assert_eq!(of("chain_refused").len(), 1);
    assert_eq!(
        of("record_lost"),
        [&json!({ "cause": "record_lost", "after": 0, "next": 9 })]
    );
    assert_eq!(
        (
            &told[0]["subject"],
            &told[0]["actor"],
            &told[11]["detail"]["said"]
        ),
        (
            &json!("web-1"),
            &json!("@server"),
            &json!("lines 1 to 8 of its event chain are lost")
        )
    );
    let record = running.as_("alice").get("/v1/audit").await.is(200);
    assert!(alarms(record).is_empty(), "the administrator's to see");
    let hosts = async |name: &str| running.as_(name).get("/v1/hosts").await.is(200);
    assert!(hosts("root").await[0]["last_alarm"].is_string());
    assert_eq!(hosts("alice").await[0]["last_alarm"], Value::Null);
}
