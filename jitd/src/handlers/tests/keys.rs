use super::*;
use crate::fixture::write_trust;
use jit_grant::{NextKey, PublicKey, SigningKey};
use jit_local::message::sync::{Keys, Taken, Trouble};
use std::fs;

fn step(seq: u64, current: &SigningKey, next: &SigningKey) -> String {
    let at = "2026-11-22T12:00:00Z".parse().unwrap();
    let next = next.public();
    NextKey { seq, at, next }.sign(current).unwrap()
}

fn new_key() -> SigningKey {
    SigningKey::generate().unwrap()
}

async fn offer(fixture: &Fixture, chain: Vec<String>) -> Option<String> {
    let call = Call::new("io.jit.Sync.X", &Keys { chain }).unwrap();
    let reply = fixture.host.keys(&call).await;
    let taken: Taken = reply.parameters().unwrap();
    assert_eq!(taken.taken, taken.code.is_none());
    taken.code
}

/// Offers a bundle of nothing, signed with `key`.
async fn offer_bundle(fixture: &mut Fixture, key: &SigningKey, revision: u64) -> Option<String> {
    let own = std::mem::replace(&mut fixture.key, key.clone());
    let document = fixture.bundle(revision, vec![]);
    fixture.key = own;
    let path = fixture.path("offered");
    fs::write(&path, document).unwrap();
    let received = Received {
        descriptor: Some(fs::File::open(&path).unwrap().into()),
    };
    let taken: Taken = fixture.host.bundle(received).await.parameters().unwrap();
    taken.code
}

fn believed(fixture: &Fixture) -> Vec<PublicKey> {
    let trust = fixture.host.grants.overview().trust.unwrap();
    let on_disk = Trust::read(&fixture.path("trust.json"), &fixture.path("machine-id")).unwrap();
    assert_eq!(on_disk.keys, trust.keys);
    trust.keys.iter().collect()
}

async fn status(fixture: &Fixture) -> message::Status {
    let status = fixture.host.status(&caller(0)).await;
    status.parameters().unwrap()
}

#[tokio::test]
async fn a_host_that_slept_through_two_rotations_follows_and_drops_the_old_key_once_the_newest_has_signed()
 {
    let mut fixture = ada().await;
    let first = fixture.key.clone();
    let (second, third) = (new_key(), new_key());
    let chain = vec![step(1, &first, &second), step(2, &second, &third)];
    assert_eq!(offer(&fixture, chain.clone()).await, None);
    assert_eq!(believed(&fixture), [first.public(), third.public()]);
    assert_eq!(
        fixture.last_event("keys.taken")["kid"],
        third.public().kid()
    );
    assert!(
        account(&fixture, &pam("sshd", "ada"), 0).await.allow,
        "what was granted goes on"
    );
    // Until the newest has signed, the one before it counts: the server may not have come so far.
    assert_eq!(offer_bundle(&mut fixture, &first, 8).await, None);
    assert_eq!(believed(&fixture).len(), 2);
    assert_eq!(offer_bundle(&mut fixture, &third, 9).await, None);
    assert_eq!(believed(&fixture), [third.public()]);
    assert_eq!(
        fixture.last_event("keys.proved")["kid"],
        third.public().kid()
    );
    for old in [&first, &second] {
        let code = offer_bundle(&mut fixture, old, 10).await;
        assert_eq!(code.as_deref(), Some("JIT-202"));
    }
    // The same chain with every stream changes nothing.
    let events = fixture.events().len();
    assert_eq!(offer(&fixture, chain).await, None);
    assert_eq!(fixture.events().len(), events);
    let again = fixture.started_again();
    again.believe();
    assert_eq!(again.grants.overview().revision, Some(9));
}

