//! Service accounts and tokens with scopes, as they are seen from outside.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Answer, Elsewhere, KEY, Person, Running, id, read};
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

fn scoped(scopes: &[&str]) -> Value {
    json!({ "for_seconds": 600, "scopes": scopes })
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
    let program = program(&running, &elsewhere, scoped(&["ask:web-admin"])).await;
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
        program.post(&path, body).await.refuses(403, "out-of-scope");
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
    let detail = refusal.body["detail"].as_str().unwrap();
    assert!(detail.contains("JIT_SERVER=https://"), "{detail}");
    refusal.refuses(403, "service-needs-token");
    let expected = ("mallory".to_owned(), "service-needs-token".to_owned());
    assert_eq!(refused(&running).await, [expected]);
}

/// Calls every operation of the description once; gives those that were not refused as out of scope, but those of hosts.
async fn walk(running: &Running, program: &Program<'_>) -> Vec<String> {
    let document = running.as_("root").get("/v1/openapi.json").await.is(200);
    let mut answered = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let id = if path.contains("grants") { "g1" } else { "r1" };
        let concrete = path.replace("{id}", id).replace("{name}", "bob");
        for method in item.as_object().unwrap().keys() {
            let verb: Method = method.to_uppercase().parse().unwrap();
            let call = format!("{verb} {path}");
            let bodies = if call == "POST /v1/requests" {
                json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "nightly job" })
            } else {
                json!({ "reason": "nightly job", "name": "eve", "login": "eve", "for_seconds": 60 })
            };
            let answer = program.call(verb, &concrete, bodies).await;
            // Hosts are known by their own tokens, and anybody may look whether the server lives.
            let of_hosts = path.starts_with("/v1/host/") || path == "/v1/enrol";
            if of_hosts {
                assert!(
                    matches!(answer.status.as_u16(), 401 | 403 | 422),
                    "{call}: {answer:?}"
                );
            } else if answer.body["code"] != "out-of-scope" {
                answered.push(call);
            } else {
                assert_eq!(answer.status, 403);
            }
        }
    }
    answered
}

#[tokio::test]
async fn a_token_to_read_changes_nothing_by_any_operation() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    add_service(&running.as_("root")).await;
    let elsewhere = running.listen_elsewhere().await;
    let program = program(&running, &elsewhere, scoped(&["read"])).await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    let kinds = async || {
        let record = running.as_("root").get("/v1/audit").await.is(200);
        let events = record["events"].as_array().unwrap().iter();
        let kinds = events.map(|event| event["kind"].as_str().unwrap().to_owned());
        kinds
            .filter(|kind| kind != "call_refused")
            .collect::<Vec<_>>()
    };
    let before = kinds().await;
    let answered = walk(&running, &program).await;
    let changing: Vec<_> = answered
        .iter()
        .filter(|call| !call.starts_with("GET "))
        .collect();
    // Any token makes the next one in its own place, which is for no more than it is.
    assert_eq!(changing, ["POST /v1/token/rotate"]);
    assert!(answered.contains(&"GET /v1/audit".to_owned()));
    assert_eq!(kinds().await, before);
    let code = ("mallory".to_owned(), "out-of-scope".to_owned());
    assert!(refused(&running).await.contains(&code));
}

#[tokio::test]
async fn each_scope_opens_its_own_operations_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    add_service(&running.as_("root")).await;
    let elsewhere = running.listen_elsewhere().await;
    let of_program = program(&running, &elsewhere, scoped(&["ask:web-admin"])).await;
    let root = running.as_("root");
    let made = root
        .post("/v1/users/bob/tokens", scoped(&["approve"]))
        .await;
    let of_person = Program {
        elsewhere: &elsewhere,
        token: made.is(201)["token"].as_str().unwrap().to_owned(),
    };
    for (token, opens) in [
        (
            &of_program,
            [
                "POST /v1/grants/{id}/extend",
                "POST /v1/grants/{id}/release",
                "POST /v1/requests",
                "POST /v1/requests/{id}/withdraw",
                "POST /v1/token/rotate",
            ],
        ),
        (
            &of_person,
            [
                "POST /v1/grants/{id}/revoke",
                "POST /v1/requests/{id}/approve",
                "POST /v1/requests/{id}/deny",
                "POST /v1/requests/{id}/review",
                "POST /v1/token/rotate",
            ],
        ),
    ] {
        let answered = walk(&running, token).await;
        let mut changing: Vec<_> = answered
            .iter()
            .filter(|call| !call.starts_with("GET "))
            .collect();
        changing.sort();
        assert_eq!(changing, opens);
        assert!(!answered.contains(&"GET /v1/audit".to_owned()));
    }
}

