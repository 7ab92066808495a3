//! Where root leaves what goes on without root.

use std::path::Path;

use super::kind::Kind;

/// Files and folders of the system, with all that is below them. In the kernel's own spelling: /lib is a link to /usr/lib.
pub(super) const SYSTEM: &[(Kind, &[&str])] = &[
    (
        Kind::Unit,
        &[
            "/etc/systemd/system",
            "/etc/systemd/system.conf",
            "/etc/systemd/system.conf.d",
            "/etc/systemd/system.control",
            "/etc/systemd/system-generators",
            "/run/systemd/system",
            "/run/systemd/system.control",
            "/run/systemd/system-generators",
            "/run/systemd/transient",
            "/usr/local/lib/systemd/system",
            "/usr/local/lib/systemd/system-generators",
            "/usr/lib/systemd/system",
            "/usr/lib/systemd/system-generators",
        ],
    ),
    (
        Kind::UserUnit,
        &[
            "/etc/systemd/user",
            "/etc/systemd/user.conf",
            "/etc/systemd/user-generators",
            "/run/systemd/user",
            "/usr/local/lib/systemd/user",
            "/usr/lib/systemd/user",
            "/usr/lib/systemd/user-generators",
            "/etc/xdg/autostart",
        ],
    ),
    (
        Kind::Cron,
        &[
            "/etc/crontab",
            "/etc/anacrontab",
            "/etc/cron.allow",
            "/etc/cron.deny",
            "/etc/cron.d",
            "/etc/cron.hourly",
            "/etc/cron.daily",
            "/etc/cron.weekly",
            "/etc/cron.monthly",
            "/etc/cron.yearly",
            "/etc/at.allow",
            "/etc/at.deny",
        ],
    ),
    (Kind::AtJob, &["/var/spool/cron/atjobs", "/var/spool/at"]),
    (Kind::Crontab, &["/var/spool/cron"]),
    (
        Kind::Sudoers,
        &[
            "/etc/sudoers",
            "/etc/sudoers.d",
            "/etc/sudo.conf",
            "/etc/doas.conf",
        ],
    ),
    (
        Kind::Account,
        &[
            "/etc/passwd",
            "/etc/shadow",
            "/etc/group",
            "/etc/gshadow",
            "/etc/subuid",
            "/etc/subgid",
            "/etc/nsswitch.conf",
        ],
    ),
    (
        Kind::Pam,
        &[
            "/etc/pam.d",
            "/etc/pam.conf",
            "/etc/security",
            "/usr/lib/pam.d",
            "/usr/lib/security",
            "/usr/lib64/security",
            "/usr/lib/x86_64-linux-gnu/security",
            "/usr/lib/aarch64-linux-gnu/security",
        ],
    ),
    (Kind::Ssh, &["/etc/ssh"]),
    (
        Kind::Loader,
        &["/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d"],
    ),
    (
        Kind::Profile,
        &[
            "/etc/profile",
            "/etc/profile.d",
            "/etc/bash.bashrc",
            "/etc/bashrc",
            "/etc/zsh",
            "/etc/environment",
            "/etc/environment.d",
            "/root/.profile",
            "/root/.bashrc",
            "/root/.bash_profile",
            "/root/.bash_login",
        ],
    ),
    (Kind::Linger, &["/var/lib/systemd/linger"]),
    (
        Kind::Polkit,
        &[
            "/etc/polkit-1",
            "/run/polkit-1",
            "/usr/local/share/polkit-1",
            "/usr/share/polkit-1",
        ],
    ),
    (
        Kind::Hook,
        &[
            "/etc/rc.local",
            "/etc/init.d",
            "/etc/udev/rules.d",
            "/run/udev/rules.d",
            "/etc/modules-load.d",
            "/etc/modprobe.d",
            "/etc/sysctl.d",
            "/etc/tmpfiles.d",
            "/etc/binfmt.d",
            "/etc/apt/apt.conf.d",
            "/etc/update-motd.d",
            "/etc/logrotate.d",
            "/etc/network",
            "/etc/NetworkManager/dispatcher.d",
            "/etc/dbus-1",
        ],
    ),
    (
        Kind::Jit,
        &[
            "/etc/jit",
            "/usr/sbin/jitd",
            "/usr/lib/jit",
            "/usr/bin/jitctl",
        ],
    ),
];

/// What generators wrote. Every daemon-reload writes it anew, so that only content counts.
pub(super) const GENERATED: &[&str] = &[
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
];

/// What ssh reads in a home.
pub(super) const OF_SSH: &[&str] = &["authorized_keys", "authorized_keys2", "rc", "environment"];

/// What a user's manager reads in a home.
pub(crate) const OF_USER_MANAGER: &[&str] = &[
    ".config/systemd/user",
    ".config/systemd/user.control",
    ".config/systemd/user.conf",
    ".local/share/systemd/user",
];

/// What comes and goes with every login and elevation of anybody, and what another place has already. A scope is no way to start
/// anything, and the timers are jitd's own.
pub(super) fn is_passing(folder: &Path, name: &str) -> bool {
    match folder.to_str() {
        Some("/run/systemd/transient") => {
            name.ends_with(".scope") || name.ends_with(".scope.d") || is_timer(name)
        }
        // Of Debian's at: a counter, and what jobs print.
        Some("/var/spool/cron/atjobs" | "/var/spool/at") => matches!(name, ".SEQ" | "spool"),
        Some("/var/spool/cron") => matches!(name, "atjobs" | "atspool"),
        _ => false,
    }
}

/// The unit names of `session/unit.rs`: `jit-end-ID-N.timer` and the service of the same name.
fn is_timer(name: &str) -> bool {
    let unit = name
        .strip_suffix(".timer")
        .or_else(|| name.strip_suffix(".service"));
    let rest = unit.and_then(|unit| unit.strip_prefix("jit-end-"));
    rest.and_then(|rest| rest.split_once('-'))
        .is_some_and(|(id, number)| {
            id.parse::<crate::session::SessionId>().is_ok() && number.parse::<u32>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_with_every_login_is_left_out() {
        let transient = Path::new("/run/systemd/transient");
        for name in [
            "session-c3.scope",
            "session-3.scope.d",
            "jit-elevation-abcdefgh23.scope",
            "jit-end-abcdefgh23-1.timer",
            "jit-end-abcdefgh23-12.service",
        ] {
            assert!(is_passing(transient, name), "{name}");
            assert!(
                !is_passing(Path::new("/etc/systemd/system"), name),
                "{name}"
            );
        }
        for name in [
            "run-r1.service",
            "jit-end-x-1.service",
            "jit-end-abcdefgh23-1.path",
        ] {
            assert!(!is_passing(transient, name), "{name}");
        }
    }

    #[test]
    fn every_place_is_an_absolute_path_named_once() {
        let mut paths: Vec<&str> = SYSTEM
            .iter()
            .flat_map(|(_, paths)| *paths)
            .copied()
            .collect();
        paths.extend(GENERATED);
        assert!(paths.iter().all(|path| path.starts_with('/')));
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }
}
