//! Who may do and see what.

mod common;

use common::{Running, read};
use hyper::Method;
use hyper::body::Bytes;
use serde_json::json;

#[tokio::test]
async fn only_root_administers() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    for name in ["alice", "mallory"] {
        let person = running.as_(name);
        person
            .get("/v1/users")
            .await
            .refuses(403, "not-administrator");
        person
            .post("/v1/users", json!({ "name": "eve", "login": "eve" }))
            .await
            .refuses(403, "not-administrator");
        let host = json!({ "name": "web-9", "public_key": "A".repeat(43) });
        person
            .post("/v1/hosts", host)
            .await
            .refuses(403, "not-administrator");
    }
    let whoami = running.as_("root").get("/v1/whoami").await.is(200);
    assert_eq!(
        whoami,
        json!({ "administrator": true, "principal": null, "lock": null, "token": null, "to_confirm": [], "to_review": [], "to_review_more": 0, "until": null })
    );
}

#[tokio::test]
async fn an_account_that_is_no_user_sees_and_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let request = running.as_("alice").asks(60).await;
    let mallory = running.as_("mallory");
    assert_eq!(
        mallory.get("/v1/whoami").await.is(200),
        json!({ "administrator": false, "principal": null, "lock": null, "token": null, "to_confirm": [], "to_review": [], "to_review_more": 0, "until": null })
    );
    for path in [
        "/v1/roles",
        "/v1/requests",
        "/v1/grants",
        "/v1/audit",
        "/v1/hosts",
        "/v1/locks",
        "/v1/changes",
        &format!("/v1/requests/{request}"),
    ] {
        mallory.get(path).await.refuses(403, "no-user");
    }
    mallory
        .post(&format!("/v1/requests/{request}/approve"), json!({}))
        .await
        .refuses(403, "no-user");
}

#[tokio::test]
async fn people_do_not_see_what_does_not_concern_them() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    running
        .as_("root")
        .post(
            "/v1/users",
            json!({ "name": "mallory", "login": "mallory" }),
        )
        .await
        .is(201);
    let request = running.as_("alice").asks(60).await;
    running.as_("bob").approves(&request).await;

    let mallory = running.as_("mallory");
    mallory
        .get(&format!("/v1/requests/{request}"))
        .await
        .refuses(404, "no-request");
    mallory.get("/v1/grants/g1").await.refuses(404, "no-grant");
    mallory
        .post("/v1/grants/g1/revoke", json!({ "reason": "mischief" }))
        .await
        .refuses(404, "no-grant");
    for path in ["/v1/requests", "/v1/grants", "/v1/hosts", "/v1/roles"] {
        assert_eq!(mallory.get(path).await.is(200), json!([]), "{path}");
    }
    let record = mallory.get("/v1/audit").await.is(200);
    let kinds: Vec<_> = record["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["user_set"], "that he was added himself");
    let ask = json!({ "role": "web-admin", "for_seconds": 60, "reason": "mischief" });
    mallory
        .post("/v1/requests", ask)
        .await
        .refuses(403, "may-not-ask");
}

#[tokio::test]
async fn an_account_whose_login_several_users_share_is_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    for name in ["mal", "lory"] {
        running
            .as_("root")
            .post("/v1/users", json!({ "name": name, "login": "mallory" }))
            .await
            .is(201);
    }
    running
        .as_("mallory")
        .get("/v1/whoami")
        .await
        .refuses(403, "shared-login");
}

#[tokio::test]
async fn every_call_names_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    let without = [("jit-client", "")];
    for path in ["/v1/whoami", "/v1/users"] {
        read(root.send(Method::GET, path, &without, Bytes::new()).await)
            .await
            .refuses(400, "no-client");
    }
    for path in ["/healthz", "/v1/openapi.json"] {
        read(root.send(Method::GET, path, &without, Bytes::new()).await)
            .await
            .is(200);
    }
}

#[tokio::test]
async fn a_body_is_bounded_typed_and_has_no_key_that_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    root.post(
        "/v1/users",
        json!({ "name": "eve", "login": "eve", "admin": true }),
    )
    .await
    .refuses(422, "bad-body");
    root.post("/v1/users", json!({ "name": "eve", "login": "root" }))
        .await
        .refuses(422, "bad-body");
    // Serde would fill a struct from its fields in order.
    root.post("/v1/users", json!(["eve", "eve", [], []]))
        .await
        .refuses(422, "bad-body");
    root.post(
        "/v1/users",
        json!({ "name": "eve", "login": "e".repeat(70_000) }),
    )
    .await
    .is(413);
    let form = [("content-type", "text/plain")];
    read(
        root.send(Method::POST, "/v1/users", &form, Bytes::from("{}"))
            .await,
    )
    .await
    .is(415);
    root.get("/v1/nothing").await.is(404);
    root.post("/v1/whoami", json!({})).await.is(405);
}
