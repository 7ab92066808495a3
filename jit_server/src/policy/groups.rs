//! Unix groups of a role: what people are told of them, and which make root of whoever is in them.

use std::collections::BTreeSet;

use jit_grant::{Action, GroupName, Groups};
use toml::de::DeTable;

use super::Role;
use super::reader::{Reader, Value};

/// Groups that are root in disguise on most hosts, and how.
const AS_ROOT: &[(&str, &str)] = &[
    ("admin", "sudo lets them become root"),
    ("disk", "they read and write whole disks"),
    (
        "docker",
        "they start containers with the host's files in them",
    ),
    (
        "incus",
        "they start containers with the host's files in them",
    ),
    (
        "incus-admin",
        "they start containers with the host's files in them",
    ),
    ("kmem", "they read the memory of the kernel"),
    (
        "libvirt",
        "they start virtual machines with the host's disks in them",
    ),
    ("lxd", "they start containers with the host's files in them"),
    (
        "microk8s",
        "they start containers with the host's files in them",
    ),
    ("shadow", "they read everybody's password hashes"),
    (
        "staff",
        "they write to /usr/local, where root's programs are looked for first",
    ),
    ("sudo", "sudo lets them become root"),
    ("wheel", "sudo and su let them become root"),
];

/// Why whoever is in `group` is as good as root, where he is.
fn as_root(group: &GroupName) -> Option<&'static str> {
    let found = AS_ROOT.iter().find(|(name, _)| *name == group.as_str());
    found.map(|(_, why)| *why)
}

impl Reader<'_> {
    /// The groups in a role's table; none where it does not say.
    pub(super) fn unix_groups(&mut self, table: &DeTable<'_>, path: &str) -> Option<Groups> {
        self.optional(table, path, "groups", Self::listed_groups)
            .unwrap_or(Some(Groups::default()))
    }

    fn listed_groups(&mut self, value: &Value<'_>, path: &str) -> Option<Groups> {
        let groups: BTreeSet<GroupName> = self.filled(value, path)?;
        match Groups::try_from(groups) {
            Ok(groups) => Some(groups),
            Err(error) => {
                self.mistake(&value.span(), path, error);
                None
            }
        }
    }

    /// Groups are a login's, so a role that opens none has no use for them. None where that is so.
    pub(super) fn usable_groups(
        &mut self,
        groups: &Groups,
        actions: &BTreeSet<Action>,
        table: &DeTable<'_>,
        path: &str,
    ) -> Option<()> {
        if groups.is_empty() || actions.contains(&Action::Ssh) {
            return Some(());
        }
        let span = table.get("groups").map_or(0..0, |value| value.span());
        let problem =
            "are given to logins over ssh, and this role opens none; add ssh to its actions";
        self.mistake(&span, &format!("{path}.groups"), problem);
        None
    }

    /// Warns of groups that are root in disguise.
    pub(super) fn advise_on_groups(&mut self, role: &Role, table: &DeTable<'_>, path: &str) {
        for group in role.limits.groups.iter() {
            if let Some(why) = as_root(group) {
                let span = table.get("groups").map_or(0..0, |value| value.span());
                let problem = format!(
                    "{group} is root in disguise: {why}, and no end of the grant undoes what they did; use sudo, which is held and recorded, or a narrower group"
                );
                self.warning(&span, &format!("{path}.groups"), problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::{check_closely, check_text};
    use super::*;

    fn policy(more: &str) -> String {
        format!(
            "[roles.logs]\nhosts = [\"web-1\"]\nactions = [\"ssh\"]\nlongest = \"1h\"\nmay_ask = {{ groups = [\"devs\"] }}\napprove = {{ groups = [\"leads\"] }}\n{more}\n"
        )
    }

    #[test]
    fn a_role_gives_its_logins_groups_sixteen_at_most() {
        let groups = |more: &str| {
            let policy = check_text("p", &policy(more)).unwrap();
            policy.roles[&"logs".parse().unwrap()]
                .limits
                .groups
                .listed()
        };
        assert!(groups("").is_empty());
        assert_eq!(
            groups("groups = [\"www-data\", \"adm\"]"),
            ["adm", "www-data"]
        );
        let numbered = |count: u8| {
            format!(
                "groups = {:?}",
                (0..count).map(|n| format!("g{n}")).collect::<Vec<_>>()
            )
        };
        assert_eq!(groups(&numbered(16)).len(), 16);
        for wrong in [
            numbered(17).as_str(),
            "groups = []",
            "groups = \"adm\"",
            "groups = [\"root\"]",
            "groups = [\"Adm\"]",
            "groups = [\"4\"]",
            "groups = [\"adm,root\"]",
            "groups = [4]",
        ] {
            let mistakes = check_text("p", &policy(wrong)).unwrap_err();
            let told: Vec<_> = mistakes
                .iter()
                .map(|one| (one.line, one.key.as_str()))
                .collect();
            assert_eq!(told, [(7, "roles.logs.groups")], "{wrong}");
        }
    }

    #[test]
    fn groups_of_a_role_that_opens_no_login_are_a_mistake() {
        let text = policy("groups = [\"adm\"]");
        let mistakes = check_text("p", &text.replace("\"ssh\"", "\"sudo\", \"jobs\"")).unwrap_err();
        assert_eq!(
            (mistakes[0].line, mistakes[0].key.as_str()),
            (7, "roles.logs.groups")
        );
        assert!(check_text("p", &text.replace("\"ssh\"", "\"ssh\", \"sudo\"")).is_ok());
    }

    #[test]
    fn groups_that_are_root_in_disguise_are_warned_of_by_name_and_others_are_not() {
        let warned = |group: &str| {
            let checked = check_closely("p", &policy(&format!("groups = [{group:?}]"))).unwrap();
            checked
                .warnings
                .into_iter()
                .map(|told| (told.line, told.key, told.problem))
                .collect::<Vec<_>>()
        };
        for (group, _) in AS_ROOT {
            let told = warned(group);
            assert_eq!(
                (told[0].0, told[0].1.as_str()),
                (7, "roles.logs.groups"),
                "{group}"
            );
            assert!(told[0].2.starts_with(group), "{told:?}");
        }
        for group in ["adm", "www-data", "systemd-journal", "dockers"] {
            assert_eq!(warned(group), [], "{group}");
        }
    }
}
