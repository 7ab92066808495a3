//! What a host can be told of.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jit_grant::{Bundle, SigningKey};

use super::*;
use crate::bundles::bundle;

/// As long as any.
fn long(of: &str, number: usize, length: usize) -> String {
    let number = number.to_string();
    format!("{}{number}", of.repeat(length - number.len()))
}

fn keys(number: usize) -> BTreeSet<crate::ssh_key::SshKey> {
    let key = |number: usize| {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([u8::try_from(number).unwrap(); 32]);
        let line = format!("ssh-ed25519 {}", STANDARD.encode(blob));
        line.try_into().unwrap()
    };
    (0..number).map(key).collect()
}

fn with_keys(name: &str, number: usize) -> UserSet {
    UserSet {
        keys: keys(number),
        ..user_set(name, &"l".repeat(32))
    }
}

fn signed(history: &History) -> usize {
    let host = history.state.directory.host(&"web-1".parse().unwrap());
    let bundle = bundle(&history.state, host.unwrap(), u64::MAX, begin());
    let signed = bundle.sign(&SigningKey::generate().unwrap());
    signed.unwrap().len()
}

/// Users with so many keys get as much as one host takes, of the longest of everything, each approved by so many.
fn filled(number_of_keys: usize, approvers: usize) -> (History, String) {
    let role = "r".repeat(64);
    let names: Vec<_> = (0..approvers).map(|number| long("b", number, 64)).collect();
    let approve_by = match approvers {
        0 => r#"{ auto = true, because = "they can only read logs" }"#.to_owned(),
        _ => format!("{{ users = {names:?}, count = {approvers} }}"),
    };
    let network = |n| format!("2001:db8:1111:1111:1111:1111:1111:11{n:02x}/128");
    let networks: Vec<_> = (0x10..0x20).map(network).collect();
    let policy = format!(
        "[roles.{role}]\nhosts = [\"web-1\"]\nactions = [\"ssh\"]\nlongest = \"1h\"\nextendable = \"20m\"\nlogin_from = {networks:?}\n\
         end_login_with_elevation = true\nmay_ask = {{ groups = [\"all\"] }}\napprove = {approve_by}\n"
    );
    let policy = check_text("policy.toml", &policy).unwrap();
    let mut history = History::new();
    history.announces(begin(), "web-1", &["login_from"]);
    for name in &names {
        history.happened(
            begin(),
            &Actor::Administrator,
            user(name, name.get(..32).unwrap()),
        );
    }
    let now = begin() + SignedDuration::from_nanos(123_456_789);
    for number in 1.. {
        let name = long("a", number, 64);
        let mut set = with_keys(&name, number_of_keys);
        set.groups.insert("all".parse().unwrap());
        history.happened(begin(), &Actor::Administrator, Event::UserSet(set));
        let Command::Ask(asked) = ask(&role, 600) else {
            unreachable!("it asks");
        };
        let asked = Command::Ask(Ask {
            reason: Reason::try_from("\u{1f600}".repeat(500)).unwrap(),
            ticket: Some("\"".repeat(200).try_into().unwrap()),
            ..asked
        });
        let mut wants = |name: &str, wanted| -> Result<(), WorkflowError> {
            let actor = Actor::Principal(name.parse().unwrap());
            for event in command(&history.state, &policy, now, &actor, wanted)? {
                history.happened(now, &event.actor(&actor), event);
            }
            Ok(())
        };
        let id = u64::try_from(number).unwrap();
        let approved = names.iter().map(|name| (name.as_str(), approve(id, None)));
        let mut all = std::iter::once((name.as_str(), asked)).chain(approved);
        if let Err(refused) = all.try_for_each(|(name, wanted)| wants(name, wanted)) {
            assert_eq!(refused, WorkflowError::HostFull("web-1".parse().unwrap()));
            return (history, name);
        }
    }
    unreachable!("a host takes no more than some thousands")
}

#[test]
fn a_host_is_never_granted_more_than_can_be_signed_for_it() {
    for (number_of_keys, approvers) in [(20, 0), (64, 0), (0, 10)] {
        let (history, _) = filled(number_of_keys, approvers);
        let signed = signed(&history);
        assert!(signed <= Bundle::MAX_BYTES, "{signed}");
        assert!(signed > Bundle::MAX_BYTES / 2, "{signed} is little");
    }
}

#[test]
fn keys_that_a_host_could_not_be_told_of_are_refused() {
    let (mut history, _) = filled(1, 0);
    let live: Vec<_> = history
        .state
        .grants()
        .map(|grant| grant.principal.to_string())
        .collect();
    let set = |history: &mut History, name: &str, number| {
        let mut set = with_keys(name, number);
        set.groups.insert("all".parse().unwrap());
        history.wants(
            begin() + SignedDuration::from_secs(1),
            PEOPLE.len(),
            Command::SetUser(set),
        )
    };
    let refused = live
        .iter()
        .find_map(|name| set(&mut history, name, 64).err());
    assert_eq!(
        refused,
        Some(WorkflowError::HostFull("web-1".parse().unwrap()))
    );
    assert!(signed(&history) <= Bundle::MAX_BYTES);
    set(&mut history, &live[0], 0).unwrap();
}
