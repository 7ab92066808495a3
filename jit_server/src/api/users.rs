//! Users. For the administrator only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use jiff::Timestamp;
use jit_grant::{Login, Principal};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::caller::Administrator;
use super::changes::HeldView;
use super::input::{self, Json, Parameters, Path};
use super::locks::LockView;
use super::loss::LossView;
use super::page::{ByName, Page};
use crate::attribute::{AttributeValue, Attributes};
use crate::directory::{GroupName, MOST_OF_USER};
use crate::event::{Service, UserSet};
use crate::logins::{LoginDocument, Logins};
use crate::policy::{MOST_WINDOWS, Window, WindowDocument};
use crate::server::{Became, Server, Spoken};
use crate::ssh_key::SshKey;
use crate::until::Until;
use crate::workflow::State as Known;

/// A user as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    #[schema(value_type = String)]
    name: Principal,
    #[schema(value_type = String)]
    login: Login,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    groups: BTreeSet<GroupName>,
    /// Lines as in a `.pub` file.
    #[serde(default, deserialize_with = "input::given")]
    #[schema(value_type = Vec<String>)]
    keys: Option<BTreeSet<SshKey>>,
    /// From then on the user is nobody here. A date, such as 2026-12-31, means the end of that day in UTC; or RFC 3339.
    /// null: there is no end.
    #[serde(default, deserialize_with = "input::given")]
    #[schema(value_type = Option<String>)]
    until: Option<Option<Until>>,
    /// 32 at most: true, false or a short text each.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, AttributeValue>)]
    attributes: Attributes,
    /// A program: it asks and never decides, and is known by a token alone.
    #[serde(default, deserialize_with = "input::given")]
    #[schema(value_type = bool)]
    service: Option<bool>,
    /// A service account's: it asks within these hours alone, and what it is given ends with them. None: at any time. 16 at most.
    #[serde(default, deserialize_with = "input::given")]
    #[schema(max_items = 16, value_type = Vec<WindowDocument>)]
    hours: Option<Vec<WindowDocument>>,
    /// On which hosts the Unix account is another one: the first that fits a host counts there. 32 at most.
    #[serde(default, deserialize_with = "input::given")]
    #[schema(value_type = Vec<LoginDocument>)]
    logins: Option<Logins>,
}

impl NewUser {
    /// What it has as a service account, where it is to be one.
    fn service(&self) -> Result<Option<Service>, Problem> {
        let wrong = |why: String| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("hours: {why}"))
                .code("bad-hours")
        };
        let hours = self.hours.as_deref().unwrap_or_default();
        let is_service = self.service.unwrap_or(false);
        if hours.len() > MOST_WINDOWS {
            return Err(wrong(format!("{MOST_WINDOWS} windows at most")));
        }
        if !is_service && !hours.is_empty() {
            return Err(wrong("only a service account has any".to_owned()));
        }
        let windows: Result<Vec<Window>, String> = hours.iter().map(Window::try_from).collect();
        let windows = windows.map_err(wrong)?;
        Ok(is_service.then(|| Service::within(&windows)))
    }

    /// The limits that it speaks of. Of a person's hours there is nothing to say.
    fn spoken(&self) -> Spoken {
        Spoken {
            until: self.until.is_some(),
            service: self.service.is_some(),
            hours: self.hours.is_some() || self.service == Some(false),
            logins: self.logins.is_some(),
            keys: self.keys.is_some(),
        }
    }
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    name: String,
    login: String,
    groups: Vec<String>,
    keys: Vec<UserKey>,
    /// A service account: it never approves, denies, reviews, locks nor audits.
    service: bool,
    /// A service account's own. None: it asks at any time.
    hours: Vec<WindowDocument>,
    /// null: not locked.
    lock: Option<LockView>,
    /// From then on the user may do nothing, and nothing that is granted to him goes past it. null: there is no end.
    until: Option<Timestamp>,
    /// What the user is beside the groups.
    attributes: BTreeMap<String, AttributeValue>,
    /// On which hosts the Unix account is another one: the first that fits a host counts there.
    logins: Vec<LoginDocument>,
}

/// A user's ssh key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserKey {
    /// As `ssh-keygen -l` prints it.
    fingerprint: String,
    /// `ssh-ed25519 AAAA…`
    key: String,
}

