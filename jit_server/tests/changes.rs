//! Changes that need a second person: what root wants, who confirms it, and what neither can do alone.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "common/confirmers.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod confirmers;

use common::{POLICY, Running};
use confirmers::{Held, holding, holding_two, token, write_policy};
use serde_json::{Value, json};

fn dave() -> Value {
    json!({ "name": "dave", "login": "dave" })
}

/// What the record has since, by kind.
async fn kinds(running: &Running) -> Vec<String> {
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    let kinds = events.map(|event| event["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| kind != "call_refused").collect()
}

/// Alarms that a user without any part in it is told, after those of the tokens that bob and carol had before changes needed them.
async fn alarms(running: &Running) -> Vec<Value> {
    let all = all_alarms(running).await;
    all[2..].to_vec()
}

async fn all_alarms(running: &Running) -> Vec<Value> {
    let record = running.as_("alice").get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    let alarms = events.filter(|event| event["kind"] == "alarm");
    alarms
        .map(|event| event["detail"]["alarm"].clone())
        .collect()
}

#[tokio::test]
async fn what_root_wants_of_a_user_waits_until_somebody_else_has_confirmed_it() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let root = held.running.as_("root");
    let answer = root.post("/v1/users", dave()).await.is(202);
    assert_eq!(
        answer["held"],
        json!({ "change": "c1", "needs": 1, "able": ["bob", "carol"] })
    );
    assert_eq!(held.login_of("dave").await, None);
    let again = root.post("/v1/users", dave()).await.is(202);
    assert_eq!(again["held"]["change"], "c1", "the same waits already");

    for (who, waits) in [
        ("bob", json!(["c1"])),
        ("alice", json!([])),
        ("root", json!([])),
    ] {
        let whoami = held.running.as_(who).get("/v1/whoami").await.is(200);
        assert_eq!(whoami["to_confirm"], waits, "{who}");
    }
    let shown = held.gets(&held.bob, "/v1/changes/c1").await.is(200);
    assert_eq!(shown["summary"], json!(["+ user dave: login dave"]));
    assert_eq!(shown["now"]["changes"][0]["details"], json!(["login dave"]));
    let confirmed = held.confirms(&held.bob, "c1").await.is(200);
    assert_eq!(
        (&confirmed["state"], &confirmed["ended"]["by"]),
        (&json!("done"), &json!("bob"))
    );
    assert_eq!(held.login_of("dave").await.as_deref(), Some("dave"));
    let kinds = kinds(&held.running).await;
    let tail: Vec<&str> = kinds
        .iter()
        .rev()
        .take(4)
        .rev()
        .map(String::as_str)
        .collect();
    assert_eq!(
        tail,
        [
            "change_proposed",
            "change_confirmed",
            "change_done",
            "user_set"
        ]
    );
    held.confirms(&held.bob, "c1")
        .await
        .refuses(409, "change-ended");
}

#[tokio::test]
async fn who_is_known_by_his_account_confirms_and_denies_nothing_nor_does_root_or_a_token_with_scopes()
 {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let change = held.sets(dave()).await;
    let shown = held.gets(&held.bob, "/v1/changes/c1").await.is(200);
    let seen = json!({ "digest": shown["now"]["digest"] });
    let (confirm, deny) = (
        format!("/v1/changes/{change}/confirm"),
        format!("/v1/changes/{change}/deny"),
    );
    for who in ["root", "bob"] {
        let who = held.running.as_(who);
        who.post(&confirm, seen.clone())
            .await
            .refuses(403, "confirm-needs-token");
        who.post(&deny, json!({ "reason": "not so" }))
            .await
            .refuses(403, "confirm-needs-token");
    }
    let root = held.running.as_("root");
    let made = json!({ "for_seconds": 600, "scopes": ["approve", "read"] });
    let made = root.post("/v1/users/bob/tokens", made).await.is(201);
    let scoped = made["token"].as_str().unwrap();
    held.posts(scoped, &confirm, seen.clone())
        .await
        .refuses(403, "out-of-scope");
    let alice = token(&held.running, "alice").await;
    held.posts(&alice, &confirm, seen)
        .await
        .refuses(403, "may-not-confirm");
    held.gets(&alice, "/v1/changes")
        .await
        .refuses(403, "may-not-confirm");
    assert_eq!(held.login_of("dave").await, None);
    assert!(alarms(&held.running).await.is_empty());
}

#[tokio::test]
async fn a_token_that_root_makes_for_one_who_confirms_alarms_everybody_and_his_own_rotation_nobody()
{
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let rotated = held
        .posts(
            &held.bob,
            "/v1/token/rotate",
            json!({ "overlap_seconds": 60 }),
        )
        .await;
    rotated.is(201);
    assert!(alarms(&held.running).await.is_empty());
    token(&held.running, "alice").await;
    assert!(
        alarms(&held.running).await.is_empty(),
        "alice confirms nothing"
    );

    let forged = token(&held.running, "carol").await;
    let alarm = json!({ "cause": "confirmers_token", "token": "u5", "user": "carol" });
    assert_eq!(alarms(&held.running).await, [alarm]);
    let root = held.running.as_("root");
    let path = "/v1/users/carol/tokens/u5/rotate";
    root.post(path, json!({ "overlap_seconds": 60 }))
        .await
        .is(201);
    assert_eq!(
        alarms(&held.running).await.len(),
        2,
        "root has that secret, too"
    );
    // It counts: what remains is that everybody was told.
    let change = held.sets(dave()).await;
    held.confirms(&forged, &change).await.is(200);
}

#[tokio::test]
async fn everybody_is_told_of_the_tokens_of_whoever_can_confirm_from_now_on() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let alarm = |token: &str, user: &str| json!({ "cause": "confirmers_token", "token": token, "user": user });
    let first = [alarm("u1", "bob"), alarm("u2", "carol")];
    assert_eq!(all_alarms(&held.running).await, first);

    // Root has a token of alice's before she is one of them, and one for single things.
    token(&held.running, "alice").await;
    let root = held.running.as_("root");
    let scoped = json!({ "for_seconds": 600, "scopes": ["read"] });
    root.post("/v1/users/alice/tokens", scoped).await.is(201);
    assert!(alarms(&held.running).await.is_empty());
    let alice =
        json!({ "name": "alice", "login": "alice", "groups": ["developers", "leads"], "keys": [] });
    let change = held.sets(alice).await;
    let path = format!("/v1/changes/{change}");
    let shown = held.gets(&held.bob, &path).await.is(200);
    let warnings = shown["now"]["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|line| line.as_str().unwrap().starts_with("alice can confirm")),
        "{warnings:?}"
    );
    held.confirms(&held.bob, &change).await.is(200);
    assert_eq!(alarms(&held.running).await, [alarm("u3", "alice")]);

    // Nobody is told twice: who could confirm before is nobody new.
    let next = json!({ "policy": holding().replace("4h", "2h"), "users": null, "hosts": null, "dry_run": false });
    root.post("/v1/apply", next).await.is(202);
    held.confirms(&held.bob, "c2").await.is(200);
    assert_eq!(alarms(&held.running).await.len(), 1);
}

