//! People on other machines, known over TLS by their tokens.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::time::Duration;

use common::{Answer, Elsewhere, Host, KEY, Person, Running, id, read};
use hyper::Method;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Somebody at another machine.
struct Away<'a> {
    elsewhere: &'a Elsewhere,
    token: String,
}

impl Away<'_> {
    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str())];
        read(self.elsewhere.send(method, path, &headers, body).await).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, json!({})).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, body).await
    }
}

async fn made(root: &Person, user: &str, for_seconds: u32) -> Value {
    let path = format!("/v1/users/{user}/tokens");
    let body = json!({ "for_seconds": for_seconds });
    root.post(&path, body).await.is(201)
}

async fn away<'a>(running: &Running, elsewhere: &'a Elsewhere, user: &str) -> Away<'a> {
    let made = made(&running.as_("root"), user, 600).await;
    let token = made["token"].as_str().unwrap().to_owned();
    Away { elsewhere, token }
}

async fn recorded(who: &Person, kind: &str) -> Vec<Value> {
    let record = who.get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    events
        .filter(|event| event["kind"] == kind)
        .cloned()
        .collect()
}

#[tokio::test]
async fn people_with_tokens_ask_decide_and_end_from_anywhere_as_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let alice = away(&running, &elsewhere, "alice").await;
    let bob = away(&running, &elsewhere, "bob").await;
    let whoami = alice.get("/v1/whoami").await.is(200);
    assert_eq!(
        (&whoami["principal"], &whoami["administrator"]),
        (&json!("alice"), &json!(false))
    );
    assert!(whoami["token"]["id"] == "u1" && whoami["token"]["expires"].is_string());
    for path in ["/v1/roles", "/v1/hosts", "/v1/requests", "/v1/audit"] {
        alice.get(path).await.is(200);
    }
    let wanted = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "disk full" });
    let asked = id(&alice.post("/v1/requests", wanted.clone()).await.is(201));
    let approve = format!("/v1/requests/{asked}/approve");
    alice.post(&approve, json!({})).await.is(403);
    let approved = bob.post(&approve, json!({})).await.is(200);
    assert_eq!(approved["state"], "approved");
    let because = json!({ "reason": "enough" });
    bob.post("/v1/grants/g1/revoke", because.clone())
        .await
        .is(200);
    let asked = id(&alice.post("/v1/requests", wanted.clone()).await.is(201));
    bob.post(&format!("/v1/requests/{asked}/deny"), because)
        .await
        .is(200);
    let asked = id(&alice.post("/v1/requests", wanted).await.is(201));
    bob.post(&format!("/v1/requests/{asked}/approve"), json!({}))
        .await
        .is(200);
    alice.post("/v1/grants/g2/release", json!({})).await.is(200);
    let record = recorded(&running.as_("root"), "approved").await;
    assert!(record.iter().all(|event| event["actor"] == "bob"));
}

#[tokio::test]
async fn a_token_never_makes_an_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    let user = json!({ "name": "root", "login": "deploy", "groups": ["leads"] });
    root.post("/v1/users", user).await.is(201);
    let elsewhere = running.listen_elsewhere().await;
    let named_root = away(&running, &elsewhere, "root").await;
    for (method, path) in [
        (Method::GET, "/v1/users"),
        (Method::GET, "/v1/users/root/tokens"),
        (Method::POST, "/v1/users/root/tokens"),
        (Method::DELETE, "/v1/users/root/tokens/u1"),
        (Method::DELETE, "/v1/users/root"),
        (Method::DELETE, "/v1/hosts/web-1"),
        (Method::GET, "/v1/hosts/tokens"),
        (Method::DELETE, "/v1/hosts/tokens/e1"),
        (Method::POST, "/v1/hosts/tokens"),
    ] {
        let answer = named_root
            .call(method, path, json!({ "for_seconds": 60 }))
            .await;
        answer.refuses(403, "not-administrator");
    }
    // At the socket the kernel says who calls, and a token changes nothing.
    let bearer = format!("Bearer {}", named_root.token);
    let headers = [("authorization", bearer.as_str())];
    let mallory = running.as_("mallory");
    let answer = mallory
        .send(Method::GET, "/v1/whoami", &headers, Default::default())
        .await;
    assert_eq!(read(answer).await.is(200)["principal"], Value::Null);
}

