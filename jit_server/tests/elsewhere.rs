//! What hosts elsewhere find, over TLS.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::time::Duration;

use common::{Answer, Elsewhere, Host, Person, Running, Stream, read};
use hyper::Method;
use jit_grant::{HostToken, SigningKey, TrustedKeys};
use jit_server::server::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn token(root: &Person, what: Value) -> String {
    let made = root.post("/v1/hosts/tokens", what).await.is(201);
    made["token"].as_str().unwrap().to_owned()
}

/// What an enrolled host knows.
fn host(root: &Person, token: &str, answer: Answer, key: SigningKey) -> Host {
    let body = answer.is(201);
    let token: jit_grant::EnrolmentToken = token.parse().unwrap();
    let offered = body["server_keys"][0]["public_key"].as_str();
    assert_eq!(offered, Some(token.server_key.to_string().as_str()));
    let trusted = TrustedKeys::new(vec![token.server_key]);
    let id = body["host_id"].as_str().unwrap().parse().unwrap();
    Host {
        id,
        key,
        trusted,
        door: root.clone(),
    }
}

async fn call(
    server: &Server,
    elsewhere: &Elsewhere,
    host: &Host,
    method: Method,
    path: &str,
) -> hyper::Response<hyper::body::Incoming> {
    let authorization = host.authorization(server);
    elsewhere
        .send(
            method,
            path,
            &[("authorization", &authorization)],
            json!({}),
        )
        .await
}

/// What the record has of these kinds: kind and subject.
async fn recorded(root: &Person, kinds: &[&str]) -> Vec<(String, String)> {
    let record = root.get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let events = events.map(|event| (text(event, "kind"), text(event, "subject")));
    events
        .filter(|(kind, _)| kinds.contains(&kind.as_str()))
        .collect()
}

#[tokio::test]
async fn a_connection_with_too_many_bad_calls_is_closed_and_the_next_one_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let elsewhere = running.listen_elsewhere().await;
    let mut stream = elsewhere.connect().await;
    let call = "GET /v1/whoami HTTP/1.1\r\nhost: jit.test\r\njit-client: test/1\r\n\r\n";
    stream.write_all(call.repeat(6).as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let closed = stream.read_to_end(&mut answers);
    let in_time = tokio::time::timeout(Duration::from_secs(5), closed).await;
    in_time.unwrap().unwrap();
    let answers = String::from_utf8(answers).unwrap().to_lowercase();
    let statuses = answers.matches("http/1.1 ").count();
    assert_eq!(statuses, 5, "{answers}");
    assert_eq!(answers.matches("http/1.1 401 ").count(), 4, "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
    let next = elsewhere.send(Method::GET, "/v1/whoami", &[], json!({}));
    assert_eq!(next.await.status(), 401);
}

#[tokio::test]
async fn a_host_with_a_token_comes_in_and_follows_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let token = token(
        &root,
        json!({ "name": "web-2", "labels": { "site": "berlin" }, "uses": 1, "for_seconds": 60 }),
    )
    .await;
    let key = SigningKey::generate().unwrap();
    let answer = elsewhere.enrol(&token, "web-2", &key).await;
    let host = host(&root, &token, answer, key.clone());

    let mut stream = Stream::of(
        call(
            &running.server,
            &elsewhere,
            &host,
            Method::GET,
            "/v1/host/stream",
        )
        .await,
    );
    assert!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .is_empty()
    );
    let body = json!({ "role": "web-admin", "hosts": ["web-2"], "for_seconds": 60, "reason": "disk full" });
    let request = common::id(
        &running
            .as_("alice")
            .post("/v1/requests", body)
            .await
            .is(201),
    );
    running.as_("bob").approves(&request).await;
    assert_eq!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .len(),
        1
    );

    // The answer may have been lost: the same host asks again, and nobody else gets in so.
    let again = elsewhere.enrol(&token, "web-2", &key).await.is(201);
    assert_eq!(again["host_id"], host.id.as_str());
    let other = SigningKey::generate().unwrap();
    elsewhere
        .enrol(&token, "web-2", &other)
        .await
        .refuses(403, "enrolment-refused");
    let listed = root.get("/v1/hosts").await.is(200);
    let web2 = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|host| host["name"] == "web-2")
        .unwrap();
    assert_eq!(
        (&web2["labels"]["site"], &web2["connected"]),
        (&json!("berlin"), &json!(true))
    );
    let told = recorded(&root, &["token_made", "host_enrolled", "enrolment_refused"]).await;
    let told: Vec<_> = told
        .iter()
        .map(|(kind, subject)| format!("{kind} {subject}"))
        .collect();
    assert_eq!(
        told,
        [
            "host_enrolled web-1",
            "token_made e1",
            "host_enrolled web-2",
            "enrolment_refused e1"
        ]
    );
}

