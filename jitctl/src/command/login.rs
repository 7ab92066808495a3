//! `jitctl login` and `logout`: who somebody on this machine is to a server elsewhere.

use std::path::{Path, PathBuf};

use jit_grant::{NotAUserToken, UserToken};
use serde_json::json;

use super::Here;
use super::input::{read_secret, read_text};
use super::list::until;
use crate::cli;
use crate::error::{Error, Exit};
use crate::login::Login;
use crate::server::{Rotated, Server, ServerAddress, Whoami};
use crate::words::clean;

/// Every one of several servers has heard by then of what was done at another.
const HEARD_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Nothing is kept before the server has said who the token makes one.
pub(super) async fn login(here: &Here, options: cli::Login) -> Result<Exit, Error> {
    let path = path()?;
    let Some(server) = options.server else {
        return rotate(here, &path).await;
    };
    if matches!(server, ServerAddress::Socket(_)) {
        return Err(Error::Other {
            problem: "at a socket of this machine your account says who you are".to_owned(),
            remedy: "go without a login; one is for a server elsewhere, https://…".to_owned(),
            exit: Exit::Usage,
        });
    }
    let ca = match &options.ca {
        Some(file) => Some(read_text(file)?),
        None => here.pinned(&server)?,
    };
    let ca = ca.unwrap_or_default();
    // Before a secret is asked for: whether this server can be called at all.
    Server::at(server.clone(), Some(&ca), None)?;
    let token = match &options.token_file {
        Some(file) => parsed(&read_text(file)?).map_err(|why| Error::file(file, "use", why))?,
        None => parsed(&read_secret(here, &format!("Token for {server}:"))?)
            .map_err(|why| Error::file("/dev/stdin", "use", why))?,
    };
    let asked = Server::at(server.clone(), Some(&ca), Some(token.clone()))?;
    let answer = asked.get("/v1/whoami").await?;
    let whoami: Whoami = asked.parse(&answer)?;
    let scopes = whoami.token.as_ref().map(|token| token.scopes.clone());
    let known = whoami.principal.zip(whoami.token);
    let (principal, shown) = known.ok_or_else(|| Error::Other {
        problem: format!("{server} does not say whose the token is; nothing was kept"),
        remedy: "bring jitctl and jit-server to matching versions".to_owned(),
        exit: Exit::Failed,
    })?;
    let login = Login {
        server,
        ca,
        token,
        token_id: shown.id,
        principal,
        expires: shown.expires,
    };
    // A rotation that is under way would put its own in the place of this one.
    let _held = Login::hold(&path)?;
    login.write(&path)?;
    report(here, &login);
    if let Some(scopes) = scopes.filter(|scopes| !scopes.is_empty() && !here.json) {
        here.screen.say(format!(
            "The token is for {} alone.",
            clean(&scopes.join(", "))
        ));
    }
    Ok(Exit::Done)
}

/// The next token is kept, whole and on disk, before anything is done with it. Where that fails, or this machine goes down, the one before is
/// still there and counts for an hour: rotating it again makes another, since nobody has shown the one that was lost.
async fn rotate(here: &Here, path: &Path) -> Result<Exit, Error> {
    // Two at a time would each end the other's token.
    let _held = Login::hold(path)?;
    let login = Login::read(path)?.ok_or_else(|| Error::Other {
        problem: "nobody is logged in here, so there is no token to rotate".to_owned(),
        remedy: "jitctl login --server URL; a token in JIT_TOKEN is rotated by whoever set it"
            .to_owned(),
        exit: Exit::Failed,
    })?;
    let mut again = true;
    loop {
        let next = rotated(&login).await?;
        next.write(path)?;
        // Shown once, the token before makes no other.
        let shown = show(&next).await;
        if let Err(error @ Error::Problem { status: 401, .. }) = shown {
            // A try whose answer was lost was done only now, and took this one's place. The token before counts yet.
            login.write(path)?;
            if !again {
                return Err(error);
            }
            again = false;
            continue;
        }
        if let Err(error) = shown {
            here.screen.note(format!(
                "jitctl: the next token is kept; showing it, which every call after this does, failed: {error}"
            ));
        }
        report(here, &next);
        return Ok(Exit::Done);
    }
}