#[tokio::test]
async fn a_revoked_token_counts_no_more_also_on_a_connection_that_it_opened() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let alice = away(&running, &elsewhere, "alice").await;
    let stream = TokioIo::new(elsewhere.connect().await);
    let (mut sender, connection) = http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut call = async || {
        let request = hyper::Request::get("/v1/whoami")
            .header("host", "jit.test")
            .header("jit-client", "test/1")
            .header("authorization", format!("Bearer {}", alice.token))
            .body(http_body_util::Full::<hyper::body::Bytes>::default());
        sender.ready().await.unwrap();
        read(sender.send_request(request.unwrap()).await.unwrap()).await
    };
    call().await.is(200);
    let listed = root.get("/v1/users/alice/tokens").await.is(200);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["last_use"]["from"]),
        (&json!("u1"), &json!("127.0.0.1"))
    );
    let path = "/v1/users/alice/tokens/u1";
    root.delete("/v1/users/bob/tokens/u1")
        .await
        .refuses(404, "no-user-token");
    root.delete(path).await.is(200);
    root.delete(path).await.refuses(404, "no-user-token");
    call().await.refuses(401, "bad-token");
    for _ in 0..30 {
        alice.get("/v1/whoami").await.refuses(401, "bad-token");
    }
    assert_eq!(recorded(&root, "user_token_made").await.len(), 1);
    assert_eq!(recorded(&root, "user_token_revoked").await.len(), 1);
    let refused = recorded(&root, "user_token_refused").await;
    assert_eq!(refused.len(), 20, "the rest is in the log");
    assert_eq!(
        (&refused[0]["subject"], &refused[0]["detail"]["from"]),
        (&json!("u1"), &json!("127.0.0.1"))
    );
    let hers = recorded(&running.as_("alice"), "user_token_revoked").await;
    assert_eq!(hers.len(), 1);
    assert!(
        recorded(&running.as_("bob"), "user_token_revoked")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_lock_ends_tokens_for_good_and_a_restart_brings_none_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    let (token, kept) = {
        let elsewhere = running.listen_elsewhere().await;
        let alice = away(&running, &elsewhere, "alice").await;
        let bob = away(&running, &elsewhere, "bob").await;
        let because = json!({ "reason": "laptop stolen" });
        root.post("/v1/users/alice/lock", because).await.is(200);
        alice.get("/v1/whoami").await.refuses(401, "bad-token");
        let new = json!({ "for_seconds": 60 });
        root.post("/v1/users/alice/tokens", new)
            .await
            .refuses(409, "locked");
        root.post("/v1/users/alice/unlock", json!({})).await.is(200);
        alice.get("/v1/whoami").await.refuses(401, "bad-token");
        bob.get("/v1/whoami").await.is(200);
        (alice.token, bob.token)
    };
    running.stop().await;
    let running = Running::start(folder.path()).await;
    let elsewhere = &running.listen_elsewhere().await;
    let alice = Away { elsewhere, token };
    alice.get("/v1/whoami").await.refuses(401, "bad-token");
    let bob = Away {
        elsewhere,
        token: kept,
    };
    assert_eq!(bob.get("/v1/whoami").await.is(200)["principal"], "bob");
    let new = made(&running.as_("root"), "alice", 60).await;
    assert_eq!(new["id"], "u3", "no id is given twice");
}

#[tokio::test]
async fn a_token_ends_on_time_and_its_end_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = &running.listen_elsewhere().await;
    let root = running.as_("root");
    let token = made(&root, "alice", 1).await["token"].clone();
    let token = token.as_str().unwrap().to_owned();
    let mut changes = running.server.changes();
    // Nothing but time ends it.
    while recorded(&root, "user_token_expired").await.is_empty() {
        running.server.tick().await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
    }
    let alice = Away { elsewhere, token };
    alice.get("/v1/whoami").await.refuses(401, "bad-token");
    assert_eq!(recorded(&root, "user_token_refused").await.len(), 1);
    running.server.tick().await.unwrap();
    assert_eq!(recorded(&root, "user_token_expired").await.len(), 1);
    assert_eq!(
        root.get("/v1/users/alice/tokens").await.is(200),
        json!([]),
        "only what counts is listed"
    );
}