#[tokio::test]
async fn whoever_is_taken_out_of_the_group_before_the_last_confirmation_counts_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding_two()).await;
    let change = held.sets(dave()).await;
    held.confirms(&held.bob, &change).await.is(200);
    held.confirms(&held.bob, &change)
        .await
        .refuses(409, "confirmed-already");
    let out = held
        .sets(json!({ "name": "bob", "login": "bob", "groups": [] }))
        .await;
    let reason = json!({ "reason": "bob has left the team" });
    let root = held.running.as_("root");
    let alone = format!("/v1/changes/{out}/alone");
    root.post(&alone, reason).await.is(200);
    let waits = held.confirms(&held.carol, &change).await.is(200);
    assert_eq!(waits["state"], "pending");
    assert_eq!(
        (
            &waits["confirmed"][0]["counts"],
            &waits["confirmed"][1]["counts"]
        ),
        (&json!(false), &json!(true))
    );
    assert_eq!(held.login_of("dave").await, None);
    held.confirms(&held.bob, &change)
        .await
        .refuses(403, "may-not-confirm");
}

#[tokio::test]
async fn what_was_confirmed_with_a_token_counts_no_more_once_that_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding_two()).await;
    let change = held.sets(dave()).await;
    held.confirms(&held.bob, &change).await.is(200);
    // Its holder has it rotated, which takes nothing away.
    let rotate = json!({ "overlap_seconds": 0 });
    let next = held.posts(&held.bob, "/v1/token/rotate", rotate).await;
    let next = next.is(201)["token"].as_str().unwrap().to_owned();
    let path = format!("/v1/changes/{change}");
    let counts = async || {
        let shown = held.gets(&held.carol, &path).await.is(200);
        shown["confirmed"][0]["counts"].clone()
    };
    assert_eq!(counts().await, true);
    let root = held.running.as_("root");
    root.delete("/v1/users/bob/tokens/u1").await.is(200);
    held.gets(&next, &path).await.is(401);
    assert_eq!(counts().await, false);
    let waits = held.confirms(&held.carol, &change).await.is(200);
    assert_eq!(waits["state"], "pending");
    let anew = token(&held.running, "bob").await;
    let done = held.confirms(&anew, &change).await.is(200);
    assert_eq!(done["state"], "done");
}