#[tokio::test]
async fn a_token_lets_in_what_it_says_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let first = running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let new = || SigningKey::generate().unwrap();
    let two = token(&root, json!({ "uses": 2, "for_seconds": 60 })).await;
    elsewhere
        .enrol(&two, "web-1", &new())
        .await
        .refuses(403, "enrolment-refused");
    elsewhere.enrol(&two, "a-1", &new()).await.is(201);
    elsewhere.enrol(&two, "a-2", &new()).await.is(201);
    elsewhere
        .enrol(&two, "a-3", &new())
        .await
        .refuses(403, "enrolment-refused");
    let record = root.get("/v1/audit").await.is(200);
    let refused = record["events"].as_array().unwrap().iter();
    let mut refused = refused.filter(|event| event["kind"] == "enrolment_refused");
    assert_eq!(refused.next().unwrap()["detail"]["from"], "127.0.0.1");
    // Re-imaged: the token for its name lets it take its place, and the one before is known no more.
    let listening = call(
        &running.server,
        &elsewhere,
        &first,
        Method::GET,
        "/v1/host/stream",
    )
    .await;
    let mut stream = Stream::of(listening);
    stream.next().await;
    let named = token(
        &root,
        json!({ "name": "web-1", "uses": 1, "for_seconds": 60 }),
    )
    .await;
    elsewhere
        .enrol(&named, "a-4", &new())
        .await
        .refuses(403, "enrolment-refused");
    elsewhere.enrol(&named, "web-1", &new()).await.is(201);
    let last = first.verified(&running.server, &stream.next().await);
    assert!(last.grants.is_empty() && stream.next_or_end().await.is_none());
    let refused = call(
        &running.server,
        &elsewhere,
        &first,
        Method::GET,
        "/v1/host/stream",
    )
    .await;
    read(refused).await.refuses(401, "unknown-host");
    // A key that the host has not, and a token of another server.
    let key = new();
    let stolen = json!({ "secret": "A".repeat(43), "name": "a-5", "public_key": key.public(), "proof": "a.b.c" });
    read(elsewhere.send(Method::POST, "/v1/enrol", &[], stolen).await)
        .await
        .refuses(403, "not-proved");
    let foreign = jit_grant::EnrolmentToken {
        secret: jit_grant::Secret::generate().unwrap(),
        server_key: new().public(),
    };
    elsewhere
        .enrol(&foreign.reveal(), "a-5", &new())
        .await
        .refuses(403, "enrolment-refused");
    for wrong in [
        json!({ "uses": 0, "for_seconds": 60 }),
        json!({ "uses": 1, "for_seconds": 91 * 86_400 }),
    ] {
        root.post("/v1/hosts/tokens", wrong).await.is(422);
    }
}

#[tokio::test]
async fn a_token_that_is_over_lets_nobody_in_and_its_end_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let token = token(&root, json!({ "uses": 5, "for_seconds": 1 })).await;
    let key = SigningKey::generate().unwrap();
    let mut changes = running.server.changes();
    // Nothing but time ends it.
    while recorded(&root, &["token_expired"]).await.is_empty() {
        running.server.tick().await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
    }
    elsewhere
        .enrol(&token, "web-1", &key)
        .await
        .refuses(403, "enrolment-refused");
    assert_eq!(recorded(&root, &["enrolment_refused"]).await.len(), 1);
}

