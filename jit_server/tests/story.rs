//! Requests, approvals and grants as people meet them.

mod common;

use std::time::{Duration, Instant};

use common::{POLICY, Running, id, read};
use hyper::Method;
use hyper::body::Bytes;
use serde_json::json;

#[tokio::test]
async fn an_approved_request_reaches_the_host_as_a_signed_bundle_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    assert!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .is_empty()
    );

    let request = running.as_("alice").asks(600).await;
    let before = Instant::now();
    let approved = running.as_("bob").approves(&request).await;
    let bundle = host.verified(&running.server, &stream.next().await);
    let took = before.elapsed();

    assert_eq!(approved["state"], "approved");
    assert_eq!(approved["grants"], json!(["g1"]));
    let [grant] = bundle.grants.as_slice() else {
        panic!("{bundle:?}")
    };
    assert_eq!(
        (
            grant.principal.as_str(),
            grant.login.as_str(),
            grant.role.as_str()
        ),
        ("alice", "alice", "web-admin")
    );
    assert_eq!(
        grant.expires.duration_since(grant.not_before).as_secs(),
        600
    );
    assert_eq!(
        (grant.allow.ssh, grant.allow.sudo, grant.allow.su),
        (true, true, false)
    );
    assert_eq!((grant.keys.len(), grant.shared), (1, false));
    assert_eq!(
        (
            grant.request.reason.as_str(),
            grant.approvals[0].by.as_str()
        ),
        ("disk full", "bob")
    );
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_revoked_and_a_released_grant_leave_the_bundle_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    for _ in 0..2 {
        let request = running.as_("alice").asks(600).await;
        running.as_("bob").approves(&request).await;
    }
    let mut stream = host.listen(&running.server, 0).await;
    assert_eq!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .len(),
        2
    );

    let because = json!({ "reason": "the disk is fine" });
    let revoked = running
        .as_("root")
        .post("/v1/grants/g1/revoke", because.clone())
        .await
        .is(200);
    assert_eq!(
        (revoked["state"].as_str(), revoked["ended"]["by"].as_str()),
        (Some("revoked"), Some("@administrator"))
    );
    assert_eq!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .len(),
        1
    );

    let released = running
        .as_("alice")
        .post("/v1/grants/g2/release", json!({}))
        .await
        .is(200);
    assert_eq!(released["state"], "released");
    assert_eq!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .len(),
        0
    );
    running
        .as_("bob")
        .post("/v1/grants/g2/revoke", because)
        .await
        .refuses(409, "grant-ended");
}

#[tokio::test]
async fn two_approvals_are_two_people() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let ask =
        json!({ "role": "database", "for_seconds": 60, "reason": "slow query", "ticket": "OPS-7" });
    let asked = running.as_("alice").post("/v1/requests", ask).await.is(201);
    assert_eq!(
        (asked["needed"].as_u64(), &asked["hosts"]),
        (Some(2), &json!(["web-1"]))
    );
    let request = id(&asked);
    assert_eq!(
        running.as_("bob").approves(&request).await["state"],
        "pending"
    );
    let approve = format!("/v1/requests/{request}/approve");
    running
        .as_("bob")
        .post(&approve, json!({}))
        .await
        .refuses(409, "already-approved");
    running
        .as_("alice")
        .post(&approve, json!({}))
        .await
        .refuses(403, "own-request");
    running
        .as_("root")
        .post(&approve, json!({}))
        .await
        .refuses(403, "no-user");
    running
        .as_("carol")
        .post(&approve, json!({ "for_seconds": 61 }))
        .await
        .refuses(422, "lengthened");
    let done = running
        .as_("carol")
        .post(
            &approve,
            json!({ "for_seconds": 30, "comment": "be quick" }),
        )
        .await
        .is(200);
    assert_eq!(done["state"], "approved");
    let timeline: Vec<_> = done["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["what"].as_str().unwrap())
        .collect();
    assert_eq!(timeline, ["requested", "approved", "approved", "granted"]);
}

#[tokio::test]
async fn who_waits_for_a_decision_hears_of_it_when_it_falls() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let request = running.as_("alice").asks(600).await;
    let (alice, path) = (
        running.as_("alice"),
        format!("/v1/requests/{request}?wait_seconds=30&while=pending"),
    );
    let waiting = tokio::spawn(async move { alice.get(&path).await });
    running
        .as_("bob")
        .post(
            &format!("/v1/requests/{request}/deny"),
            json!({ "reason": "use staging" }),
        )
        .await
        .is(200);
    let told = tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap()
        .is(200);
    assert_eq!(
        (told["state"].as_str(), told["denied"]["reason"].as_str()),
        (Some("denied"), Some("use staging"))
    );
}

