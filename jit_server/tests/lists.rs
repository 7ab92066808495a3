//! Lists by name, page by page.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Host, Person, Running, read};
use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

/// The names in each page of the list at `path`.
async fn pages(who: &Person, path: &str, name: &str) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let answer = who.send(Method::GET, &path, &[], Bytes::new()).await;
        let link = answer.headers().get("link");
        let link = link.map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| {
            let path = link.strip_prefix('<').unwrap();
            path.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
        let page = read(answer).await.is(200);
        let names = page.as_array().unwrap().iter();
        let names = names.map(|item| item[name].as_str().unwrap().to_owned());
        pages.push(names.collect());
    }
    pages
}

/// jit-server beside the server of this test.
async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit-server"));
    command
        .args(arguments)
        .env("JIT_SERVER_SOCKET", folder.join("root"));
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn users_hosts_and_locks_come_in_pages_by_name_each_of_them_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    for name in ["db-1", "web-2"] {
        Host::enrol(&root, name).await;
    }
    for name in ["alice", "bob", "carol"] {
        let lock = json!({ "reason": "holidays" });
        let path = format!("/v1/users/{name}/lock");
        root.post(&path, lock).await.is(200);
    }
    for (list, name, names) in [
        ("users", "name", ["alice", "bob", "carol"]),
        ("hosts", "name", ["db-1", "web-1", "web-2"]),
        ("locks", "principal", ["alice", "bob", "carol"]),
    ] {
        let path = format!("/v1/{list}");
        assert_eq!(pages(&root, &path, name).await, [names]);
        let by_two = pages(&root, &format!("{path}?limit=2"), name).await;
        assert_eq!(by_two, [&names[..2], &names[2..]], "{list}");
        // Whoever is gone meanwhile is no hindrance.
        let after = format!("{path}?after=bzz");
        let rest = names.iter().filter(|name| **name > "bzz");
        assert_eq!(
            pages(&root, &after, name).await.concat(),
            rest.map(|name| (*name).to_owned()).collect::<Vec<_>>()
        );
        for wrong in ["limit=0", "limit=501", "after=!", "before=bob"] {
            root.get(&format!("{path}?{wrong}")).await.is(400);
        }
    }
    // bob, who approves web-admin and database, sees their hosts in pages of just those.
    let seen = pages(&running.as_("bob"), "/v1/hosts?limit=1", "name").await;
    assert_eq!(seen, [["db-1"], ["web-1"], ["web-2"]]);
}

#[tokio::test]
async fn jit_server_lists_more_users_than_a_page_has_and_names_who_shares_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    let users =
        (0..501).map(|number| format!("[users.user{number:03}]\nlogin = \"user{number:03}\"\n"));
    let files = json!({ "policy": null, "hosts": null, "users": users.collect::<String>(), "dry_run": false });
    assert_eq!(root.post("/v1/apply", files).await.is(200)["applied"], true);

    let listed = run(folder.path(), &["user", "list", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 501);
    assert_eq!(listed[500]["name"], "user500");

    let same = ["user", "add", "zoe", "--login", "user500"];
    let added = run(folder.path(), &same).await;
    let said = String::from_utf8(added.stdout).unwrap();
    assert!(
        said.contains("login user500 is also that of user500: only a key tells them apart"),
        "{said}"
    );
}
