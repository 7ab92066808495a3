//! The server's word to a host, and how the host says beside its question that it stands (T8).

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use common::{Host, Running, read};
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use jit_grant::{GateMode, HostState, HostToken, Nonce, Word};
use serde_json::{Value, json};

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