#[tokio::test]
async fn a_token_asks_for_its_role_on_its_hosts_alone_and_gives_up_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    common::Host::enrol(&running.as_("root"), "web-2").await;
    let root = running.as_("root");
    let service =
        json!({ "name": "mallory", "login": "mallory", "groups": ["developers"], "service": true });
    root.post("/v1/users", service).await.is(201);
    let elsewhere = running.listen_elsewhere().await;
    let narrow = program(&running, &elsewhere, scoped(&["ask:web-admin@web-1"])).await;
    let wide = program(&running, &elsewhere, scoped(&["ask:web-admin@web-*"])).await;
    let other = program(&running, &elsewhere, scoped(&["ask:database", "read"])).await;
    narrow.asks("web-admin", "web-1").await.is(201);
    narrow
        .asks("web-admin", "web-2")
        .await
        .refuses(403, "out-of-scope");
    // No host is named: every host of the role is meant, and one of them is out of scope.
    let all = json!({ "role": "web-admin", "for_seconds": 60, "reason": "nightly job" });
    running.as_("bob").approves("r1").await;
    narrow
        .post("/v1/requests", all.clone())
        .await
        .refuses(403, "out-of-scope");
    let asked = id(&wide.post("/v1/requests", all).await.is(201));
    let withdraw = format!("/v1/requests/{asked}/withdraw");
    for token in [&narrow, &other] {
        let refused = token.post(&withdraw, json!({})).await;
        refused.refuses(403, "out-of-scope");
    }
    wide.post(&withdraw, json!({})).await.is(200);
    let release = "/v1/grants/g1/release";
    let refused = other.post(release, json!({})).await;
    refused.refuses(403, "out-of-scope");
    narrow.post(release, json!({})).await.is(200);
    let whoami = narrow.get("/v1/whoami").await.is(200);
    assert_eq!(whoami["token"]["scopes"], json!(["ask:web-admin@web-1"]));
    let listed = root.get("/v1/users/mallory/tokens").await.is(200);
    assert_eq!(listed[2]["scopes"], json!(["read", "ask:database"]));
}

#[tokio::test]
async fn a_service_account_gets_no_token_without_a_scope_nor_one_that_decides() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    add_service(&root).await;
    let day = 86_400;
    for (user, body, code) in [
        ("mallory", json!({ "for_seconds": 60 }), "needs-scope"),
        ("mallory", scoped(&["read", "approve"]), "never-approves"),
        (
            "mallory",
            json!({ "for_seconds": 365 * day + 1, "scopes": ["read"] }),
            "token-too-long",
        ),
        (
            "alice",
            json!({ "for_seconds": 90 * day + 1, "scopes": ["read"] }),
            "token-too-long",
        ),
        ("alice", json!({ "for_seconds": 0 }), "token-too-long"),
        ("alice", scoped(&["write"]), "bad-body"),
    ] {
        let path = format!("/v1/users/{user}/tokens");
        root.post(&path, body).await.refuses(422, code);
    }
    let many: Vec<String> = (0..17).map(|number| format!("ask:role-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = root.post("/v1/users/alice/tokens", scoped(&many)).await;
    refused.refuses(422, "too-many-scopes");
    let year = json!({ "for_seconds": 365 * day, "scopes": ["read"] });
    root.post("/v1/users/mallory/tokens", year).await.is(201);
}

#[tokio::test]
async fn a_service_account_with_hours_asks_within_them_alone() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let with = |service: bool, hours: Value| json!({ "name": "mallory", "login": "mallory", "groups": ["developers"], "service": service, "hours": hours });
    let window =
        |days: &str| json!({ "days": [days], "from": "00:00", "to": "24:00", "zone": "UTC" });
    for wrong in [
        with(false, json!([window("mon-sun")])),
        with(true, json!([window("someday")])),
        with(true, json!(vec![window("mon"); 17])),
    ] {
        root.post("/v1/users", wrong)
            .await
            .refuses(422, "bad-hours");
    }
    let in_three_days = running.server.now() + jiff::SignedDuration::from_hours(72);
    let day = in_three_days.strftime("%a").to_string().to_lowercase();
    let closed = with(true, json!([window(&day)]));
    root.post("/v1/users", closed).await.is(201);
    let program = program(&running, &elsewhere, scoped(&["ask:web-admin"])).await;
    let refused = program.asks("web-admin", "web-1").await;
    refused.refuses(403, "outside-own-hours");
    let explained = root
        .get("/v1/policy/explain?principal=mallory&role=web-admin&host=web-1")
        .await
        .is(200);
    assert_eq!(explained["code"], "outside-own-hours", "{explained}");
    // Other hours are no other account: its tokens count on.
    let open = with(true, json!([window(&day), window("mon-sun")]));
    let shown = root.post("/v1/users", open).await.is(201);
    assert_eq!(shown["hours"][1]["days"], json!(["mon-sun"]));
    program.asks("web-admin", "web-1").await.is(201);
}