#[tokio::test]
async fn a_removed_host_loses_its_stream_its_token_and_its_grants() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    let mut stream = Stream::of(
        call(
            &running.server,
            &elsewhere,
            &host,
            Method::GET,
            "/v1/host/stream",
        )
        .await,
    );
    let granted = host.verified(&running.server, &stream.next().await);
    assert_eq!(granted.grants.len(), 1);
    let root = running.as_("root");
    let removed = read(
        root.send(Method::DELETE, "/v1/hosts/web-1", &[], Default::default())
            .await,
    )
    .await
    .is(200);
    assert_eq!(
        removed,
        json!({ "name": "web-1", "revoked": ["g1"], "token": null })
    );
    let last = host.verified(&running.server, &stream.next().await);
    assert!(last.revision > granted.revision && last.grants.is_empty());
    assert!(stream.next_or_end().await.is_none());
    let refused = call(
        &running.server,
        &elsewhere,
        &host,
        Method::GET,
        "/v1/host/stream",
    )
    .await;
    read(refused).await.refuses(401, "unknown-host");
    read(
        root.send(Method::DELETE, "/v1/hosts/web-1", &[], Default::default())
            .await,
    )
    .await
    .refuses(404, "no-host");
    let grant = running.as_("alice").get("/v1/grants/g1").await.is(200);
    assert_eq!(grant["state"], "revoked");
}

#[tokio::test]
async fn hosts_that_come_and_go_lapse_when_they_are_silent_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let lapse = |seconds: u32| json!({ "lapse_seconds": seconds, "uses": 2, "for_seconds": 60 });
    root.post("/v1/hosts/tokens", lapse(299)).await.is(422);
    let token = token(&root, lapse(300)).await;
    let (gone, stays) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    elsewhere.enrol(&token, "gone", &gone).await.is(201);
    let answer = elsewhere.enrol(&token, "stays", &stays).await;
    let stays = host(&root, &token, answer, stays);
    let path = "/v1/host/stream";
    let listening = call(&running.server, &elsewhere, &stays, Method::GET, path).await;
    let mut stream = Stream::of(listening);
    stream.next().await;
    for (seconds, removed) in [(299, &[][..]), (2, &["host_removed gone"])] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        running.server.tick().await.unwrap();
        let told = recorded(&root, &["host_removed"]).await;
        let told: Vec<_> = told
            .iter()
            .map(|(kind, of)| format!("{kind} {of}"))
            .collect();
        assert_eq!(told, removed);
    }
}

#[tokio::test]
async fn over_the_network_nobody_is_served_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    read(
        elsewhere
            .send(Method::GET, "/healthz", &[], json!({}))
            .await,
    )
    .await
    .is(200);
    for (method, path) in [
        (Method::GET, "/v1/whoami"),
        (Method::GET, "/v1/users"),
        (Method::GET, "/v1/hosts"),
        (Method::GET, "/v1/audit"),
        (Method::GET, "/v1/requests"),
        (Method::DELETE, "/v1/hosts/web-1"),
    ] {
        let answer = read(elsewhere.send(method, path, &[], json!({})).await).await;
        answer.refuses(401, "no-token");
    }
    let answer = elsewhere
        .send(
            Method::POST,
            "/v1/hosts/tokens",
            &[],
            json!({ "uses": 1, "for_seconds": 60 }),
        )
        .await;
    read(answer).await.refuses(401, "no-token");
}