impl User {
    fn of(user: &UserSet, state: &Known) -> Self {
        let keys = user.keys.iter().map(|key| UserKey {
            fingerprint: key.fingerprint().to_string(),
            key: key.to_string(),
        });
        Self {
            name: user.name.to_string(),
            login: user.login.to_string(),
            groups: user.groups.iter().map(ToString::to_string).collect(),
            keys: keys.collect(),
            service: user.is_service(),
            hours: user
                .service
                .as_ref()
                .map_or_else(Vec::new, |service| service.hours.clone()),
            lock: state.lock(&user.name).map(LockView::from),
            until: user.until,
            attributes: user.attributes.listed(),
            logins: user.logins.listed(),
        }
    }
}

/// A user as he was set, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SetUser {
    #[serde(flatten)]
    user: User,
    /// What of him is different from before, each in a few words. Nothing where he is new.
    changed: Vec<String>,
    /// Other users who have the same login on some host: only their keys tell them apart there.
    shares_login_with: Vec<String>,
    /// What ended with that, or will.
    lost: LossView,
    /// The change that others have to confirm first. null: the user is so by now.
    held: Option<HeldView>,
}

/// Adds a user; one of the same name becomes what is sent. What he has of `until`, `service`, `hours` and `logins` is to be sent again, or
/// taken away with null, false and empty lists; where one of them is left out, nothing changes. Where others have to confirm changes, it is proposed to them.
#[utoipa::path(post, path = "/v1/users", tag = "administration", request_body = NewUser, responses(
    (status = 201, body = SetUser),
    (status = 202, body = SetUser, description = "others have to confirm it"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "a limit that the user has is left out"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn set(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Json(new): Json<NewUser>,
) -> Result<(StatusCode, axum::Json<SetUser>), Problem> {
    let (service, spoken) = (new.service()?, new.spoken());
    let keys = new.keys.unwrap_or_default();
    if new.groups.len() > MOST_OF_USER || keys.len() > MOST_OF_USER {
        let detail = format!("a user has {MOST_OF_USER} groups and {MOST_OF_USER} keys at most");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let user = UserSet {
        name: new.name,
        login: new.login,
        groups: new.groups,
        keys,
        until: new.until.flatten().map(|Until(until)| until),
        attributes: new.attributes,
        service,
        logins: new.logins.unwrap_or_default(),
    };
    let became = server.set_user(user.clone(), spoken).await?;
    let Became {
        changed,
        lost,
        held,
    } = became;
    let answer = SetUser {
        user: server.look(|state| User::of(&user, state)),
        changed,
        shares_login_with: server.look(|state| others_with_login(state, &user)),
        lost: LossView::from(&lost),
        held: held.and_then(|change| HeldView::of(&server, Some(&change))),
    };
    let status = if answer.held.is_some() {
        StatusCode::ACCEPTED
    } else {
        StatusCode::CREATED
    };
    Ok((status, axum::Json(answer)))
}

fn others_with_login(state: &Known, user: &UserSet) -> Vec<String> {
    let all = state.directory.users();
    let sharing =
        all.filter(|other| other.name != user.name && other.all_logins().contains(&user.login));
    sharing.map(|other| other.name.to_string()).collect()
}

/// A user who is no longer known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RemovedUser {
    name: String,
    /// What ended with that.
    lost: LossView,
    /// It stays, also where the name is added again. null: not locked.
    lock: Option<LockView>,
}

/// Removes a user: what is granted ends at once, what was asked is withdrawn, tokens count no more. Nothing of it comes back with the name.
#[utoipa::path(delete, path = "/v1/users/{name}", tag = "administration", params(
    ("name" = String, Path, description = "the user's name"),
), responses(
    (status = 200, body = RemovedUser),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path(name): Path<String>,
) -> Result<axum::Json<RemovedUser>, Problem> {
    let name: Principal = input::id(name)?;
    let lost = server.remove_user(name.clone()).await?;
    Ok(axum::Json(RemovedUser {
        lost: LossView::from(&lost),
        lock: server.look(|state| state.lock(&name).map(LockView::from)),
        name: name.to_string(),
    }))
}

/// All users, by name. `Link` leads to the next page.
#[utoipa::path(get, path = "/v1/users", tag = "administration", params(ByName), responses(
    (status = 200, body = Vec<User>),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    _: Administrator,
    uri: Uri,
    Parameters(which): Parameters<ByName>,
) -> Result<Page<User>, Problem> {
    let (after, limit) = which.part::<Principal>()?;
    Ok(server.look(|state| {
        let all = state.directory.users();
        let wanted = all.filter(|user| after.as_ref().is_none_or(|after| user.name > *after));
        let views = wanted.map(|user| User::of(user, state));
        Page::by_name(&uri, limit, views, |user| &user.name)
    }))
}
