//! Doors beside the gated ones that are worth knowing. Not all of them: `SECURITY.md` says what stays open.

use std::fs;

use super::Finding;
use crate::command::Here;
use crate::gate::{Service, State};

/// PAM services that people or their jobs come in by, and that gating does not touch unless asked to.
const DOORS: &[&str] = &[
    "sshd",
    "sudo",
    "su",
    "polkit-1",
    "login",
    "cron",
    "crond",
    "atd",
    "doas",
    "systemd-user",
    "cockpit",
    "gdm-password",
    "lightdm",
    "sddm",
    "xrdp-sesman",
    "vsftpd",
];
const POLKIT_RULES: &[&str] = &[
    "/etc/polkit-1/rules.d",
    "/usr/share/polkit-1/rules.d",
    "/usr/local/share/polkit-1/rules.d",
];
/// How a polkit rule lets somebody through without a question.
const YES: &str = "polkit.Result.YES";

pub(super) fn findings(here: &Here, services: &[Service]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let open = services.iter().filter(|service| {
        DOORS.contains(&service.name.as_str())
            && service.state == State::Ungated
            && service.covered_by.is_none()
    });
    let open: Vec<&str> = open.map(|service| service.name.as_str()).collect();
    if !open.is_empty() {
        findings.push(Finding::note(
            "doors",
            format!("not gated: {}", open.join(", ")),
            "jitctl gate SERVICE, where people should need a grant for it",
        ));
    }
    if ["/usr/bin/doas", "/usr/local/bin/doas"]
        .iter()
        .any(|path| here.path(path).exists())
    {
        findings.push(Finding::warning(
            "doors",
            "doas is installed: another way to root beside sudo",
            "remove it; jitd knows no action for it",
        ));
    }
    findings.extend(polkit_rules(here));
    findings
}

fn polkit_rules(here: &Here) -> Vec<Finding> {
    let files = POLKIT_RULES.iter().flat_map(|folder| {
        fs::read_dir(here.path(folder))
            .into_iter()
            .flatten()
            .flatten()
    });
    let mut yes: Vec<String> = files
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "rules")
        })
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(YES)))
        .map(|path| path.display().to_string())
        .collect();
    yes.sort();
    yes.into_iter()
        .map(|path| {
            Finding::note(
                "doors",
                format!("a rule in {path} lets somebody through without asking PAM"),
                "read it; polkit's own rules do so for what is harmless",
            )
        })
        .collect()
}
