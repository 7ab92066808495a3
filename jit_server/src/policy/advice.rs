//! What a policy may say and better did not: none of it is refused, and `jit-server policy check` warns of it.

use jit_grant::{Action, Principal};
use toml::de::DeTable;

use super::parse::{ONE_DAY, opens_root};
use super::reader::Reader;
use super::{Approval, Role, could_be_done, in_words};

impl Reader<'_> {
    /// Warns of what is unwise in a role that is right.
    pub(super) fn advise(&mut self, role: &Role, table: &DeTable<'_>, path: &str) {
        let root = opens_root(&role.actions);
        if role.longest_seconds > ONE_DAY {
            let longest = in_words(role.longest_seconds);
            let problem = format!("{longest} is nearly standing access; a day at most is wiser");
            self.advise_on("longest", problem, table, path);
        }
        if root && role.hosts.are_nearly_all() {
            let problem = "opens root on every host, also on those enrolled later; name the hosts, or their labels";
            self.advise_on("hosts", problem.to_owned(), table, path);
        }
        if root && role.extension.is_some_and(|by| by.without_approval) {
            let problem =
                "lets root last as long as longest though each approval was for less; leave it out";
            self.advise_on("extend_without_approval", problem.to_owned(), table, path);
        }
        if root && matches!(role.approval, Approval::Auto(_)) {
            let problem = "opens root and nobody approves it; let somebody, or open less";
            self.advise_on("approve", problem.to_owned(), table, path);
        }
        let alone = never_reviewed(role);
        if !alone.is_empty() {
            let problem = format!(
                "{} may ask, but nobody reviews his own use and no other may review it; name more reviewers",
                alone.join(", ")
            );
            self.advise_on("review", problem, table, path);
        }
        let stuck = never_approved(role);
        if !stuck.is_empty() {
            let problem = format!(
                "{} may ask, but nobody approves his own request and too few others may approve: it could never be granted; name more approvers",
                stuck.join(", ")
            );
            self.advise_on("approve", problem, table, path);
        }
        self.advise_on_later(role, table, path);
        self.advise_on_groups(role, table, path);
        if role.actions.contains(&Action::Jobs) && role.limits.login_from.is_some() {
            let problem = "jobs come from no network, so that none ever runs by this role; leave jobs out, or have them in a role of their own";
            self.advise_on("login_from", problem.to_owned(), table, path);
        }
        if role.limits.single_use && !role.limits.groups.is_empty() {
            let problem = "beside groups: where another grant opens the same login, the login goes by that one and gets none of these groups; leave single_use out, or let nobody have another role with ssh there";
            self.advise_on("single_use", problem.to_owned(), table, path);
        }
    }

    /// Of those who may approve later, when the request has lapsed by then.
    fn advise_on_later(&mut self, role: &Role, table: &DeTable<'_>, path: &str) {
        let later = role.stages().iter().flat_map(|stage| &stage.later);
        let longest = later.map(|later| later.after_seconds).max();
        if let Some(after) = longest.filter(|after| *after >= role.pending_seconds) {
            let problem = format!(
                "after {} the request has lapsed, so nobody comes to it then; make after shorter or pending_for longer",
                in_words(after)
            );
            self.advise_on("approve", problem, table, path);
        }
    }

    fn advise_on(&mut self, key: &str, problem: String, table: &DeTable<'_>, path: &str) {
        let span = table.get(key).map_or(0..0, |value| value.span());
        self.warning(&span, &format!("{path}.{key}"), problem);
    }
}

/// Those named in may_ask for whom too few others may approve. Of approvers that come by group nothing is said: who is in it, the file
/// does not say.
fn never_approved(role: &Role) -> Vec<&str> {
    let stages = role.stages().iter();
    let named: Vec<_> = stages
        .filter_map(|stage| Some((stage, stage.all_named()?)))
        .collect();
    let enough = |asker: &Principal| {
        let others = named.iter().map(|(stage, named)| {
            let others = named.iter().copied();
            (*stage, others.filter(|name| *name != asker).collect())
        });
        could_be_done(&others.collect::<Vec<_>>())
    };
    let askers = role.may_ask.users.iter();
    askers
        .filter(|asker| !enough(asker))
        .map(Principal::as_str)
        .collect()
}

/// Those named in may_ask whose use of a break-glass role nobody else named may review.
fn never_reviewed(role: &Role) -> Vec<&str> {
    let named = role
        .review()
        .and_then(|review| review.reviewers.all_named());
    let Some(named) = named else {
        return Vec::new();
    };
    let others = |asker: &&Principal| named.iter().any(|name| name != *asker);
    let askers = role.may_ask.users.iter();
    askers
        .filter(|asker| !others(asker))
        .map(Principal::as_str)
        .collect()
}
