//! Whose login a call is about (T1, T3).
//!
//! For a login over ssh it is PAM_USER. For su, sudo and polkit PAM_USER may be the target, so it is the caller's real uid, as the
//! kernel says it, held against PAM_RUSER. Where two sources disagree nobody is taken for anybody.

use jit_grant::{Action, Credential, Fingerprint, Login};
use jit_local::message::control::Session;
use jit_local::message::pam::Call;

use crate::accounts::{Account, Accounts};
use crate::at_job;
use crate::peer::Peer;

/// Whose login it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Root itself runs su or sudo, or has a job run: never refused, since nobody can be root's superior on his own host.
    Root,
    /// The job or the user manager of a service's account: recorded, never refused or held.
    Service(String),
    /// An account that a grant may open.
    Person(Login),
}

/// How a PAM service lets somebody in: what it stands for says what he may do, this says how he is held to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// sshd and what is like it: a session of logind's.
    Login,
    /// sudo, su, polkit: a scope of our own.
    Elevation,
    /// cron, at: a scope of our own, opened by a daemon of the system's.
    Job,
    /// PID 1, about to start user@UID.service.
    Manager,
}

/// polkit's PAM service. In its account phase polkit's helper asks, and is gone before anything is done; in its session phase pkexec
/// itself is about to become root.
pub(crate) const POLKIT: &str = "polkit-1";

/// PID 1's PAM service for user@UID.service (`PAMName=` there).
const MANAGER: &str = "systemd-user";

/// atd's PAM service.
const AT: &str = "atd";

impl Door {
    /// The door that `service`, which stands for `action`, is.
    #[must_use]
    pub fn of(service: &str, action: Action) -> Self {
        match action {
            _ if service == MANAGER => Self::Manager,
            Action::Ssh => Self::Login,
            Action::Sudo | Action::Su => Self::Elevation,
            Action::Jobs => Self::Job,
        }
    }
}

/// Where somebody came from who enters: for a login what PAM says (`rhost`); for sudo and su where the login came from which vouches for
/// him, whatever PAM says there. Jobs and user managers come from nowhere.
pub(crate) fn came_from(
    door: Door,
    rhost: Option<String>,
    parent: Option<&Session>,
) -> Option<String> {
    match door {
        Door::Login => rhost,
        Door::Elevation => parent.and_then(|parent| parent.rhost.clone()),
        Door::Job | Door::Manager => None,
    }
}

/// The session that sudo or su was started from says who it is; without one nobody does.
pub(crate) fn vouched_for_by(parent: Option<&Session>) -> Credential {
    let principal = parent
        .and_then(|session| session.principal.as_deref())
        .and_then(|principal| principal.parse().ok());
    principal.map_or(Credential::Unbound, Credential::Principal)
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
    door: Door,
    call: &Call,
    peer: &Peer,
    accounts: &Accounts,
    people_from_uid: u32,
) -> Result<Subject, Unclear> {
    match door {
        Door::Login => named(call, peer, accounts).await,
        Door::Elevation => caller(call, peer, accounts).await,
        Door::Manager => started_by_the_system(call, peer, accounts, people_from_uid).await,
        Door::Job => {
            let subject = started_by_the_system(call, peer, accounts, people_from_uid).await?;
            if let Subject::Person(login) = &subject {
                begins_with_own_group(login, call, peer, accounts).await?;
            }
            Ok(subject)
        }
    }
}

/// A job of at begins with the group that its caller had: one from a grant would outlast it that way.
async fn begins_with_own_group(
    login: &Login,
    call: &Call,
    peer: &Peer,
    accounts: &Accounts,
) -> Result<(), Unclear> {
    let unclear = |error: &dyn std::fmt::Display| {
        Unclear(format!("which group the job begins with: {error}"))
    };
    let group = match at_job::group_of(peer).map_err(|error| unclear(&error))? {
        Some(group) => group,
        None if call.service == AT => return Err(unclear(&"atd has no job open")),
        None => return Ok(()),
    };
    let own = accounts.is_in(login.as_str(), group).await;
    if own.map_err(|error| unclear(&error))? {
        return Ok(());
    }
    Err(Unclear(format!(
        "the job of at begins with the group {group}, which {login} is not in on this host"
    )))
}