#[tokio::test]
async fn tokens_are_bounded_in_number_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    for seconds in [0, 90 * 86_400 + 1] {
        let body = json!({ "for_seconds": seconds });
        root.post("/v1/users/alice/tokens", body).await.is(422);
    }
    for _ in 0..8 {
        made(&root, "alice", 60).await;
    }
    let body = json!({ "for_seconds": 60 });
    root.post("/v1/users/alice/tokens", body.clone())
        .await
        .refuses(429, "too-many-tokens");
    made(&root, "bob", 60).await;
    root.delete("/v1/users/alice/tokens/u3").await.is(200);
    made(&root, "alice", 60).await;
    root.post("/v1/users/eve/tokens", body)
        .await
        .refuses(404, "no-user");
    running
        .as_("alice")
        .get("/v1/users/alice/tokens")
        .await
        .refuses(403, "not-administrator");
}

#[tokio::test]
async fn strangers_learn_nothing_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = &running.listen_elsewhere().await;
    let foreign = jit_grant::UserToken::generate().unwrap().reveal();
    let root = running.as_("root");
    let before = root.get("/v1/audit").await.is(200);
    for (token, code) in [
        (foreign.as_str(), "bad-token"),
        ("jit-user.", "bad-token"),
        ("a.b.c", "bad-token"),
    ] {
        let token = token.to_owned();
        let stranger = Away { elsewhere, token };
        stranger.get("/v1/whoami").await.refuses(401, code);
        stranger.get("/v1/users").await.refuses(401, code);
    }
    assert_eq!(root.get("/v1/audit").await.is(200), before);
}

#[tokio::test]
async fn one_persons_calls_are_bounded_and_another_does_not_feel_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let alice = away(&running, &elsewhere, "alice").await;
    let of_hers = away(&running, &elsewhere, "alice").await;
    let third = away(&running, &elsewhere, "alice").await;
    let bob = away(&running, &elsewhere, "bob").await;
    let mut held = Vec::new();
    let call = async |token: &str| {
        let stream = TokioIo::new(elsewhere.connect().await);
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::get("/v1/whoami")
            .header("host", "jit.test")
            .header("jit-client", "test/1")
            .header("authorization", format!("Bearer {token}"))
            .body(http_body_util::Full::<hyper::body::Bytes>::default());
        let answer = read(sender.send_request(request.unwrap()).await.unwrap()).await;
        (sender, answer)
    };
    // One token has half of her connections, and another of hers the other half.
    for token in [&alice.token, &of_hers.token] {
        for _ in 0..8 {
            let (sender, answer) = call(token).await;
            answer.is(200);
            held.push(sender);
        }
        let (_, answer) = call(token).await;
        answer.refuses(429, "too-many-calls");
    }
    let (_, answer) = call(&third.token).await;
    answer.refuses(429, "too-many-calls");
    let (_, answer) = call(&bob.token).await;
    answer.is(200);
}

#[tokio::test]
async fn a_removed_user_is_nobody_at_once_and_the_name_added_again_has_nothing_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let alice = away(&running, &elsewhere, "alice").await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    let mut stream = host.listen(&running.server, 0).await;
    let before = host.verified(&running.server, &stream.next().await);
    assert_eq!(before.grants.len(), 1);

    let removed = root.delete("/v1/users/alice").await.is(200);
    let lost = &removed["lost"];
    assert_eq!(
        (&lost["grants"][0]["id"], &lost["tokens"][0]["id"]),
        (&json!("g1"), &json!("u1"))
    );
    let after = host.verified(&running.server, &stream.next().await);
    assert!(after.grants.is_empty());
    alice.get("/v1/whoami").await.refuses(401, "bad-token");
    running
        .as_("alice")
        .get("/v1/roles")
        .await
        .refuses(403, "no-user");
    root.delete("/v1/users/alice")
        .await
        .refuses(404, "unknown-user");
    running
        .as_("bob")
        .delete("/v1/users/carol")
        .await
        .refuses(403, "not-administrator");

    let again = json!({ "name": "alice", "login": "alice", "groups": ["developers"] });
    root.post("/v1/users", again).await.is(201);
    alice.get("/v1/whoami").await.refuses(401, "bad-token");
    let refused = recorded(&root, "user_token_refused").await;
    let why = refused[0]["detail"]["why"].as_str().unwrap();
    assert_eq!(why, "ended when that user was removed");
    let shown = root.get("/v1/grants/g1").await.is(200);
    assert_eq!(
        (&shown["state"], &shown["approvals"][0]["by"]),
        (&json!("revoked"), &json!("bob"))
    );
    let new = running.as_("alice");
    assert_eq!(new.asks(60).await, "r2");
    for (path, code) in [
        ("/v1/requests/r1", "no-request"),
        ("/v1/grants/g1", "no-grant"),
        ("/v1/grants/g1/sessions", "no-grant"),
    ] {
        new.get(path).await.refuses(404, code);
    }
    assert_eq!(new.get("/v1/grants").await.is(200), json!([]));
    let requests = new.get("/v1/requests").await.is(200);
    let ids: Vec<String> = requests.as_array().unwrap().iter().map(id).collect();
    assert_eq!(ids, ["r2"]);
    let record = new.get("/v1/audit").await.is(200);
    let kinds = record["events"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"requested"), "{kinds:?}");
    for of_before in ["granted", "user_token_made", "user_removed"] {
        assert!(!kinds.contains(&of_before), "{kinds:?}");
    }
    assert_eq!(recorded(&root, "user_removed").await[0]["subject"], "alice");
}