#[tokio::test]
async fn nobody_confirms_what_he_did_not_see() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let change = held
        .sets(json!({ "name": "alice", "login": "alice", "groups": ["developers", "leads"], "keys": [] }))
        .await;
    let path = format!("/v1/changes/{change}");
    let seen = held.gets(&held.bob, &path).await.is(200);
    let details = &seen["now"]["changes"][0]["details"];
    assert!(
        details
            .as_array()
            .unwrap()
            .contains(&json!("+ group leads")),
        "{details}"
    );
    let root = held.running.as_("root");
    root.delete("/v1/users/alice").await.is(200);
    let body = json!({ "digest": seen["now"]["digest"] });
    held.posts(&held.bob, &format!("{path}/confirm"), body)
        .await
        .refuses(409, "change-moved");
    assert_eq!(held.login_of("alice").await, None);
    let seen = held.gets(&held.bob, &path).await.is(200);
    assert_eq!(seen["now"]["changes"][0]["sign"], "+");
    held.posts(
        &held.bob,
        &format!("{path}/deny"),
        json!({ "reason": "she is gone" }),
    )
    .await
    .is(200);
    held.confirms(&held.bob, &change)
        .await
        .refuses(409, "change-ended");
}

#[tokio::test]
async fn whoever_confirmed_a_change_that_has_moved_since_is_told_that_it_waits_for_him_again() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding_two()).await;
    let alice =
        json!({ "name": "alice", "login": "alice", "groups": ["developers", "leads"], "keys": [] });
    let change = held.sets(alice).await;
    held.confirms(&held.bob, &change).await.is(200);
    let waits_for_bob = async || {
        let whoami = held.gets(&held.bob, "/v1/whoami").await.is(200);
        whoami["to_confirm"].clone()
    };
    assert_eq!(waits_for_bob().await, json!([]));
    let root = held.running.as_("root");
    root.delete("/v1/users/alice").await.is(200);
    assert_eq!(waits_for_bob().await, json!([change]));
    held.confirms(&held.bob, &change).await.is(200);
    assert_eq!(waits_for_bob().await, json!([]));
}

#[tokio::test]
async fn root_alone_makes_a_change_and_everybody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let change = held.sets(dave()).await;
    let path = format!("/v1/changes/{change}/alone");
    let reason = json!({ "reason": "bob and carol are away" });
    held.posts(&held.bob, &path, reason.clone())
        .await
        .refuses(403, "not-administrator");
    let root = held.running.as_("root");
    let done = root.post(&path, reason).await.is(200);
    assert_eq!(done["ended"]["alone"], true);
    assert_eq!(held.login_of("dave").await.as_deref(), Some("dave"));
    let alarm =
        json!({ "cause": "changed_alone", "change": "c1", "reason": "bob and carol are away" });
    assert_eq!(alarms(&held.running).await, [alarm]);
}

