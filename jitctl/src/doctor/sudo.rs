//! Settings of sudo that lead round PAM (T6), as cvtsudoers(1) reads them, included files and all.

use serde_json::Value;

use super::{Finding, ask};
use crate::gate::{Service, State};

const REMEDY: &str = "take it out with visudo";

pub(super) fn findings(services: &[Service]) -> Vec<Finding> {
    if !services
        .iter()
        .any(|service| service.name == "sudo" && service.state != State::Ungated)
    {
        return Vec::new();
    }
    let unread = |why: String| {
        vec![Finding::warning(
            "sudo",
            format!("its settings could not be read: {why}"),
            "look for pam_service, pam_session and pam_acct_mgmt in /etc/sudoers yourself",
        )]
    };
    match ask("/usr/bin/cvtsudoers", &["-f", "json", "/etc/sudoers"]) {
        None => unread("cvtsudoers is not there".to_owned()),
        Some(Err(why)) => unread(format!("cvtsudoers: {why}")),
        Some(Ok(text)) => match serde_json::from_str(&text) {
            Ok(sudoers) => judge(&sudoers),
            Err(error) => unread(format!("cvtsudoers: {error}")),
        },
    }
}

/// Judges the `Defaults` in what `cvtsudoers -f json` prints: objects of options, for all or for some users, hosts and commands.
fn judge(sudoers: &Value) -> Vec<Finding> {
    let defaults = sudoers
        .get("Defaults")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let options = defaults
        .filter_map(|default| default.get("Options")?.as_array())
        .flatten()
        .filter_map(Value::as_object)
        .flatten();
    options
        .filter_map(|(name, value)| bypass(name, value))
        .collect()
}

fn bypass(name: &str, value: &Value) -> Option<Finding> {
    let what = match (name, value) {
        ("pam_service", Value::String(service)) if service != "sudo" => format!("pam_service={service} makes sudo use another PAM file, which jitd does not take for sudo's"),
        ("pam_login_service", Value::String(service)) if service != "sudo-i" && service != "sudo" => {
            format!("pam_login_service={service} makes `sudo -i` use another PAM file, which jitd does not take for sudo's")
        }
        ("pam_acct_mgmt", Value::Bool(false)) => "!pam_acct_mgmt makes sudo skip the account phase, where access is decided".to_owned(),
        ("pam_session", Value::Bool(false)) => "!pam_session makes sudo skip the session phase, so that what it starts is ended after 5 s".to_owned(),
        _ => return None,
    };
    Some(Finding::error(
        "sudo",
        format!("in sudoers, {what}"),
        REMEDY,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_that_lead_round_pam_are_errors_also_for_one_user_alone() {
        let sudoers = json!({ "Defaults": [
            { "Options": [{ "env_reset": true }, { "pam_service": "other" }] },
            { "Binding": [{ "username": "alice" }], "Options": [{ "pam_acct_mgmt": false }, { "pam_session": false }] },
        ]});
        assert_eq!(judge(&sudoers).len(), 3);
    }

    #[test]
    fn a_plain_sudoers_is_fine() {
        let sudoers = json!({ "Defaults": [{ "Options": [{ "env_reset": true }, { "pam_service": "sudo" }, { "pam_session": true }] }], "User_Specs": [] });
        assert!(judge(&sudoers).is_empty());
        assert!(judge(&json!({})).is_empty());
    }
}