#[tokio::test]
async fn a_stolen_old_key_leads_nowhere_and_status_says_what_was_refused_until_the_server_is_heard()
{
    let mut fixture = ada().await;
    let first = fixture.key.clone();
    let (second, thief) = (new_key(), new_key());
    offer(&fixture, vec![step(1, &first, &second)]).await;
    for chain in [
        vec![step(2, &first, &thief)],
        vec![step(1, &first, &second), step(2, &first, &thief)],
        vec![step(1, &thief, &thief)],
        vec![],
        vec!["a.b.c".to_owned()],
        vec![String::new(); NextKey::MOST + 1],
    ] {
        let code = offer(&fixture, chain).await;
        assert!(code.is_some());
        assert_eq!(believed(&fixture), [first.public(), second.public()]);
        assert_eq!(fixture.last_event("keys.refused")["code"], code.unwrap());
    }
    offer(&fixture, vec![step(2, &first, &thief)]).await;
    let refused = status(&fixture).await.keys_refused;
    assert_eq!(refused.as_deref(), Some("JIT-213"));
    let why = fixture.last_event("keys.refused")["why"].clone();
    assert!(
        why.as_str().unwrap().contains("enrol this host again"),
        "{why}"
    );
    offer_bundle(&mut fixture, &second, 8).await;
    assert_eq!(status(&fixture).await.keys_refused, None);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_holds_back_no_bundle_and_loses_no_key() {
    let mut fixture = ada().await;
    let first = fixture.key.clone();
    let second = new_key();
    let chain = vec![step(1, &first, &second)];
    let before = fs::read(fixture.path("trust.json")).unwrap();
    let in_the_way = fixture.path("trust.json.new");
    fs::create_dir(&in_the_way).unwrap();
    assert_eq!(offer(&fixture, chain).await, None);
    assert!(fixture.last_event("keys.taken")["not_stored"].is_string());
    assert_eq!(offer_bundle(&mut fixture, &second, 8).await, None);
    assert_eq!(fixture.host.grants.overview().revision, Some(8));
    assert_eq!(fs::read(fixture.path("trust.json")).unwrap(), before);
    assert!(fixture.last_event("keys.proved")["not_stored"].is_string());
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(offer_bundle(&mut fixture, &second, 9).await, None);
    assert_eq!(believed(&fixture), [second.public()]);
}

#[tokio::test]
async fn keys_of_a_server_that_this_host_left_are_not_written_over_the_new_ones() {
    let fixture = ada().await;
    let other = new_key();
    write_trust(&fixture.path("trust.json"), &other);
    let text = fs::read_to_string(fixture.path("trust.json")).unwrap();
    let elsewhere = text.replace(&"0".repeat(32), &"1".repeat(32));
    fs::write(fixture.path("trust.json"), &elsewhere).unwrap();
    let second = new_key();
    offer(&fixture, vec![step(1, &fixture.key, &second)]).await;
    assert_eq!(
        fs::read_to_string(fixture.path("trust.json")).unwrap(),
        elsewhere
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refused_documents_does_not_fill_the_record() {
    let fixture = ada().await;
    let before = fixture.events().len();
    for _ in 0..500 {
        assert!(offer(&fixture, vec!["a.b.c".to_owned()]).await.is_some());
    }
    assert!(fixture.events().len() - before <= 20);
    fixture.readings.pass(Duration::from_secs(60));
    offer(&fixture, vec!["a.b.c".to_owned()]).await;
    assert_eq!(fixture.last_event("keys.refused")["left_out"], 480);
}

fn says(fixture: &Fixture, what: String) {
    let call = Call::new("io.jit.Sync.X", &Trouble { what }).unwrap();
    assert_eq!(fixture.host.trouble(&call).error, None);
}

#[tokio::test(start_paused = true)]
async fn t26_what_keeps_the_server_away_is_recorded_as_jitd_syncs_word_and_never_fills_the_record()
{
    let fixture = ada().await;
    let before = fixture.events().len();
    for _ in 0..500 {
        says(&fixture, "certificate expired".to_owned());
    }
    assert_eq!(fixture.events().len() - before, 1, "it is the same");
    let said = &fixture.last_event("sync.trouble")["said_by_jitd_sync"];
    assert_eq!(said, "certificate expired");
    for number in 0..500 {
        says(&fixture, format!("{number}{}", "\u{1b}".repeat(1000)));
    }
    assert_eq!(fixture.events().len() - before, 20);
    fixture.readings.pass(Duration::from_secs(60));
    says(&fixture, "x".repeat(1000));
    let last = fixture.last_event("sync.trouble");
    assert_eq!(last["left_out"], 481);
    assert_eq!(last["said_by_jitd_sync"], "x".repeat(300));
    // Nothing that jitd-sync says takes the room of what is refused of its documents.
    let code = offer(&fixture, vec!["a.b.c".to_owned()]).await.unwrap();
    assert_eq!(fixture.last_event("keys.refused")["code"], code);
}