#[tokio::test]
async fn a_program_rotates_its_own_token_and_who_rotates_the_old_one_later_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    add_service(&running.as_("root")).await;
    let elsewhere = running.listen_elsewhere().await;
    let old = program(&running, &elsewhere, scoped(&["ask:web-admin"])).await;
    let rotate = async |program: &Program<'_>| program.post("/v1/token/rotate", json!({})).await;
    let lost = rotate(&old).await.is(201);
    assert_eq!(lost["id"], "u2");
    // The answer came to nobody: it is asked for again, and the token in it ends.
    let made = rotate(&old).await.is(201);
    assert_eq!(
        (&made["id"], &made["scopes"]),
        (&json!("u3"), &json!(["ask:web-admin"]))
    );
    let of = |made: &Value| Program {
        elsewhere: &elsewhere,
        token: made["token"].as_str().unwrap().to_owned(),
    };
    let unseen = of(&lost).get("/v1/whoami").await;
    unseen.refuses(401, "bad-token");
    let next = of(&made);
    let whoami = next.get("/v1/whoami").await.is(200);
    assert_eq!(whoami["token"]["id"], "u3");
    next.get("/v1/whoami").await.is(200);
    // For an hour the old one counts, and makes no other.
    old.asks("web-admin", "web-1").await.is(201);
    rotate(&old).await.refuses(409, "rotated-already");
    let code = ("mallory".to_owned(), "rotated-already".to_owned());
    assert!(refused(&running).await.contains(&code));
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    let told: Vec<_> = events
        .filter(|event| event["kind"].as_str().unwrap().starts_with("user_token"))
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let replaces = text(&event["detail"]["replaces"]["token"]);
            format!(
                "{} {} {} {replaces}",
                text(&event["actor"]),
                text(&event["kind"]),
                text(&event["subject"])
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "@administrator user_token_made u1 ",
            "mallory user_token_made u2 u1",
            "mallory user_token_revoked u2 ",
            "mallory user_token_made u3 u1",
            "@server user_token_refused u2 ",
            "@server user_token_seen u3 ",
        ]
    );
}

#[tokio::test]
async fn root_rotates_a_token_and_the_old_one_is_over_after_the_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    add_service(&root).await;
    let elsewhere = running.listen_elsewhere().await;
    let old = program(&running, &elsewhere, scoped(&["read"])).await;
    let path = "/v1/users/mallory/tokens/u1/rotate";
    let long = json!({ "overlap_seconds": 3_601 });
    root.post(path, long).await.refuses(422, "overlap-too-long");
    let made = root
        .post(path, json!({ "overlap_seconds": 0 }))
        .await
        .is(201);
    old.get("/v1/whoami").await.refuses(401, "bad-token");
    let token = made["token"].as_str().unwrap().to_owned();
    let next = Program {
        elsewhere: &elsewhere,
        token,
    };
    next.get("/v1/whoami").await.is(200);
    next.asks("web-admin", "web-1")
        .await
        .refuses(403, "out-of-scope");
    root.post(path, json!({}))
        .await
        .refuses(404, "no-user-token");
    let other = "/v1/users/bob/tokens/u2/rotate";
    root.post(other, json!({}))
        .await
        .refuses(404, "no-user-token");
    let alice = running.as_("alice");
    let path = "/v1/users/mallory/tokens/u2/rotate";
    alice
        .post(path, json!({}))
        .await
        .refuses(403, "not-administrator");
    let without = alice.post("/v1/token/rotate", json!({})).await;
    without.refuses(403, "no-token-shown");
}

#[tokio::test]
async fn a_call_that_leaves_a_limit_out_takes_none_away() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    let window = json!({ "days": ["mon-sun"], "from": "00:00", "to": "24:00", "zone": "UTC" });
    let logins = json!([{ "hosts": ["db-*"], "login": "postgres" }]);
    let limits = json!({ "until": "2099-12-31", "service": true, "hours": [window], "logins": logins, "keys": [KEY] });
    let none = json!({ "until": null, "service": false, "hours": [], "logins": [], "keys": [] });
    let set = async |limits: &Value| {
        let mut body = json!({ "name": "deploy", "login": "deploy" });
        let fields = limits.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        root.post("/v1/users", body).await
    };
    let made = set(&limits).await.is(201);
    assert_eq!(made["changed"], json!([]));
    for left_out in ["until", "service", "hours", "logins", "keys"] {
        let mut fewer = limits.clone();
        fewer.as_object_mut().unwrap().remove(left_out);
        if left_out == "service" {
            fewer["hours"] = json!([]);
        }
        let refused = set(&fewer).await;
        let detail = refused.body["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(left_out), "{detail}");
        refused.refuses(409, "drops-limits");
    }
    set(&json!({})).await.refuses(409, "drops-limits");
    let users = root.get("/v1/users").await.is(200);
    assert_eq!(users[0]["service"], true, "nothing was changed: {users}");
    // What is said goes.
    let set_anew = set(&none).await.is(201);
    assert_eq!(
        (&set_anew["service"], &set_anew["until"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(set_anew["changed"].as_array().unwrap().len(), 5);
    set(&json!({})).await.is(201);
}

#[tokio::test]
async fn a_token_that_is_not_for_figures_is_on_record_where_it_is_shown_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    add_service(&running.as_("root")).await;
    let elsewhere = running.listen_elsewhere().await;
    let program = program(&running, &elsewhere, scoped(&["ask:web-admin"])).await;
    program.get("/metrics").await.refuses(403, "out-of-scope");
    let expected = ("mallory".to_owned(), "out-of-scope".to_owned());
    assert_eq!(refused(&running).await, [expected]);
}
