//! `jitctl enroll`: this host trusts a server from now on. Running it again is safe: the server knows the key and gives the same id.

use std::process::Command;

use jit_grant::HostName;
use serde_json::json;

use super::Here;
use crate::error::{Error, Exit};
use crate::server::{Enrolled, Server, ServerAddress};
use crate::trust::{Trust, machine_id};

const SYNC_UNIT: &str = "jitd-sync.service";

pub(super) async fn run(here: &Here, address: ServerAddress) -> Result<Exit, Error> {
    here.require_root("enrolling")?;
    let machine_id = machine_id(here.root())?;
    let name = host_name()?;
    let daemon = here.daemon();
    let key = daemon.enroll()?.public_key;
    let public_key = key
        .parse()
        .map_err(|error: jit_grant::KeyError| Error::Other {
            problem: format!("jitd's key is unusable: {error}"),
            remedy: "journalctl -u jitd; bring jitd and jitctl to the same version".to_owned(),
            exit: Exit::Failed,
        })?;

    let server = Server::at(address.clone())?;
    let answer = server
        .post("/v1/hosts", &json!({ "name": name, "public_key": key }))
        .await?;
    let enrolled: Enrolled = server.parse(&answer)?;
    check_keys(&enrolled)?;

    let before = Trust::read(here.root()).unwrap_or_default();
    let again =
        before.is_some_and(|before| before.host_id == enrolled.host_id && before.server == address);
    let trust = Trust {
        server: address,
        host_name: enrolled.name,
        host_id: enrolled.host_id,
        machine_id,
        keys: enrolled.server_keys,
        public_key,
        enrolled_at: here.now.wall,
    };
    trust.write(here.root())?;
    daemon.reload()?;
    restart_sync(here);
    report(here, &trust, again);
    Ok(Exit::Done)
}

/// The machine's name as people type it.
fn host_name() -> Result<HostName, Error> {
    let name = nix::unistd::gethostname()
        .map_err(|error| Error::file("/proc/sys/kernel/hostname", "read", error))?;
    let name = name.to_string_lossy().to_ascii_lowercase();
    name.parse()
        .map_err(|error: jit_grant::NameError| Error::Other {
            problem: error.to_string(),
            remedy: "give the machine such a name: hostnamectl hostname NAME".to_owned(),
            exit: Exit::Failed,
        })
}

/// A key whose id is not that of its bytes would never verify anything; better said now.
fn check_keys(enrolled: &Enrolled) -> Result<(), Error> {
    let sound = !enrolled.server_keys.is_empty()
        && enrolled
            .server_keys
            .iter()
            .all(|key| key.public_key.kid() == key.kid);
    if sound {
        return Ok(());
    }
    Err(Error::Other {
        problem: "the server gave no key, or one that does not match its id; nothing was changed"
            .to_owned(),
        remedy: "bring jitctl and jit-server to matching versions".to_owned(),
        exit: Exit::Failed,
    })
}

/// jitd-sync may have given up on a host that was not enrolled. Its path unit starts it too; this is quicker.
fn restart_sync(here: &Here) {
    if here.root() != std::path::Path::new("/") {
        return;
    }
    let failed = match Command::new("systemctl")
        .args(["restart", SYNC_UNIT])
        .output()
    {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    here.screen.note(format!(
        "jitctl: enrolled, but {SYNC_UNIT} was not restarted: {failed}"
    ));
}

fn report(here: &Here, trust: &Trust, again: bool) {
    if here.json {
        return here.screen.json(&json!({ "host": trust.host_name, "host_id": trust.host_id, "server": trust.server, "again": again }));
    }
    let how = if again {
        "is still enrolled"
    } else {
        "is enrolled"
    };
    here.screen.say(format!(
        "{} {how} with {} as {}.",
        trust.host_name, trust.server, trust.host_id
    ));
    here.screen.say("Nothing is gated by that. Next:");
    here.screen
        .say("  jitctl status               until it says that the server was heard");
    here.screen
        .say("  jitctl gate sshd sudo su    watches what would be refused");
    here.screen
        .say("  jitctl enforce              refuses it, once a role lets you in");
}
