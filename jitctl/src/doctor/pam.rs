//! The gate lines, service by service.

use super::{Finding, module};
use crate::actions;
use crate::command::Here;
use crate::command::status::left;
use crate::gate::{Mode, Service, State, family};

pub(super) fn findings(here: &Here, services: &[Service]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = services
        .iter()
        .flat_map(|service| about(here, service))
        .collect();
    let gated: Vec<&Service> = services
        .iter()
        .filter(|service| service.state != State::Ungated)
        .collect();
    if gated.is_empty() {
        findings.push(Finding::warning(
            "pam",
            "no service is gated",
            "jitctl gate sshd sudo su",
        ));
        return findings;
    }
    findings.extend(gated.iter().flat_map(|head| half_open(head, services)));
    findings.extend(without_action(here, &gated));
    if let Err(problem) = module::find(here.root()) {
        findings.push(Finding::error(
            "pam",
            problem,
            "install the package jitd again, or `jitctl ungate --all` until it is",
        ));
    }
    findings
}

fn about(here: &Here, service: &Service) -> Vec<Finding> {
    let name = &service.name;
    let mut findings = Vec::new();
    match &service.state {
        State::Damaged(_) => findings.push(Finding::error(
            "pam",
            format!("the lines in /etc/pam.d/{name} are not all there, or not in their place"),
            format!("jitctl gate {name}"),
        )),
        State::Gated(Mode::Provisional { .. }) if left(here, service) == Some(0) => {
            findings.push(Finding::warning(
                "pam",
                format!("{name}: the time to confirm is over, it only watches"),
                "jitctl enforce, or jitctl monitor",
            ));
        }
        State::Gated(_) | State::Ungated => {}
    }
    if let Some(line) = service.stray {
        findings.push(Finding::error(
            "pam",
            format!(
                "/etc/pam.d/{name} line {line} names pam_jit.so and is not of jitctl's writing"
            ),
            "take it out by hand",
        ));
    }
    if service.lacks_groups {
        findings.push(Finding::warning(
            "pam",
            format!("{name}: its gate lacks the line by which a role's Unix groups are given, so that no such role is to be had here"),
            format!("jitctl gate {name}"),
        ));
    }
    if service.outdated_copy {
        findings.push(Finding::warning(
            "pam",
            format!(
                "/etc/pam.d/{name} was copied from /usr/lib/pam.d/{name}, which has changed since"
            ),
            format!(
                "jitctl ungate {name} && jitctl gate {name}, then jitctl enforce where it enforced"
            ),
        ));
    }
    findings
}

/// Gated services that jitd could only refuse.
fn without_action(here: &Here, gated: &[&Service]) -> Vec<Finding> {
    let known = match actions::services(here.root()) {
        Ok(known) => known,
        Err(error) => return vec![Finding::error("jitd", error.to_string(), "jitd --check")],
    };
    let unknown = gated
        .iter()
        .filter(|service| !known.contains(&service.name));
    unknown
        .map(|service| {
            Finding::warning(
                "pam",
                format!(
                    "{} is gated and stands for no action in /etc/jit/jitd.toml",
                    service.name
                ),
                format!(
                    "give it one under [services], or jitctl ungate {}",
                    service.name
                ),
            )
        })
        .collect()
}

/// Services of the same door as `head` that are open beside it (T5).
fn half_open<'a>(head: &'a Service, services: &'a [Service]) -> impl Iterator<Item = Finding> + 'a {
    let members = family(&head.name);
    let open = services.iter().filter(move |service| {
        members.contains(&service.name.as_str())
            && service.state == State::Ungated
            && service.covered_by.is_none()
    });
    open.map(move |service| {
        Finding::error(
            "pam",
            format!(
                "{} is gated, and {} beside it is not",
                head.name, service.name
            ),
            format!("jitctl gate {}", head.name),
        )
    })
}
