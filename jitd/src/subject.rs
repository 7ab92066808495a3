//! Whose login a call is about (T1, T3).
//!
//! For a login over ssh it is PAM_USER. For su, sudo and polkit PAM_USER may be the target, so it is the caller's real uid, as the
//! kernel says it, held against PAM_RUSER. Where two sources disagree nobody is taken for anybody.

use jit_grant::{Action, Credential, Fingerprint, Login};
use jit_local::message::pam::Call;

use crate::accounts::Accounts;
use crate::peer::Peer;

/// Whose login it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Root itself runs su or sudo: never refused, since nobody can be root's superior on his own host.
    Root,
    /// An account that a grant may open.
    Person(Login),
}

/// Why it is unclear whose login it is: in words for the record and the refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unclear(pub String);

/// Whose login `call`, made by `peer`, is about.
///
/// # Errors
/// Where the sources disagree, or the account can't be granted. The answer is no then.
pub async fn whose(
    action: Action,
    call: &Call,
    peer: &Peer,
    accounts: &Accounts,
) -> Result<Subject, Unclear> {
    match action {
        Action::Ssh => named(call, peer, accounts).await,
        Action::Sudo | Action::Su => caller(call, peer, accounts).await,
    }
}

/// The login is who PAM_USER names. Only root's sshd may say so.
async fn named(call: &Call, peer: &Peer, accounts: &Accounts) -> Result<Subject, Unclear> {
    if peer.real_uid != 0 {
        return Err(Unclear(format!(
            "a login was asked for by uid {}, not by a service of root's",
            peer.real_uid
        )));
    }
    let account = accounts
        .by_name(&call.user)
        .await
        .map_err(|error| Unclear(error.to_string()))?;
    if account.name != call.user {
        return Err(Unclear(
            "the account's own name is not the one that was logged in with".to_owned(),
        ));
    }
    if account.uid == 0 {
        return Err(Unclear("root and its aliases can't be granted".to_owned()));
    }
    grantable(account.name)
}

/// The login is whose real uid the calling process has.
async fn caller(call: &Call, peer: &Peer, accounts: &Accounts) -> Result<Subject, Unclear> {
    if peer.real_uid == 0 {
        return Ok(Subject::Root);
    }
    let account = accounts
        .by_uid(peer.real_uid)
        .await
        .map_err(|error| Unclear(error.to_string()))?;
    let back = accounts
        .by_name(&account.name)
        .await
        .map_err(|error| Unclear(error.to_string()))?;
    if back.uid != peer.real_uid || back.name != account.name {
        return Err(Unclear(
            "the caller's uid and name do not lead to each other".to_owned(),
        ));
    }
    match call.ruser.as_deref() {
        None | Some("") => grantable(account.name),
        Some(said) if said == account.name => grantable(account.name),
        Some(_) => Err(Unclear(
            "the program names another caller (PAM_RUSER) than the kernel".to_owned(),
        )),
    }
}

fn grantable(name: String) -> Result<Subject, Unclear> {
    Login::try_from(name)
        .map(Subject::Person)
        .map_err(|error| Unclear(error.to_string()))
}