#[tokio::test]
async fn no_more_than_sixteen_changes_wait_and_one_that_is_withdrawn_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let root = held.running.as_("root");
    let user = |number: usize| json!({ "name": format!("new{number}"), "login": "new" });
    for number in 0..16 {
        held.sets(user(number)).await;
    }
    root.post("/v1/users", user(16))
        .await
        .refuses(429, "too-many-changes");
    root.post("/v1/changes/c3/withdraw", json!({}))
        .await
        .is(200);
    held.sets(user(16)).await;
    held.confirms(&held.bob, "c3")
        .await
        .refuses(409, "change-ended");
    let waiting = root.get("/v1/changes?pending=true").await.is(200);
    assert_eq!(waiting.as_array().unwrap().len(), 16);
}

#[tokio::test]
async fn taking_away_needs_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let root = held.running.as_("root");
    let request = held.running.as_("alice").asks(600).await;
    held.running.as_("bob").approves(&request).await;
    let reason = json!({ "reason": "to be sure" });
    root.post("/v1/grants/g1/revoke", reason.clone())
        .await
        .is(200);
    root.post("/v1/users/alice/lock", reason).await.is(200);
    root.delete("/v1/users/alice").await.is(200);
    root.delete("/v1/hosts/web-1").await.is(200);
    assert!(
        root.get("/v1/changes")
            .await
            .is(200)
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_policy_and_users_are_one_change_and_the_file_alone_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let root = held.running.as_("root");
    let in_force = async || root.get("/v1/policy").await.is(200)["policy"].clone();
    let before = in_force().await;

    // Root writes what it likes: without changes_need, as if there were none.
    write_policy(folder.path(), POLICY);
    held.running.server.tick().await.unwrap();
    held.running.server.tick().await.unwrap();
    assert_eq!(in_force().await, before);
    let said = root.get("/v1/policy").await.is(200);
    let said = said["beside_file"].as_str().unwrap();
    assert!(said.contains("jit-server policy propose"), "{said}");
    let refused = kinds(&held.running).await;
    let refused = refused
        .iter()
        .filter(|kind| *kind == "policy_refused")
        .count();
    assert_eq!(refused, 1, "it is said once");

    let wanted = json!({
        "policy": POLICY.replace("4h", "8h"), "hosts": null, "dry_run": false, "allow_removals": 0, "reason": "longer shifts",
        "users": "[users.bob]\nlogin = \"bob\"\ngroups = [\"leads\"]\n[users.carol]\nlogin = \"carol\"\ngroups = [\"leads\", \"developers\"]\n",
    });
    let answer = root.post("/v1/apply", wanted).await.is(202);
    assert_eq!(
        (&answer["applied"], &answer["held"]["change"]),
        (&json!(false), &json!("c1"))
    );
    assert_eq!(in_force().await, before);
    let shown = held.gets(&held.carol, "/v1/changes/c1").await.is(200);
    assert_eq!(
        shown["summary"],
        json!([
            "~ policy policy.toml: ~ role web-admin; ~ changes_need",
            "- user alice"
        ])
    );
    let diff = shown["now"]["policy_diff"].as_str().unwrap();
    assert!(
        diff.contains("-longest = \"4h\"\n+longest = \"8h\""),
        "{diff}"
    );
    assert!(diff.contains("-changes_need"), "{diff}");
    let diff = shown["now"]["policy_diff"].clone();
    held.confirms(&held.carol, "c1").await.is(200);
    assert_ne!(in_force().await, before);
    // Whoever looks later sees all of what was made.
    let made = root.get("/v1/changes/c1").await.is(200);
    assert_eq!(
        (&made["now"], &made["policy_diff"]),
        (&Value::Null, &diff),
        "{made}"
    );
    assert_eq!(held.login_of("alice").await, None);
    // Nothing holds changes any more.
    root.post("/v1/users", dave()).await.is(201);
}

