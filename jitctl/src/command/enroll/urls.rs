//! `jitctl enroll --only-urls`: other URLs of the server that this host is enrolled with. Whoever answers there must be vouched for by the
//! authority that is pinned since the enrolment, and sign with the keys that this host believes: nobody else is believed by this.

use serde_json::json;

use super::super::Here;
use super::{addresses, restart_sync, wrong};
use crate::error::{Error, Exit};
use crate::server::ServerAddress;
use crate::trust::{Trust, how_to_enroll};

/// Has `servers` in the place of those that trust.json names, and nothing else in it changed.
pub(super) fn change(
    here: &Here,
    servers: Vec<ServerAddress>,
    machine_id: &str,
) -> Result<Exit, Error> {
    let not_so = |problem: &str| Error::Other {
        problem: problem.to_owned(),
        remedy: how_to_enroll(here.root()),
        exit: Exit::Refused,
    };
    let (server, more_servers) = addresses(servers)?;
    if matches!(server, ServerAddress::Socket(_)) {
        return Err(wrong("--only-urls is for URLs, https://…"));
    }
    let trust = Trust::read(here.root())?;
    let trust = trust.ok_or_else(|| not_so("this host is not enrolled with a server"))?;
    if trust.machine_id != machine_id {
        return Err(not_so(
            "this machine was copied from another one, which enrolled",
        ));
    }
    if trust.ca.is_none() {
        return Err(not_so(
            "this host is enrolled with the server of its own machine, and pins no authority that could vouch for one elsewhere",
        ));
    }
    let trust = Trust {
        server,
        more_servers,
        ..trust
    };
    trust.write(here.root())?;
    here.daemon().reload()?;
    restart_sync(here);
    report(here, &trust);
    Ok(Exit::Done)
}

fn report(here: &Here, trust: &Trust) {
    if here.json {
        return here.screen.json(&json!({
            "host": trust.host_name, "host_id": trust.host_id, "server": trust.server, "more_servers": trust.more_servers,
        }));
    }
    let all = std::iter::once(&trust.server).chain(&trust.more_servers);
    let all: Vec<_> = all.map(ToString::to_string).collect();
    here.screen.say(format!(
        "{} stays enrolled as {}, with {}.",
        trust.host_name,
        trust.host_id,
        all.join(", ")
    ));
    here.screen
        .say("`jitctl status` says whether the server was heard.");
}