#[tokio::test]
async fn the_queue_shows_what_the_caller_can_approve() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let (by_alice, by_carol) = (
        running.as_("alice").asks(600).await,
        running.as_("carol").asks(600).await,
    );
    let queue = "/v1/requests?state=pending&for_me=true";
    let ids = |body: serde_json::Value| body.as_array().unwrap().iter().map(id).collect::<Vec<_>>();
    assert_eq!(
        ids(running.as_("carol").get(queue).await.is(200)),
        std::slice::from_ref(&by_alice)
    );
    assert_eq!(
        ids(running.as_("bob").get(queue).await.is(200)),
        [by_carol.clone(), by_alice.clone()]
    );
    assert!(ids(running.as_("alice").get(queue).await.is(200)).is_empty());
    running
        .as_("alice")
        .post(&format!("/v1/requests/{by_alice}/withdraw"), json!({}))
        .await
        .is(200);
    assert_eq!(ids(running.as_("bob").get(queue).await.is(200)), [by_carol]);
}

#[tokio::test]
async fn a_changed_policy_counts_from_the_next_call_and_a_wrong_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let policy = folder.path().join("policy.toml");
    let ask = |seconds: u32| json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": seconds, "reason": "disk full" });

    std::fs::write(&policy, common::POLICY.replace("\"4h\"", "\"5m\"")).unwrap();
    running
        .as_("alice")
        .post("/v1/requests", ask(600))
        .await
        .refuses(422, "too-long");
    std::fs::write(&policy, common::POLICY.replace("longest", "lnogest")).unwrap();
    running
        .as_("alice")
        .post("/v1/requests", ask(600))
        .await
        .refuses(422, "too-long");
    running
        .as_("alice")
        .post("/v1/requests", ask(300))
        .await
        .is(201);

    let record = running.as_("root").get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap();
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((of("policy_taken"), of("policy_refused")), (2, 1));
    let refused = events
        .iter()
        .find(|event| event["kind"] == "policy_refused")
        .unwrap();
    assert!(
        refused["detail"]["mistakes"]
            .to_string()
            .contains("policy.toml:6: roles.web-admin.lnogest: unknown key"),
        "{refused}"
    );
}

#[tokio::test]
async fn text_that_a_terminal_would_obey_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    for reason in ["\u{1b}[2Jgone", "a\u{202e}b c", "x", "zero\u{200b}width"] {
        let ask = json!({ "role": "web-admin", "for_seconds": 60, "reason": reason });
        let refused = running.as_("alice").post("/v1/requests", ask).await.is(422);
        assert_eq!(refused["code"], "bad-body");
        let told = refused["detail"].as_str().unwrap();
        assert!(
            told.starts_with("the reason ") && !told.contains("column") && told.is_ascii(),
            "{told}"
        );
    }
}

#[tokio::test]
async fn an_extended_grant_reaches_the_host_under_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let policy = common::POLICY
        .replace(
            "longest = \"4h\"",
            "longest = \"4h\"\nextendable = \"30m\"\nextend_without_approval = true",
        )
        .replace("longest = \"1h\"", "longest = \"1h\"\nextendable = \"30m\"");
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    let mut stream = host.listen(&running.server, 0).await;
    let before = host.verified(&running.server, &stream.next().await).grants;

    let more = json!({ "for_seconds": 300 });
    let path = "/v1/grants/g1/extend";
    running
        .as_("bob")
        .post(path, more.clone())
        .await
        .refuses(403, "not-yours");
    let done = running.as_("alice").post(path, more.clone()).await.is(200);
    assert_eq!(done["request"], json!(null));
    let after = host.verified(&running.server, &stream.next().await).grants;
    assert_eq!(after[0].id, before[0].id);
    assert_eq!(
        after[0].expires.duration_since(before[0].expires).as_secs(),
        300
    );
    let limit = after[0].extendable_until.unwrap();
    assert_eq!(
        limit.duration_since(after[0].not_before).as_secs(),
        4 * 3_600
    );

    let ask = json!({ "role": "database", "for_seconds": 600, "reason": "slow query" });
    let asked = id(&running.as_("alice").post("/v1/requests", ask).await.is(201));
    for approver in ["bob", "carol"] {
        running.as_(approver).approves(&asked).await;
    }
    let pending = running
        .as_("alice")
        .post("/v1/grants/g2/extend", more)
        .await
        .is(202);
    assert_eq!(
        (&pending["request"]["state"], &pending["request"]["extends"]),
        (&json!("pending"), &json!("g2"))
    );
}