/// The login is who PAM_USER names. Only a daemon of the system's may say so: atd calls with root's effective and its own real uid.
/// Accounts below `people_from_uid` are services'. Of root and of them only /etc/passwd counts: a directory could make anybody one.
async fn started_by_the_system(
    call: &Call,
    peer: &Peer,
    accounts: &Accounts,
    people_from_uid: u32,
) -> Result<Subject, Unclear> {
    if peer.real_uid >= people_from_uid {
        return Err(Unclear(format!(
            "a job or user manager was asked for by uid {}, not by a service of the system's",
            peer.real_uid
        )));
    }
    let local = accounts.in_passwd(&call.user);
    if local == Some(0) || call.user == "root" {
        return Ok(Subject::Root);
    }
    let account = by_own_name(call, accounts).await?;
    match local {
        Some(uid) if uid == account.uid && uid < people_from_uid => {
            Ok(Subject::Service(account.name))
        }
        _ => grantable(account),
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
    grantable(by_own_name(call, accounts).await?)
}

/// The account of PAM_USER, where that is its own name.
async fn by_own_name(call: &Call, accounts: &Accounts) -> Result<Account, Unclear> {
    let account = accounts
        .by_name(&call.user)
        .await
        .map_err(|error| Unclear(error.to_string()))?;
    if account.name != call.user {
        return Err(Unclear(
            "the account's own name is not the one that was logged in with".to_owned(),
        ));
    }
    Ok(account)
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
        None | Some("") => grantable(account),
        Some(said) if said == account.name => grantable(account),
        // polkit's helper puts there who proves to be an administrator, as it does in PAM_USER: it says nothing about the caller.
        Some(said) if call.service == POLKIT && said == call.user => grantable(account),
        Some(_) => Err(Unclear(
            "the program names another caller (PAM_RUSER) than the kernel".to_owned(),
        )),
    }
}

fn grantable(account: Account) -> Result<Subject, Unclear> {
    if account.uid == 0 {
        return Err(Unclear("root and its aliases can't be granted".to_owned()));
    }
    Login::try_from(account.name)
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
    use crate::fixture::caller as peer;
    use std::fs;
    use std::sync::{Arc, OnceLock};

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nmail:x:8:8::/:/bin/sh\nada:x:4242:1::/:/bin/sh\nlady:x:4242:1::/:/bin/sh\n\
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

    fn call(user: &str, ruser: Option<&str>) -> Call {
        Call {
            user: user.into(),
            ruser: ruser.map(str::to_owned),
            ..Call::default()
        }
    }

    async fn ask(action: Action, call: Call, real_uid: u32) -> Option<Subject> {
        let (_directory, accounts) = accounts();
        let door = Door::of(&call.service, action);
        whose(door, &call, &peer(real_uid), &accounts, 1000)
            .await
            .ok()
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
    async fn for_polkit_it_is_the_caller_whoever_proves_to_be_an_administrator() {
        let polkit = |ruser| Call {
            service: POLKIT.to_owned(),
            ..call("root", Some(ruser))
        };
        assert_eq!(ask(Action::Sudo, polkit("root"), 4242).await, person("ada"));
        assert_eq!(ask(Action::Sudo, polkit("ada"), 4242).await, person("ada"));
        assert_eq!(ask(Action::Sudo, polkit("bob"), 4242).await, None);
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
    async fn jobs_of_root_and_of_services_are_nobodys_grant_and_those_of_people_are() {
        let service = Subject::Service("mail".into());
        for daemon in [0, 1] {
            let job = |name| ask(Action::Jobs, call(name, None), daemon);
            assert_eq!(job("root").await, Some(Subject::Root));
            assert_eq!(job("toor").await, Some(Subject::Root));
            assert_eq!(job("mail").await, Some(service.clone()));
            assert_eq!(job("ada").await, person("ada"));
            for name in ["ghost", "", "Bob", "../ada"] {
                assert_eq!(job(name).await, None, "{name:?}");
            }
        }
        assert_eq!(ask(Action::Jobs, call("mail", None), 4242).await, None);
    }

    #[tokio::test]
    async fn t16_a_job_whose_group_can_not_be_known_is_nobody_s() {
        let (_directory, accounts) = accounts();
        let job = |service: &str| Call {
            service: service.to_owned(),
            ..call("ada", None)
        };
        // This process has no job of at open, and one that has gone can't be looked at.
        let gone = Peer {
            started: Arc::new(OnceLock::from(0)),
            pidfd: None,
            ..peer(1)
        };
        for (service, peer) in [(AT, &peer(1)), (AT, &gone), ("cron", &gone)] {
            let asked = whose(Door::Job, &job(service), peer, &accounts, 1000).await;
            assert!(asked.is_err(), "{service}");
        }
        let job = whose(Door::Job, &job("cron"), &peer(1), &accounts, 1000).await;
        assert_eq!(Some(job.unwrap()), person("ada"));
    }

    #[tokio::test]
    async fn a_user_manager_is_its_login_s_and_only_the_system_may_ask_for_it() {
        let manager = |name| Call {
            service: MANAGER.into(),
            ..call(name, None)
        };
        assert_eq!(ask(Action::Ssh, manager("ada"), 0).await, person("ada"));
        assert_eq!(
            ask(Action::Ssh, manager("root"), 0).await,
            Some(Subject::Root)
        );
        assert_eq!(ask(Action::Ssh, manager("ada"), 4242).await, None);
    }

    #[tokio::test]
    async fn a_directory_makes_nobody_a_service() {
        let (directory, accounts) = accounts();
        fs::write(
            directory.path().join("nsswitch.conf"),
            "passwd: sss files\n",
        )
        .unwrap();
        let asked = whose(Door::Job, &call("daemon", None), &peer(0), &accounts, 1000).await;
        assert_ne!(asked, Ok(Subject::Service("daemon".into())));
        let root = whose(Door::Job, &call("toor", None), &peer(0), &accounts, 1000).await;
        assert_eq!(root, Ok(Subject::Root));
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
