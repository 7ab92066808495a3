//! People who confirm changes, each known by a token.

use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Answer, Elsewhere, POLICY, Running, read};

/// Changes need one of bob and carol.
pub fn holding() -> String {
    format!("changes_need = {{ groups = [\"leads\"] }}\n{POLICY}")
}

/// The same with two of them.
pub fn holding_two() -> String {
    holding().replace("[\"leads\"] }\n", "[\"leads\"], count = 2 }\n")
}

/// Writes the policy's file as an editor does.
pub fn write_policy(folder: &Path, text: &str) {
    let new = folder.join("policy.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join("policy.toml")).unwrap();
}

/// A server whose changes need others, and how people elsewhere call it.
pub struct Held {
    pub running: Running,
    pub elsewhere: Elsewhere,
    pub bob: String,
    pub carol: String,
}

impl Held {
    /// Everybody of [`Running::populate`], with tokens that bob and carol had before changes needed them.
    pub async fn start(folder: &Path, policy: &str) -> Self {
        let running = Running::start(folder).await;
        running.populate().await;
        let (bob, carol) = (token(&running, "bob").await, token(&running, "carol").await);
        let elsewhere = running.listen_elsewhere().await;
        write_policy(folder, policy);
        running.server.look_at_policy().await.unwrap();
        Self {
            running,
            elsewhere,
            bob,
            carol,
        }
    }

    /// Root wants `user` to be so; the change's id.
    pub async fn sets(&self, user: Value) -> String {
        let root = self.running.as_("root");
        let held = root.post("/v1/users", user).await.is(202);
        held["held"]["change"].as_str().unwrap().to_owned()
    }

    pub async fn gets(&self, token: &str, path: &str) -> Answer {
        call(&self.elsewhere, token, Method::GET, path, json!({})).await
    }

    pub async fn posts(&self, token: &str, path: &str, body: Value) -> Answer {
        call(&self.elsewhere, token, Method::POST, path, body).await
    }

    /// Confirms the change as it stands now.
    pub async fn confirms(&self, token: &str, change: &str) -> Answer {
        confirms(&self.elsewhere, token, change).await
    }

    pub async fn login_of(&self, name: &str) -> Option<String> {
        login_of(&self.running, name).await
    }
}

pub async fn token(running: &Running, name: &str) -> String {
    let path = format!("/v1/users/{name}/tokens");
    let root = running.as_("root");
    let made = root.post(&path, json!({ "for_seconds": 3_600 })).await;
    made.is(201)["token"].as_str().unwrap().to_owned()
}

pub async fn call(
    elsewhere: &Elsewhere,
    token: &str,
    method: Method,
    path: &str,
    body: Value,
) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    read(elsewhere.send(method, path, &headers, body).await).await
}

pub async fn confirms(elsewhere: &Elsewhere, token: &str, change: &str) -> Answer {
    let path = format!("/v1/changes/{change}");
    let shown = call(elsewhere, token, Method::GET, &path, json!({})).await;
    // Of a change that is not shown, or has ended, there is none.
    let digest = shown.body["now"]["digest"].as_str().map(str::to_owned);
    let body = json!({ "digest": digest.unwrap_or("0".repeat(64)) });
    let path = format!("{path}/confirm");
    call(elsewhere, token, Method::POST, &path, body).await
}

pub async fn login_of(running: &Running, name: &str) -> Option<String> {
    let users = running.as_("root").get("/v1/users").await.is(200);
    let users = users.as_array().unwrap().iter();
    let mut his = users.filter(|user| user["name"] == name);
    his.next()
        .map(|user| user["login"].as_str().unwrap().to_owned())
}