#[tokio::test]
async fn who_shares_a_login_with_a_removed_user_is_told_apart_by_his_key_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let root = running.as_("root");
    let other = json!({ "name": "dave", "login": "alice" });
    root.post("/v1/users", other).await.is(201);
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    let mut stream = host.listen(&running.server, 0).await;
    let before = host.verified(&running.server, &stream.next().await);
    assert!(before.grants[0].shared);
    root.delete("/v1/users/dave").await.is(200);
    let after = host.verified(&running.server, &stream.next().await);
    assert!(!after.grants[0].shared);
}

#[tokio::test]
async fn a_token_that_is_revoked_while_a_call_comes_in_does_nothing_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let bob = away(&running, &elsewhere, "bob").await;
    let request = running.as_("alice").asks(600).await;
    let head = format!(
        "POST /v1/requests/{request}/approve HTTP/1.1\r\nhost: jit.test\r\njit-client: test/1\r\nconnection: close\r\n\
         authorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n",
        bob.token
    );
    let mut call = elsewhere.connect().await;
    call.write_all(head.as_bytes()).await.unwrap();
    let name = "bob".parse().unwrap();
    let admitted = async {
        while running.server.user_tokens(&name).unwrap()[0].1.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), admitted)
        .await
        .unwrap();
    root.delete("/v1/users/bob/tokens/u1").await.is(200);
    call.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    call.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("was revoked"), "{answer}");
    let shown = root.get(&format!("/v1/requests/{request}")).await.is(200);
    assert_eq!(
        (&shown["state"], &shown["approvals"]),
        (&json!("pending"), &json!([]))
    );
    assert!(recorded(&root, "approved").await.is_empty());
    let refused = recorded(&root, "call_refused").await;
    assert_eq!(refused[0]["detail"]["token"], "u1");
}

#[tokio::test]
async fn from_the_end_of_his_time_on_neither_a_token_nor_an_account_makes_a_user_known() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let (root, alice) = (running.as_("root"), running.as_("alice"));
    let away = away(&running, &elsewhere, "alice").await;
    let until = |until: &str| json!({ "name": "alice", "login": "alice", "groups": ["developers"], "until": until, "keys": [KEY] });
    let set = root.post("/v1/users", until("2099-12-31")).await.is(201);
    assert_eq!(set["until"], "2100-01-01T00:00:00Z");
    for whoami in [alice.get("/v1/whoami").await, away.get("/v1/whoami").await] {
        assert_eq!(whoami.is(200)["until"], "2100-01-01T00:00:00Z");
    }
    root.post("/v1/users", until("2020-02-29")).await.is(201);
    let wanted = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "disk full" });
    for refused in [
        alice.get("/v1/whoami").await,
        alice.get("/v1/roles").await,
        alice.post("/v1/requests", wanted.clone()).await,
    ] {
        let refused = refused.is(403);
        assert_eq!(refused["code"], "user-ended");
        let detail = refused["detail"].as_str().unwrap();
        let since = "alice was a user until the end of 2020-02-29 (UTC)";
        assert!(detail.starts_with(since), "{detail}");
    }
    let refused = away.post("/v1/requests", wanted.clone()).await.is(401);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("until the end of 2020-02-29"), "{detail}");
    let token = root.post("/v1/users/alice/tokens", json!({ "for_seconds": 60 }));
    assert_eq!(token.await.is(403)["code"], "user-ended");
    assert_eq!(recorded(&root, "user_token_refused").await.len(), 1);
    root.post("/v1/users", until("2099-12-31T12:00:00+01:00"))
        .await
        .is(201);
    away.post("/v1/requests", wanted).await.is(201);
    root.post("/v1/users", until("tomorrow")).await.is(422);
}

