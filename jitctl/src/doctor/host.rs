//! jitd, its sockets, its record, and the word of the server.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use jit_local::limits::{CONTROL_SOCKET, PAM_SOCKET, SYNC_SOCKET};
use jit_local::message::control::Status;

use super::Finding;
use crate::command::Here;
use crate::command::status::lost;
use crate::trust::{Trust, how_to_enroll, machine_id};

pub(super) fn findings(here: &Here) -> Vec<Finding> {
    let sockets = [
        (PAM_SOCKET, 0o600),
        (CONTROL_SOCKET, 0o666),
        (SYNC_SOCKET, 0o660),
    ];
    let mut findings: Vec<Finding> = sockets
        .iter()
        .filter_map(|(path, mode)| socket(here, path, *mode))
        .collect();
    findings.extend(enrolment(here));
    match here.daemon().status() {
        Ok(status) => findings.extend(standing(&status)),
        Err(error) => findings.push(Finding::error(
            "jitd",
            error.to_string(),
            "systemctl start jitd; journalctl -u jitd says why it does not run",
        )),
    }
    findings
}

fn socket(here: &Here, path: &str, mode: u32) -> Option<Finding> {
    let wrong = match fs::symlink_metadata(here.path(path)) {
        Err(error) => format!("{path}: {error}"),
        Ok(metadata) if !metadata.file_type().is_socket() => format!("{path} is not a socket"),
        Ok(metadata) if metadata.mode() & 0o777 != mode => format!(
            "{path} has mode {:04o}, not {mode:04o}",
            metadata.mode() & 0o777
        ),
        Ok(metadata) if metadata.uid() != nix::unistd::geteuid().as_raw() => {
            format!("{path} does not belong to root")
        }
        Ok(_) => return None,
    };
    Some(Finding::error(
        "jitd",
        wrong,
        "systemctl restart jitd-pam.socket jitd-ctl.socket jitd-sync.socket jitd",
    ))
}

fn enrolment(here: &Here) -> Option<Finding> {
    let enroll = how_to_enroll(here.root());
    match (Trust::read(here.root()), machine_id(here.root())) {
        (Err(error), _) => Some(Finding::error("jitd", error.to_string(), enroll)),
        (_, Err(error)) => Some(Finding::error(
            "jitd",
            error.to_string(),
            format!("systemd-machine-id-setup, then {enroll}"),
        )),
        (Ok(None), _) => Some(Finding::warning(
            "jitd",
            "this host is not enrolled with a server",
            enroll,
        )),
        (Ok(Some(trust)), Ok(machine_id)) if trust.machine_id != machine_id => {
            Some(Finding::error(
                "jitd",
                "this machine was copied from another one, which enrolled",
                enroll,
            ))
        }
        (Ok(Some(_)), Ok(_)) => None,
    }
}

fn standing(status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    if status.host_id.is_some() && !status.current {
        let code = status
            .code
            .as_ref()
            .map(|code| format!(" ({code})"))
            .unwrap_or_default();
        findings.push(Finding::error(
            "jitd",
            format!("no grant counts: no word from the server{code}"),
            "systemctl status jit-server jitd-sync; journalctl -u jitd-sync",
        ));
    }
    if let Some((what, remedy)) = lost(status) {
        findings.push(Finding::error(
            "pam",
            format!("gates became {what}"),
            remedy,
        ));
    }
    if !status.recording {
        findings.push(Finding::error(
            "jitd",
            "events can't be written to disk; only the system's log has them",
            "make room on the disk of /var/lib/jit",
        ));
    }
    findings
}