/// How sshd authenticated, from SSH_AUTH_INFO_0 in the session phase: one line a method, such as `publickey ssh-ed25519 AAAA…`
/// or `password` (sshd_config(5), ExposeAuthInfo). A key anywhere in it binds the session to that key.
///
/// # Errors
/// Where there is a key that can't be named, such as a certificate: nobody can say whose it is.
pub fn ssh_credential(auth_info: Option<&str>) -> Result<Credential, Unclear> {
    let info = auth_info.unwrap_or_default();
    let key = info
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("publickey "));
    match key {
        Some(key) => {
            let fingerprint =
                Fingerprint::of_public_key_line(key).map_err(|error| Unclear(error.to_string()))?;
            Ok(Credential::Key(fingerprint))
        }
        None => {
            let method = info.split_ascii_whitespace().next().unwrap_or("unknown");
            Ok(Credential::Method(method.chars().take(64).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nada:x:4242:1::/:/bin/sh\nlady:x:4242:1::/:/bin/sh\n\
                          Bob:x:4243:1::/:/bin/sh\nbob:x:4244:1::/:/bin/sh\nbob:x:4245:1::/:/bin/sh\n";

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let directory = tempfile::tempdir().unwrap();
        let (passwd, nsswitch) = (
            directory.path().join("passwd"),
            directory.path().join("nsswitch.conf"),
        );
        fs::write(&passwd, PASSWD).unwrap();
        fs::write(&nsswitch, "passwd: files\n").unwrap();
        let accounts = Accounts::of(&passwd, &nsswitch);
        (directory, accounts)
    }

    fn peer(real_uid: u32) -> Peer {
        Peer {
            pid: 1,
            start_time: 0,
            pidfd: None,
            uid: 0,
            real_uid,
        }
    }

    fn call(user: &str, ruser: Option<&str>) -> Call {
        Call {
            user: user.into(),
            ruser: ruser.map(str::to_owned),
            ..Call::default()
        }
    }

    async fn ask(action: Action, call: Call, real_uid: u32) -> Option<Subject> {
        let (_directory, accounts) = accounts();
        whose(action, &call, &peer(real_uid), &accounts).await.ok()
    }

    fn person(name: &str) -> Option<Subject> {
        Some(Subject::Person(name.parse().unwrap()))
    }

    #[tokio::test]
    async fn for_su_and_sudo_it_is_the_caller_whatever_pam_user_says() {
        for action in [Action::Su, Action::Sudo] {
            for target in ["root", "ada", "bob", "nobody"] {
                assert_eq!(
                    ask(action, call(target, Some("ada")), 4242).await,
                    person("ada")
                );
                assert_eq!(ask(action, call(target, None), 4242).await, person("ada"));
            }
        }
    }

    #[tokio::test]
    async fn a_program_that_names_another_caller_than_the_kernel_is_refused() {
        for said in ["root", "bob", "lady", "ADA"] {
            assert_eq!(
                ask(Action::Sudo, call("root", Some(said)), 4242).await,
                None,
                "{said}"
            );
        }
    }

    #[tokio::test]
    async fn root_itself_is_root_whatever_the_program_says() {
        assert_eq!(
            ask(Action::Su, call("ada", Some("ada")), 0).await,
            Some(Subject::Root)
        );
        assert_eq!(
            ask(Action::Sudo, call("root", None), 0).await,
            Some(Subject::Root)
        );
    }

    #[tokio::test]
    async fn a_uid_whose_name_leads_elsewhere_is_nobody() {
        assert_eq!(ask(Action::Sudo, call("root", None), 4245).await, None);
        assert_eq!(ask(Action::Sudo, call("root", None), 4_000_000).await, None);
    }

    #[tokio::test]
    async fn for_sshd_it_is_pam_user_and_never_a_name_of_uid_0() {
        assert_eq!(ask(Action::Ssh, call("ada", None), 0).await, person("ada"));
        assert_eq!(
            ask(Action::Ssh, call("lady", None), 0).await,
            person("lady")
        );
        for name in ["root", "toor", "Bob", "ghost", "", "ada\n", "../ada"] {
            assert_eq!(
                ask(Action::Ssh, call(name, None), 0).await,
                None,
                "{name:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_login_can_only_be_asked_for_by_root() {
        assert_eq!(ask(Action::Ssh, call("ada", None), 4242).await, None);
    }

    #[test]
    fn a_key_anywhere_binds_and_other_methods_are_named() {
        const KEY: &str =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        let fingerprint = Fingerprint::of_public_key_line(KEY).unwrap();
        for info in [
            format!("publickey {KEY}"),
            format!("publickey {KEY}\nkeyboard-interactive/pam\n"),
            format!("password\npublickey {KEY}"),
        ] {
            assert_eq!(
                ssh_credential(Some(&info)),
                Ok(Credential::Key(fingerprint.clone())),
                "{info}"
            );
        }
        assert_eq!(
            ssh_credential(Some("password")),
            Ok(Credential::Method("password".into()))
        );
        assert_eq!(
            ssh_credential(Some("keyboard-interactive/pam\n")),
            Ok(Credential::Method("keyboard-interactive/pam".into()))
        );
        assert_eq!(
            ssh_credential(None),
            Ok(Credential::Method("unknown".into()))
        );
    }

    #[test]
    fn a_key_that_cannot_be_named_binds_to_nobody() {
        assert!(ssh_credential(Some("publickey ssh-ed25519 rubbish")).is_err());
        assert!(ssh_credential(Some("publickey ssh-ed25519-cert-v01@openssh.com AAAA")).is_err());
    }
}
