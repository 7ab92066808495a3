//! sshd's settings, as `sshd -T` prints them.

use super::{Finding, ask};

pub(super) fn findings() -> Vec<Finding> {
    match ask("/usr/sbin/sshd", &["-T"]) {
        None => Vec::new(),
        Some(Ok(settings)) => judge(&settings),
        Some(Err(why)) => vec![Finding::warning(
            "sshd",
            format!("its settings could not be read: sshd -T: {why}"),
            "sshd -t as root says more",
        )],
    }
}

/// Judges the output of `sshd -T`: one lower-case keyword and its value a line.
fn judge(settings: &str) -> Vec<Finding> {
    let value = |keyword: &str| {
        settings
            .lines()
            .find_map(|line| line.split_once(' ').filter(|(name, _)| *name == keyword))
            .map(|(_, value)| value.trim())
    };
    let mut findings = Vec::new();
    if value("usepam") == Some("no") {
        findings.push(Finding::error(
            "sshd",
            "UsePAM is off: sshd asks nobody",
            "set `UsePAM yes` in /etc/ssh/sshd_config and reload ssh",
        ));
    }
    if let Some(service) = value("pamservicename").filter(|service| *service != "sshd") {
        findings.push(Finding::error(
            "sshd",
            format!("sshd uses the PAM service {service}, not sshd"),
            format!("jitctl gate {service}, or take PAMServiceName out of sshd_config"),
        ));
    }
    // OpenSSH 9.8 and newer; `no` switches it off.
    let penalties = value("persourcepenalties").is_some_and(|value| value != "no");
    let exempt = value("persourcepenaltyexemptlist")
        .is_some_and(|value| value != "none" && !value.is_empty());
    if penalties && !exempt {
        findings.push(Finding::warning(
            "sshd",
            "a few refusals in a row make sshd drop an address for a while, permitted people behind it included",
            "/usr/share/doc/jitd/examples/sshd-penalties.conf shows how to exempt addresses",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(settings: &str) -> Vec<String> {
        judge(settings)
            .into_iter()
            .map(|finding| format!("{:?}: {}", finding.severity, finding.what))
            .collect()
    }

    #[test]
    fn sshd_without_pam_is_an_error() {
        assert_eq!(
            words("port 22\nusepam no\n"),
            ["Error: UsePAM is off: sshd asks nobody"]
        );
        assert!(words("port 22\nusepam yes\n").is_empty());
    }

    #[test]
    fn another_pam_service_name_is_an_error() {
        assert_eq!(
            words("usepam yes\npamservicename backdoor\n"),
            ["Error: sshd uses the PAM service backdoor, not sshd"]
        );
        assert!(words("usepam yes\npamservicename sshd\n").is_empty());
    }

    #[test]
    fn penalties_without_exemptions_are_a_warning() {
        let settings = "usepam yes\npersourcepenalties crash:90 authfail:5\n";
        assert_eq!(words(settings).len(), 1);
        assert!(
            words(&format!(
                "{settings}persourcepenaltyexemptlist 192.0.2.0/24\n"
            ))
            .is_empty()
        );
        assert!(words("usepam yes\npersourcepenalties no\n").is_empty());
    }
}