#[tokio::test]
async fn a_token_that_is_used_from_many_addresses_makes_no_more_calls_than_from_one() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let alice = away(&running, &elsewhere, "alice").await;
    let (again, bob) = (
        away(&running, &elsewhere, "alice").await,
        away(&running, &elsewhere, "bob").await,
    );
    let began = std::time::Instant::now();
    let from = async |address: String| {
        let stream = TokioIo::new(elsewhere.connect_from(&address).await.unwrap());
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (mut done, mut refused) = (0, 0);
        for _ in 0..50 {
            let request = hyper::Request::get("/v1/roles")
                .header("host", "jit.test")
                .header("jit-client", "test/1")
                .header("authorization", format!("Bearer {}", alice.token))
                .body(http_body_util::Full::<hyper::body::Bytes>::default());
            let response = sender.send_request(request.unwrap()).await.unwrap();
            let retry = response.headers().get("retry-after").cloned();
            let answer = read(response).await;
            if answer.status == 200 {
                done += 1;
            } else {
                assert_eq!(retry.unwrap(), "1");
                answer.refuses(429, "too-many-calls");
                refused += 1;
            }
        }
        (done, refused)
    };
    let addresses = (2..10).map(|number| from(format!("127.0.0.{number}")));
    let counted = futures_util::future::join_all(addresses).await;
    let done: usize = counted.iter().map(|(done, _)| done).sum();
    let most = 101 + began.elapsed().as_millis() as usize * 50 / 1_000;
    assert!((100..=most).contains(&done), "{done} of at most {most}");
    // Her other token goes on once she has calls left at all, and nobody else feels it.
    bob.get("/v1/roles").await.is(200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    again.get("/v1/roles").await.is(200);
}

#[tokio::test]
async fn one_request_opens_on_each_host_the_login_that_its_user_has_there() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let (root, alice, bob) = (
        running.as_("root"),
        running.as_("alice"),
        running.as_("bob"),
    );
    Host::enrol(&root, "web-2").await;
    let rules = json!([{ "hosts": ["*-2"], "login": "deploy" }]);
    let user = json!({ "name": "alice", "login": "alice", "groups": ["developers"], "logins": rules, "keys": [KEY] });
    let set = root.post("/v1/users", user.clone()).await.is(201);
    assert_eq!(set["logins"], rules);
    let wanted = json!({ "role": "web-admin", "hosts": ["web-1", "web-2"], "for_seconds": 60, "reason": "disk full" });
    let asked = alice.post("/v1/requests", wanted).await.is(201);
    let logins = json!({ "web-1": "alice", "web-2": "deploy" });
    assert_eq!(asked["logins"], logins);
    let approve = format!("/v1/requests/{}/approve", id(&asked));
    bob.post(&approve, json!({})).await.is(200);
    let live = || async {
        let grants = alice.get("/v1/grants").await.is(200);
        let grants = grants.as_array().unwrap().iter();
        let mut live: Vec<String> = grants
            .filter(|grant| grant["state"] == "active")
            .map(|grant| format!("{}@{}", grant["login"], grant["host"]).replace('"', ""))
            .collect();
        live.sort();
        live
    };
    assert_eq!(live().await, ["alice@web-1", "deploy@web-2"]);
    let mut other = user;
    other["logins"][0]["login"] = json!("root");
    root.post("/v1/users", other.clone()).await.is(422);
    other["logins"][0]["login"] = json!("postgres");
    root.post("/v1/users", other).await.is(201);
    assert_eq!(live().await, ["alice@web-1"]);
}
