use super::*;
use crate::fixture::session;

async fn control(
    fixture: &Fixture,
    method: Method,
    parameters: serde_json::Value,
    uid: u32,
) -> Reply {
    let frame = Call::new("io.jit.Control.X", &parameters).unwrap();
    let peer = Peer { uid, ..caller(uid) };
    fixture
        .host
        .answer(method, &frame, Received::default(), &peer)
        .await
        .reply
}

#[tokio::test]
async fn root_sees_all_sessions_and_others_their_own() {
    let fixture = Fixture::new();
    *fixture.fake().listed.lock().unwrap() = vec![session("ada", None), session("bob", None)];
    let logins = async |uid| {
        let reply: message::Sessions = control(&fixture, Method::Sessions, json!({}), uid)
            .await
            .parameters()
            .unwrap();
        reply
            .sessions
            .into_iter()
            .map(|session| session.login)
            .collect::<Vec<_>>()
    };
    assert_eq!(logins(0).await, ["ada", "bob"]);
    assert_eq!(logins(ADA).await, ["ada"]);
    assert!(logins(4_000_000).await.is_empty());
}

#[tokio::test]
async fn sessions_are_listed_on_from_an_id_and_from_nothing_else() {
    let fixture = Fixture::new();
    *fixture.fake().listed.lock().unwrap() = vec![session("ada", None)];
    let after =
        async |after: &str| control(&fixture, Method::Sessions, json!({ "after": after }), 0).await;
    let listed = |reply: Reply| reply.parameters::<message::Sessions>().unwrap().sessions;
    assert_eq!(listed(after("aaaaaaaaaa").await).len(), 1);
    assert!(listed(after("bbbbbbbbbb").await).is_empty());
    assert_eq!(
        after("../x").await.error.as_deref(),
        Some("org.varlink.service.InvalidParameter")
    );
}

#[tokio::test]
async fn status_counts_for_each_the_sessions_that_he_may_see() {
    let fixture = Fixture::new();
    *fixture.fake().listed.lock().unwrap() = vec![session("ada", None), session("bob", None)];
    for (uid, expected) in [(0, 2), (ADA, 1), (4_000_000, 0)] {
        let status: message::Status = control(&fixture, Method::Status, json!({}), uid)
            .await
            .parameters()
            .unwrap();
        assert_eq!(status.sessions, expected, "{uid}");
    }
}

#[tokio::test]
async fn status_says_how_the_host_stands_with_its_server() {
    let fixture = ada().await;
    fixture.readings.pass(Duration::from_secs(5));
    let status: message::Status = control(&fixture, Method::Status, json!({}), ADA)
        .await
        .parameters()
        .unwrap();
    assert_eq!(
        (
            status.host.as_deref(),
            status.revision,
            status.grants,
            status.heard_ms_ago
        ),
        (Some("web1"), Some(7), 1, Some(5000))
    );
    assert!(status.current && status.recording && status.code.is_none());
    fixture.readings.pass(Duration::from_secs(3600));
    let status: message::Status = control(&fixture, Method::Status, json!({}), ADA)
        .await
        .parameters()
        .unwrap();
    assert_eq!(
        (status.current, status.code.as_deref()),
        (false, Some("JIT-111"))
    );
    let refused = account(&fixture, &pam("sshd", "ada"), 0).await;
    let message = refused.message.unwrap();
    assert!(
        message.contains("nothing heard from ") && message.contains("(1 h 0 min ago) (JIT-111)"),
        "{message}"
    );
}

#[tokio::test]
async fn a_call_of_a_later_version_is_not_answered_with_or_without_parameters() {
    let fixture = ada().await;
    let call = Call::parse(
        r#"{"method":"x","parameters":{"protocol":2,"service":"sshd","user":"ada","enforce":true}}"#,
    );
    let (call, root) = (call.unwrap(), caller(0));
    for method in [Method::Status, Method::Hello, Method::Account] {
        let answer = fixture
            .host
            .answer(method, &call, Received::default(), &root);
        assert_eq!(
            answer.await.reply.error.as_deref(),
            Some("org.varlink.service.InvalidParameter")
        );
    }
}

#[tokio::test]
async fn a_host_whose_trust_is_taken_away_believes_nobody_after_reload() {
    let fixture = ada().await;
    std::fs::remove_file(fixture.path("trust.json")).unwrap();
    assert!(
        control(&fixture, Method::Reload, json!({}), 0)
            .await
            .error
            .is_none()
    );
    assert_eq!(
        code(&account(&fixture, &pam("sshd", "ada"), 0).await),
        Some("JIT-110")
    );
    assert_eq!(fixture.fake().asked(), ["reconsider"]);
}

#[tokio::test]
async fn what_ends_after_a_reload_is_given_the_grace_that_the_settings_say_now() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("jitd.toml"), "grace = \"500ms\"\n").unwrap();
    let reply = control(&fixture, Method::Reload, json!({}), 0).await;
    assert!(reply.error.is_none());
    let grace = *fixture.fake().grace.lock().unwrap();
    assert_eq!(grace, Some(Duration::from_millis(500)));
}

#[tokio::test]
async fn mistaken_settings_are_reported_by_reload_and_change_nothing() {
    let fixture = ada().await;
    std::fs::write(fixture.path("jitd.toml"), "grace = 5\n").unwrap();
    let reply = control(&fixture, Method::Reload, json!({}), 0).await;
    assert_eq!(reply.error.as_deref(), Some("io.jit.Control.Failed"));
    assert!(
        reply
            .parameters
            .unwrap()
            .get()
            .contains("jitd.toml:1: grace")
    );
    assert!(account(&fixture, &pam("sshd", "ada"), 0).await.allow);
}

