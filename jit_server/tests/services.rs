//! Service accounts and tokens with scopes, as they are seen from outside.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Answer, Elsewhere, Person, Running, id, read};
use hyper::Method;
use serde_json::{Value, json};

/// A program at another machine.
struct Program<'a> {
    elsewhere: &'a Elsewhere,
    token: String,
}

impl Program<'_> {
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

    async fn asks(&self, role: &str, host: &str) -> Answer {
        let wanted =
            json!({ "role": role, "hosts": [host], "for_seconds": 60, "reason": "nightly job" });
        self.post("/v1/requests", wanted).await
    }
}

/// mallory's account on the server's machine is that of a program in both groups.
async fn add_service(root: &Person) {
    let service = json!({ "name": "mallory", "login": "mallory", "groups": ["developers", "leads"], "service": true });
    assert_eq!(
        root.post("/v1/users", service).await.is(201)["service"],
        true
    );
}

async fn program<'a>(running: &Running, elsewhere: &'a Elsewhere, body: Value) -> Program<'a> {
    let made = running
        .as_("root")
        .post("/v1/users/mallory/tokens", body)
        .await;
    let token = made.is(201)["token"].as_str().unwrap().to_owned();
    Program { elsewhere, token }
}

async fn refused(running: &Running) -> Vec<(String, String)> {
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    let refused = events.filter(|event| event["kind"] == "call_refused");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    refused
        .map(|event| (text(&event["actor"]), text(&event["detail"]["code"])))
        .collect()
}

#[tokio::test]
async fn a_service_account_asks_by_its_token_and_decides_nothing_though_it_is_in_the_group_that_does()
 {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    add_service(&running.as_("root")).await;
    let elsewhere = running.listen_elsewhere().await;
    let program = program(&running, &elsewhere, json!({ "for_seconds": 600 })).await;
    assert_eq!(
        program.get("/v1/whoami").await.is(200)["principal"],
        "mallory"
    );
    let asked = id(&program.asks("web-admin", "web-1").await.is(201));
    running.as_("bob").approves(&asked).await;
    let other = running.as_("alice").asks(60).await;
    for what in ["approve", "deny"] {
        let body = if what == "deny" {
            json!({ "reason": "no no" })
        } else {
            json!({})
        };
        let path = format!("/v1/requests/{other}/{what}");
        program.post(&path, body).await.is(404);
    }
    let shown = running
        .as_("alice")
        .get(&format!("/v1/requests/{other}"))
        .await
        .is(200);
    assert!(!shown.to_string().contains("mallory"), "{shown}");
}

#[tokio::test]
async fn at_the_socket_a_service_account_is_refused_and_that_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    add_service(&running.as_("root")).await;
    let account = running.as_("mallory");
    let refusal = account.get("/v1/whoami").await;
    refusal.refuses(403, "service-needs-token");
    let expected = ("mallory".to_owned(), "service-needs-token".to_owned());
    assert_eq!(refused(&running).await, [expected]);
}