#[tokio::test]
async fn a_restart_goes_by_the_record_whatever_the_file_has() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let change = held.sets(dave()).await;
    let before = held.running.as_("root").get("/v1/policy").await.is(200)["policy"].clone();
    held.running.stop().await;
    for text in [None, Some(POLICY.to_owned()), Some("nonsense".to_owned())] {
        match &text {
            None => std::fs::remove_file(folder.path().join("policy.toml")).unwrap(),
            Some(text) => write_policy(folder.path(), text),
        }
        // A folder without a policy gets one by this.
        let running = Running::start(folder.path()).await;
        let root = running.as_("root");
        let after = root.get("/v1/policy").await.is(200);
        assert_eq!(after["policy"], before, "{text:?}");
        assert_eq!(after["changes_need"]["groups"], json!(["leads"]));
        root.post("/v1/users", dave()).await.is(202);
        let path = format!("/v1/changes/{change}");
        assert_eq!(root.get(&path).await.is(200)["state"], "pending");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_first_changes_need_counts_at_once_and_the_next_needs_those_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let root = held.running.as_("root");
    let mallory = holding().replace("groups = [\"leads\"] }\n", "users = [\"mallory\"] }\n");
    assert_ne!(mallory, holding());
    let wanted = json!({ "policy": mallory, "users": null, "hosts": null, "dry_run": false });
    let change = root.post("/v1/apply", wanted).await.is(202);
    let change = change["held"]["change"].as_str().unwrap().to_owned();
    let shown = held.gets(&held.bob, &format!("/v1/changes/{change}")).await;
    assert_eq!(shown.is(200)["able"], json!(["bob", "carol"]));
    held.confirms(&held.bob, &change).await.is(200);
    let need = root.get("/v1/policy").await.is(200)["changes_need"].clone();
    assert_eq!(
        need,
        json!({ "users": ["mallory"], "groups": [], "count": 1 })
    );
    held.confirms(&held.bob, "c9")
        .await
        .refuses(403, "may-not-confirm");
}

/// `jit-server` beside the server of this test.
async fn jit_server(folder: &std::path::Path, options: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_jit-server"));
    command
        .args(options)
        .env("JIT_SERVER_SOCKET", folder.join("root"))
        .current_dir(folder);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = run.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn root_is_told_who_has_to_confirm_and_the_file_is_written_once_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let held = Held::start(folder, &holding()).await;
    let user = ["user", "add", "dave", "--login", "dave"];
    let (code, said) = jit_server(folder, &user).await;
    assert_eq!(code, Some(5), "{said}");
    assert!(
        said.contains("Held as c1: needs 1 of bob, carol; they see it with `jitctl show c1`."),
        "{said}"
    );

    let next = holding().replace("4h", "2h");
    std::fs::create_dir(folder.join("wanted")).unwrap();
    write_policy(&folder.join("wanted"), &next);
    let apply = [
        "apply",
        "wanted",
        "--policy",
        "policy.toml",
        "--reason",
        "shorter",
    ];
    let (code, said) = jit_server(folder, &[&apply[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(5), "{said}");
    assert!(
        said.contains("It would be held: needs 1 of bob, carol."),
        "{said}"
    );
    let (code, said) = jit_server(folder, &apply).await;
    assert_eq!(code, Some(5), "{said}");
    assert!(
        said.contains("Nothing was changed yet") && said.contains("Held as c2"),
        "{said}"
    );
    let file = || std::fs::read_to_string(folder.join("policy.toml")).unwrap();
    assert_eq!(file(), holding());
    let (code, said) = jit_server(folder, &["change", "show", "c2"]).await;
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "c2 is pending; @administrator wanted it",
        ": shorter",
        "+longest = \"2h\"",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    held.confirms(&held.carol, "c2").await.is(200);
    let (code, said) = jit_server(folder, &apply).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(file(), next);

    write_policy(folder, &next.replace("2h", "3h"));
    let (code, said) = jit_server(folder, &["policy", "propose", "policy.toml"]).await;
    assert_eq!(code, Some(5), "{said}");
    let alone = ["change", "confirm", "c3", "--reason", "nobody is there"];
    let (code, said) = jit_server(folder, &alone).await;
    assert_eq!(code, Some(2), "--alone is said: {said}");
    let (code, said) = jit_server(folder, &[&alone[..], &["--alone"]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("done by @administrator, alone"), "{said}");
    let (code, said) = jit_server(folder, &["policy", "propose", "policy.toml"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "nothing to do\n"));
    let (code, said) = jit_server(folder, &["change", "withdraw", "c1"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (_, said) = jit_server(folder, &["change", "list"]).await;
    let states: Vec<&str> = said
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(states, ["done", "done", "withdrawn"], "{said}");
}