#[tokio::test]
async fn whoever_is_no_host_in_time_is_cut_off_and_hosts_stay() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let mut stream = Stream::of(
        call(
            &running.server,
            &elsewhere,
            &host,
            Method::GET,
            "/v1/host/stream",
        )
        .await,
    );
    stream.next().await;
    let cut = async |mut connection: Box<dyn Slow>, said: &[u8]| {
        connection.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        // An end or a reset: either is a cut.
        let _ = tokio::time::timeout(Duration::from_secs(15), connection.read_to_end(&mut rest))
            .await
            .expect("it is cut off");
    };
    let plain = async || Box::new(TcpStream::connect(elsewhere.address).await.unwrap());
    let tls = async || Box::new(elsewhere.connect().await);
    let body = b"POST /v1/enrol HTTP/1.1\r\nHost: a\r\nJit-Client: a/1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    tokio::join!(
        cut(plain().await, b""),
        cut(plain().await, b"\x16\x03\x01"),
        cut(tls().await, b""),
        cut(tls().await, b"GET /healthz HTTP/1.1\r\nHost:"),
        cut(tls().await, body),
    );
    let request = running.as_("alice").asks(60).await;
    running.as_("bob").approves(&request).await;
    assert_eq!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .len(),
        1
    );
}

#[tokio::test]
async fn an_address_that_connects_for_nothing_is_turned_away_before_tls_and_its_hosts_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let path = "/v1/host/stream";
    let listening = call(&running.server, &elsewhere, &host, Method::GET, path).await;
    let mut stream = Stream::of(listening);
    stream.next().await;
    let flood = async {
        loop {
            for _ in 0..200 {
                let mut nothing = TcpStream::connect(elsewhere.address).await.unwrap();
                let _ = nothing.shutdown().await;
                let _ = nothing.read_to_end(&mut Vec::new()).await;
            }
            if elsewhere.try_to_connect().await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), flood)
        .await
        .unwrap();
    let request = running.as_("alice").asks(60).await;
    running.as_("bob").approves(&request).await;
    let told = host.verified(&running.server, &stream.next().await);
    assert_eq!(told.grants.len(), 1);
    // There is room again within a moment.
    let back = async { while elsewhere.try_to_connect().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(5), back)
        .await
        .unwrap();
}

trait Slow: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Slow for T {}

#[tokio::test]
async fn t25_a_token_that_is_over_tells_the_time_and_makes_the_connection_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let behind = running.server.now() - jiff::SignedDuration::from_hours(1);
    let old = format!(
        "Bearer {}",
        HostToken::sign(&host.id, &host.key, behind).unwrap()
    );
    let nonce = json!({ "nonce": jit_grant::Nonce::generate().unwrap() });
    let answer = elsewhere
        .send(
            Method::POST,
            "/v1/host/word",
            &[("authorization", &old)],
            nonce,
        )
        .await;
    assert!(read(answer).await.is(200)["word"].is_string());
}

#[tokio::test]
async fn more_hosts_of_one_address_than_may_be_strangers_at_a_time_come_in_all() {
    const HOSTS: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let elsewhere = running.listen_elsewhere().await;
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        let key = SigningKey::generate().unwrap();
        let name = format!("web-{number}").parse().unwrap();
        let enrolled = running.server.enrol(name, key.public()).await.unwrap();
        let id = &enrolled.host.host_id;
        let token = HostToken::sign(id, &key, running.server.now()).unwrap();
        hosts.push(format!("GET /v1/host/stream HTTP/1.1\r\nHost: jit.test\r\nJit-Client: test/1\r\nAuthorization: Bearer {token}\r\n\r\n"));
    }
    let (elsewhere, mut coming) = (std::sync::Arc::new(elsewhere), tokio::task::JoinSet::new());
    for request in hosts {
        let elsewhere = elsewhere.clone();
        coming.spawn(async move {
            loop {
                let Ok(mut stream) = elsewhere.try_to_connect().await else {
                    continue;
                };
                let mut answer = [0; 12];
                let asked = stream.write_all(request.as_bytes()).await;
                if asked.is_ok() && stream.read_exact(&mut answer).await.is_ok() {
                    assert_eq!(&answer, b"HTTP/1.1 200");
                    return stream;
                }
            }
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(30), coming.join_all()).await;
    let streams = all.unwrap();
    let listed = running.as_("root").get("/v1/hosts").await.is(200);
    let listed = listed.as_array().unwrap().iter();
    let connected = listed.filter(|host| host["connected"] == true).count();
    assert_eq!((streams.len(), connected), (HOSTS, HOSTS));
}