#[tokio::test]
async fn gating_is_recorded_with_who_did_it() {
    let fixture = Fixture::new();
    let gated = json!({ "what": "enforce", "services": ["sshd"], "detail": "until confirmed" });
    assert!(
        control(&fixture, Method::Gated, gated, 0)
            .await
            .error
            .is_none()
    );
    let event = fixture.last_event("gating");
    assert_eq!(
        (&event["what"], &event["services"], &event["by_uid"]),
        (&json!("enforce"), &json!(["sshd"]), &json!(0))
    );
}

#[tokio::test]
async fn jitd_sync_learns_who_it_speaks_for_once_there_is_a_key_and_a_server() {
    let fixture = Fixture::new();
    let refused = control(&fixture, Method::Hello, json!({}), 0).await;
    assert_eq!(refused.error.as_deref(), Some("io.jit.Sync.NotEnrolled"));
    let enrolled: message::Enroll = control(&fixture, Method::Enroll, json!({}), 0)
        .await
        .parameters()
        .unwrap();
    let hello: jit_local::message::sync::Hello = control(&fixture, Method::Hello, json!({}), 0)
        .await
        .parameters()
        .unwrap();
    assert_eq!(
        (hello.server.as_str(), hello.revision),
        ("https://jit.example", 0)
    );
    let key = enrolled.public_key.parse().unwrap();
    let token =
        jit_grant::HostToken::verify(hello.token.as_bytes(), fixture.clock.now(), |_| Some(key))
            .unwrap();
    assert_eq!(token.host, crate::fixture::host_id());
    let nonce = hello.nonce.parse().unwrap();
    let state = hello.state.unwrap();
    let now = fixture.clock.now();
    let state = jit_grant::HostState::verify(state.as_bytes(), &token.host, &nonce, key, now);
    let (state, _) = state.unwrap();
    assert_eq!(state.version, env!("CARGO_PKG_VERSION"));
    let word = json!({ "word": fixture.word(&hello.nonce, 0) });
    let taken: jit_local::message::sync::Taken = control(&fixture, Method::Word, word.clone(), 0)
        .await
        .parameters()
        .unwrap();
    assert!(taken.taken);
    let again: jit_local::message::sync::Taken = control(&fixture, Method::Word, word, 0)
        .await
        .parameters()
        .unwrap();
    assert_eq!(again.code.as_deref(), Some("JIT-211"));
    assert_eq!(fixture.last_event("word.refused")["code"], "JIT-211");
}

#[tokio::test]
async fn a_host_proves_that_it_has_its_key_for_one_name_and_one_token() {
    let fixture = Fixture::new();
    let possession = jit_grant::Possession {
        name: "web1".parse().unwrap(),
        secret: "a".repeat(64).parse().unwrap(),
    };
    let prove = json!({ "prove": { "name": "web1", "secret": possession.secret } });
    let enrolled: message::Enroll = control(&fixture, Method::Enroll, prove, 0)
        .await
        .parameters()
        .unwrap();
    let key = enrolled.public_key.parse().unwrap();
    let proof = enrolled.proof.unwrap();
    assert_eq!(
        jit_grant::Possession::verify(proof.as_bytes(), key),
        Ok(possession)
    );
    for (name, secret) in [("web1", "a"), ("Not A Host", &*"a".repeat(64))] {
        let wrong = json!({ "prove": { "name": name, "secret": secret } });
        let refused = control(&fixture, Method::Enroll, wrong, 0).await;
        assert_eq!(refused.error.as_deref(), Some("io.jit.Control.Failed"));
    }
}

#[tokio::test]
async fn a_cloned_machine_enrols_with_a_key_of_its_own() {
    let fixture = Fixture::new();
    let key = async || {
        let enrolled: message::Enroll = control(&fixture, Method::Enroll, json!({}), 0)
            .await
            .parameters()
            .unwrap();
        enrolled.public_key
    };
    let original = key().await;
    assert_eq!(key().await, original);
    let clone = "f".repeat(32);
    std::fs::write(&fixture.host.files.machine_id, clone).unwrap();
    assert_ne!(key().await, original);
}

#[tokio::test]
async fn t25_sessions_are_judged_again_when_a_word_moves_the_clock_although_it_keeps_nothing_fresh()
{
    let fixture = Fixture::new().granting(vec![]).await;
    let nonce = fixture.host.grants.new_nonce().unwrap();
    let ahead = fixture.word(nonce.as_str(), 8);
    let foreign = fixture.word(jit_grant::Nonce::generate().unwrap().as_str(), 7);
    for (word, code) in [(ahead, "JIT-212"), (foreign, "JIT-211")] {
        let taken: jit_local::message::sync::Taken =
            control(&fixture, Method::Word, json!({ "word": word }), 0)
                .await
                .parameters()
                .unwrap();
        assert_eq!(taken.code.as_deref(), Some(code));
        assert_eq!(fixture.fake().asked(), ["reconsider"]);
    }
    // What nobody signed moves nothing.
    control(&fixture, Method::Word, json!({ "word": "a.b.c" }), 0).await;
    assert!(fixture.fake().asked().is_empty());
}