/// Shows the token. One that is not known may be new to that server of several, which hears of it within a second.
async fn show(login: &Login) -> Result<(), Error> {
    let server = of(login)?;
    match server.get("/v1/whoami").await {
        Err(Error::Problem { status: 401, .. }) => {
            tokio::time::sleep(HEARD_WITHIN).await;
            server.get("/v1/whoami").await.map(drop)
        }
        shown => shown.map(drop),
    }
}

fn of(login: &Login) -> Result<Server, Error> {
    let (server, token) = (login.server.clone(), login.token.clone());
    Server::at(server, Some(&login.ca), Some(token))
}

async fn rotated(login: &Login) -> Result<Login, Error> {
    let server = of(login)?;
    // Where an answer is lost, the token in it ends when another one is asked for.
    let answer = server.post_anew("/v1/token/rotate", &json!({})).await?;
    let next: Rotated = server.parse(&answer)?;
    Ok(Login {
        token: next.token,
        token_id: next.id,
        expires: next.expires,
        ..login.clone()
    })
}

fn parsed(text: &str) -> Result<UserToken, NotAUserToken> {
    text.trim().parse()
}

fn report(here: &Here, login: &Login) {
    let Login {
        server,
        principal,
        expires,
        ..
    } = login;
    if here.json {
        let told = json!({ "principal": principal, "server": server, "token": login.token_id, "expires": expires });
        return here.screen.json(&told);
    }
    here.screen.say(format!(
        "You are {} at {server} until {}.",
        clean(principal),
        until(here, *expires)
    ));
    if here.path(ServerAddress::local()).exists() {
        here.screen.note(
            "jitctl: this machine has a server of its own, which is asked first; JIT_SERVER names another",
        );
    }
}

pub(super) fn logout(here: &Here) -> Result<Exit, Error> {
    let path = path()?;
    // A rotation that is under way would keep another one after this.
    let _held = Login::hold(&path)?;
    // One that can't be read, or that others can read, goes as well.
    let login = Login::read(&path).ok().flatten();
    let removed = Login::remove(&path)?;
    if here.json {
        here.screen.json(&json!({ "logged_out": removed }));
        return Ok(Exit::Done);
    }
    here.screen.say(if removed {
        "You are logged out on this machine."
    } else {
        "Nobody was logged in here."
    });
    if let Some(Login {
        token_id,
        principal,
        expires,
        ..
    }) = login.filter(|login| login.expires > here.now.wall)
    {
        let (principal, token_id) = (clean(&principal), clean(&token_id));
        here.screen.say(format!(
            "Whoever else has the token is {principal} until {}. To end it, as root on the server: jit-server user token {principal} --revoke {token_id}",
            until(here, expires)
        ));
    }
    Ok(Exit::Done)
}

/// The login of whoever runs this, where there is one.
pub(super) fn of_caller() -> Result<Option<Login>, Error> {
    Login::path().map_or(Ok(None), |path| Login::read(&path))
}

/// There is a server and nobody to be there.
pub(super) fn nobody(server: &ServerAddress) -> Error {
    Error::Other {
        problem: format!("nobody is logged in at {server} from here"),
        remedy: format!(
            "jitctl login --server {server} --ca FILE; root on the server makes a token: jit-server user token NAME"
        ),
        exit: Exit::Failed,
    }
}

/// There is no server to ask.
pub(super) fn nowhere() -> Error {
    Error::Other {
        problem: "there is no jit-server on this machine, and nobody is logged in at one elsewhere"
            .to_owned(),
        remedy: "jitctl login --server https://HOST:7443 --ca FILE, or set JIT_SERVER, JIT_TOKEN and JIT_CA; on the server: jit-server init"
            .to_owned(),
        exit: Exit::Failed,
    }
}

fn path() -> Result<PathBuf, Error> {
    Login::path().ok_or_else(|| Error::Other {
        problem: "there is no home to keep a login in".to_owned(),
        remedy: "set HOME, or JIT_SERVER, JIT_TOKEN and JIT_CA instead of a login".to_owned(),
        exit: Exit::Failed,
    })
}
