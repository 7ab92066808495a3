//! The people of the tests: accounts, passwords and ssh keys on a host.

use anyhow::Result;

use crate::host::Host;
use crate::image::Release;

/// People with an account of their own name. dora and emil share the login `deploy` besides.
pub const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dora", "emil"];

/// The login that dora's and emil's keys both open.
pub const SHARED_LOGIN: &str = "deploy";

/// The password of an account; root has one too, so that su can be tried.
#[must_use]
pub fn password(login: &str) -> String {
    format!("{login}'s-password")
}

const ACCOUNTS: &str = r#"
umask 022
for login; do
    useradd --create-home --shell /bin/bash "$login"
    keys=/home/$login/.ssh
    install -d -m 700 "$keys"
    ssh-keygen -q -t ed25519 -N '' -C "$login" -f "$keys/id_ed25519"
    cp "$keys/id_ed25519.pub" "$keys/authorized_keys"
done
cat /home/dora/.ssh/id_ed25519.pub /home/emil/.ssh/id_ed25519.pub > /home/deploy/.ssh/authorized_keys
for login; do chown -R "$login:$login" "/home/$login/.ssh"; done
key=$(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)
echo "* $key" > /etc/ssh/ssh_known_hosts
"#;

/// Makes the accounts, keys and sudo rules: alice gives her password to sudo, bob needs none, carol and dora may not use it;
/// deploy needs none. sshd takes keys, passwords and keyboard-interactive.
///
/// # Errors
/// Something of it fails inside the host.
pub fn settle(host: &Host) -> Result<()> {
    let logins = PEOPLE.iter().chain([&SHARED_LOGIN]).copied();
    host.command(&["sh", "-euc", ACCOUNTS, "sh"])
        .words(logins.clone())
        .text()?;
    let passwords: String = logins
        .chain(["root"])
        .map(|login| format!("{login}:{}\n", password(login)))
        .collect();
    host.command(&["chpasswd", "--crypt-method", "SHA512"])
        .input(passwords)
        .text()?;
    host.write(
        "/etc/sudoers.d/people",
        "0440",
        "alice ALL=(ALL:ALL) ALL\nbob,deploy ALL=(ALL:ALL) NOPASSWD: ALL\n",
    )?;
    host.write(
        "/etc/ssh/sshd_config.d/harness.conf",
        "0644",
        sshd_settings(host.release()),
    )?;
    host.sh("systemctl restart ssh").map(drop)
}

/// Debian's sshd asks no keyboard-interactive questions unless told to. Tests are refused often from one address; that newer sshd
/// then drops that address (T21) is a test of its own.
fn sshd_settings(release: Release) -> &'static str {
    match release {
        Release::Bookworm => "KbdInteractiveAuthentication yes\nMaxStartups 100\n",
        Release::Trixie => {
            "KbdInteractiveAuthentication yes\nMaxStartups 100\nPerSourcePenaltyExemptList 127.0.0.0/8,::1/128\n"
        }
    }
}