#[tokio::test]
async fn a_locked_user_loses_everything_and_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    let undecided = running.as_("alice").asks(60).await;
    let mut stream = host.listen(&running.server, 0).await;
    assert_eq!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .len(),
        1
    );

    let (lock, because) = ("/v1/users/alice/lock", json!({ "reason": "laptop stolen" }));
    running
        .as_("bob")
        .post(lock, because.clone())
        .await
        .refuses(403, "may-not-lock");
    let locked = running
        .as_("root")
        .post(lock, because.clone())
        .await
        .is(200);
    assert_eq!(
        (&locked["changed"], &locked["ended"]),
        (&json!(true), &json!(["g1"]))
    );
    assert!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .is_empty()
    );
    let shown = running
        .as_("alice")
        .get(&format!("/v1/requests/{undecided}"))
        .await
        .is(200);
    assert_eq!(
        (&shown["state"], &shown["denied"]["by"]),
        (&json!("denied"), &json!("@administrator"))
    );
    let ask = json!({ "role": "web-admin", "for_seconds": 60, "reason": "disk full" });
    let refused = running
        .as_("alice")
        .post("/v1/requests", ask.clone())
        .await
        .is(403);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("laptop stolen"),
        "{refused}"
    );

    let whoami = running.as_("alice").get("/v1/whoami").await.is(200);
    assert_eq!(whoami["lock"]["reason"], "laptop stolen");
    running
        .as_("alice")
        .get("/v1/locks")
        .await
        .refuses(403, "may-not-lock");
    let locks = running.as_("root").get("/v1/locks").await.is(200);
    assert_eq!(locks.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&locks[0]["principal"], &locks[0]["by"], &locks[0]["reason"]),
        (
            &json!("alice"),
            &json!("@administrator"),
            &json!("laptop stolen")
        )
    );
    assert_eq!(locks[0]["at"], whoami["lock"]["at"]);

    let again = running.as_("root").post(lock, because).await.is(200);
    assert_eq!(again["changed"], json!(false));
    let users = running.as_("root").get("/v1/users").await.is(200);
    assert_eq!(users[0]["lock"]["reason"], "laptop stolen");
    let unlock = "/v1/users/alice/unlock";
    assert_eq!(
        running.as_("root").post(unlock, json!({})).await.is(200)["lock"],
        json!(null)
    );
    let nobody = running.as_("root").get("/v1/locks").await.is(200);
    let whoami = running.as_("alice").get("/v1/whoami").await.is(200);
    assert_eq!((nobody, &whoami["lock"]), (json!([]), &json!(null)));
    assert_eq!(
        running
            .as_("alice")
            .get("/v1/grants?active=true")
            .await
            .is(200),
        json!([])
    );
    running.as_("alice").post("/v1/requests", ask).await.is(201);
}

#[tokio::test]
async fn whoever_may_lock_sees_who_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let policy = format!("may_lock = {{ users = [\"bob\"] }}\n{POLICY}");
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let because = json!({ "reason": "laptop stolen" });
    let bob = running.as_("bob");
    bob.post("/v1/users/alice/lock", because).await.is(200);
    let locks = bob.get("/v1/locks").await.is(200);
    assert_eq!(
        (&locks[0]["principal"], &locks[0]["by"]),
        (&json!("alice"), &json!("bob"))
    );
    let carol = running.as_("carol").get("/v1/locks").await;
    carol.refuses(403, "may-not-lock");
}

#[tokio::test]
async fn a_list_in_pages_has_each_once_also_while_more_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let alice = running.as_("alice");
    let mut asked = Vec::new();
    for _ in 0..7 {
        let id = alice.asks(600).await;
        let path = format!("/v1/requests/{id}/withdraw");
        alice.post(&path, json!({})).await.is(200);
        asked.insert(0, id);
    }
    let mut next = Some("/v1/requests?state=withdrawn&limit=3".to_owned());
    let (mut found, mut pages) = (Vec::new(), 0);
    while let Some(path) = next {
        let answer = alice.send(Method::GET, &path, &[], Bytes::new()).await;
        let link = answer.headers().get("link");
        let link = link.map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| {
            let path = link.strip_prefix('<').unwrap();
            path.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
        let page = read(answer).await.is(200);
        found.extend(page.as_array().unwrap().iter().map(id));
        pages += 1;
        let newer = alice.asks(600).await;
        let path = format!("/v1/requests/{newer}/withdraw");
        alice.post(&path, json!({})).await.is(200);
    }
    assert_eq!((found, pages), (asked, 3));
    for wrong in ["limit=0", "limit=501", "before=17", "befor=r1"] {
        alice.get(&format!("/v1/requests?{wrong}")).await.is(400);
        alice.get(&format!("/v1/grants?{wrong}")).await.is(400);
    }
}
