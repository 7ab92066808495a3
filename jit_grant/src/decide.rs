//! The one place that says yes, and until when.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bundle::{Action, Bundle, Grant};
use crate::code::Code;
use crate::fingerprint::Fingerprint;
use crate::groups::first_to_end;
use crate::name::{GrantId, GroupName, Login, Principal, RoleName};
use crate::refusal::Refusal;

/// How the caller showed who he is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// Not known yet: sshd's account phase with a key. To be decided again in the session phase, with what is known then.
    Pending,
    /// This ssh key.
    Key(Fingerprint),
    /// Something else, such as `password`. It says which login, not which principal.
    Method(String),
    /// The parent login session of a sudo or su vouches for this principal.
    Principal(Principal),
    /// A sudo or su without a parent login session: nobody vouches for anyone.
    Unbound,
    /// What all of these principals started may be in it, such as a login's user manager: yes only while each of them may, and while for
    /// each group a grant of any of them has it. Nobody enters by it, so it is not judged by where somebody came from, nor by what is used up.
    Together(BTreeSet<Principal>),
}

/// A question to [`decide`]. A session is its query: it lives while the answer is yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Whose account. For sudo and su the caller's, not the target's.
    pub login: Login,
    /// To do what.
    pub action: Action,
    /// Who is asking.
    pub credential: Credential,
    /// Address that the caller came from, where known. For a sudo or su that of the login that vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rhost: Option<String>,
    /// Terminal, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<String>,
    /// PAM service.
    pub service: String,
    /// The time to decide for.
    pub now: Timestamp,
    /// The login that this is part of, as the host calls it, where a grant that opens one login holds it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Grants that are used up for this, each of which opens one login, and not this one; see [`Uses`](crate::Uses).
    #[serde(skip)]
    pub used: BTreeSet<GrantId>,
    /// The Unix groups that a login was given: yes only while, for each, a grant that opens it and has that group is in force.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
    /// Groups that can't be given here and now: a grant that has one of them lets nobody in.
    #[serde(skip)]
    pub lacking: BTreeSet<GroupName>,
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow(Allowed),
    /// No.
    Refuse(Refusal),
}

/// A yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// The grant: of several the one that lasts longest; for a login with groups the one by which it loses a group, and so ends, first.
    pub grant: GrantId,
    /// Whose grant it is. With [`Credential::Pending`] on a shared login that is not settled yet.
    pub principal: Principal,
    /// The role that was asked for.
    pub role: RoleName,
    /// The first instant at which the answer is no, as things stand; see [`deadline`].
    pub until: Timestamp,
    /// As the grant says: [`Grant::end_login_with_elevation`].
    pub end_login_with_elevation: bool,
    /// The groups of all grants in force that open this.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
}

/// Whether `bundle` lets this happen at `query.now`. The order of its grants never matters.
#[must_use]
pub fn decide(bundle: &Bundle, query: &Query) -> Decision {
    match &query.credential {
        Credential::Together(principals) => decide_for_each(bundle, query, principals),
        _ => decide_for_one(bundle, query, Limited::Yes),
    }
}

/// Whether the limits of grants count. They are about how somebody enters, and not about what goes on beside his logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limited {
    Yes,
    No,
}

/// The first of several ends is the end of what they have in common. For nobody the answer is no.
fn decide_for_each(bundle: &Bundle, query: &Query, principals: &BTreeSet<Principal>) -> Decision {
    let mut earliest: Option<Allowed> = None;
    for query in each(query, principals) {
        match decide_for_one(bundle, &query, Limited::No) {
            Decision::Refuse(refusal) => return Decision::Refuse(refusal),
            Decision::Allow(allowed) => {
                earliest = Some(match earliest {
                    Some(before) if before.until <= allowed.until => before,
                    _ => allowed,
                });
            }
        }
    }
    let Some(earliest) = earliest else {
        return Decision::Refuse(why_not(bundle, query));
    };
    let opening = opening_any(bundle, query, principals);
    match first_to_end(&opening, &query.groups, query.now) {
        Err(group) => Decision::Refuse(without(&group).to(query.action)),
        Ok(Some((grant, first))) if first < earliest.until => Decision::Allow(Allowed {
            until: first,
            groups: earliest.groups,
            ..allowed(grant)
        }),
        Ok(_) => Decision::Allow(earliest),
    }
}

/// The question that each of `principals` would ask alone, but for the groups: one of them has each, and no other needs it.
fn each<'a>(
    query: &'a Query,
    principals: &'a BTreeSet<Principal>,
) -> impl Iterator<Item = Query> + 'a {
    principals.iter().map(|principal| Query {
        credential: Credential::Principal(principal.clone()),
        groups: BTreeSet::new(),
        ..query.clone()
    })
}

/// The grants that say yes now or later to any of `principals`.
fn opening_any<'a>(
    bundle: &'a Bundle,
    query: &Query,
    principals: &BTreeSet<Principal>,
) -> Vec<&'a Grant> {
    each(query, principals)
        .flat_map(|query| opening(bundle, &query, Limited::No))
        .collect()
}

/// Who may do `query.action` with `query.login` at `query.now`, however he may show who he is and wherever he comes from.
#[must_use]
pub fn holders(bundle: &Bundle, query: &Query) -> BTreeSet<Principal> {
    let grants = bundle.grants.iter().filter(|grant| {
        grant.login == query.login && grant.allow.covers(query.action) && in_force(grant, query.now)
    });
    grants.map(|grant| grant.principal.clone()).collect()
}

fn decide_for_one(bundle: &Bundle, query: &Query, limited: Limited) -> Decision {
    let opening = opening(bundle, query, limited);
    let in_force = || opening.iter().filter(|grant| grant.not_before <= query.now);
    let Some(longest) = in_force().max_by_key(|grant| (grant.expires, &grant.id)) else {
        return Decision::Refuse(why_not(bundle, query));
    };
    let (grant, until) = match first_to_end(&opening, &query.groups, query.now) {
        Err(group) => return Decision::Refuse(without(&group).to(query.action)),
        Ok(Some(first)) => first,
        Ok(None) => (*longest, held_until(&opening, query.now)),
    };
    let groups = in_force().flat_map(|grant| grant.limits.groups.iter().cloned());
    Decision::Allow(Allowed {
        until,
        groups: groups.collect(),
        ..allowed(grant)
    })
}

/// By `grant` alone, while it lasts.
fn allowed(grant: &Grant) -> Allowed {
    Allowed {
        grant: grant.id.clone(),
        principal: grant.principal.clone(),
        role: grant.role.clone(),
        until: grant.expires,
        end_login_with_elevation: grant.end_login_with_elevation,
        groups: BTreeSet::new(),
    }
}

fn without(group: &GroupName) -> Refusal {
    Refusal::because(Code::GroupNotGiven).with_detail(group.as_str())
}

/// Until when [`decide`] goes on saying yes, from `query.now`: the first instant at which it says no. None where it says
/// no now. Grants that overlap or touch hold a session open one after the other.
#[must_use]
pub fn deadline(bundle: &Bundle, query: &Query) -> Option<Timestamp> {
    match &query.credential {
        Credential::Together(principals) => {
            let deadlines: Option<Vec<_>> = each(query, principals)
                .map(|query| deadline_for_one(bundle, &query, Limited::No))
                .collect();
            let until = deadlines?.into_iter().min()?;
            let opening = opening_any(bundle, query, principals);
            let first = first_to_end(&opening, &query.groups, query.now).ok()?;
            Some(first.map_or(until, |(_, first)| first.min(until)))
        }
        _ => deadline_for_one(bundle, query, Limited::Yes),
    }
}

fn deadline_for_one(bundle: &Bundle, query: &Query, limited: Limited) -> Option<Timestamp> {
    let opening = opening(bundle, query, limited);
    let first = first_to_end(&opening, &query.groups, query.now).ok()?;
    let until = first.map_or_else(|| held_until(&opening, query.now), |(_, first)| first);
    (until > query.now).then_some(until)
}

/// The grants that say yes to this now or later.
fn opening<'a>(bundle: &'a Bundle, query: &Query, limited: Limited) -> Vec<&'a Grant> {
    let grants = bundle.grants.iter();
    grants
        .filter(|grant| grant.expires > query.now && opens(grant, query))
        .filter(|grant| limited == Limited::No || within_limits(grant, query))
        .collect()
}

/// Of one principal's, for what is said of logins beside whether they may be.
pub(crate) fn opens_login<'a>(bundle: &'a Bundle, query: &Query) -> Vec<&'a Grant> {
    opening(bundle, query, Limited::Yes)
}

/// The end of what `opening` covers from `now` without a gap; `now` itself where it is not covered.
pub(crate) fn held_until(opening: &[&Grant], now: Timestamp) -> Timestamp {
    let mut spans: Vec<_> = opening
        .iter()
        .map(|grant| (grant.not_before, grant.expires))
        .collect();
    spans.sort_unstable();
    let mut until = now;
    for (not_before, expires) in spans {
        if not_before > until {
            break;
        }
        until = until.max(expires);
    }
    until
}

fn in_force(grant: &Grant, now: Timestamp) -> bool {
    grant.not_before <= now && now < grant.expires
}

fn within_limits(grant: &Grant, query: &Query) -> bool {
    is_from_there(grant, query)
        && !query.used.contains(&grant.id)
        && lacking(grant, query).is_none()
}

/// A group of the grant that can't be given.
fn lacking<'a>(grant: &'a Grant, query: &Query) -> Option<&'a GroupName> {
    let mut groups = grant.limits.groups.iter();
    groups.find(|group| query.lacking.contains(group))
}

/// True where the grant opens to who comes from where `query` does.
fn is_from_there(grant: &Grant, query: &Query) -> bool {
    let networks = grant.limits.login_from.as_ref();
    networks.is_none_or(|networks| networks.include(query.rhost.as_deref()))
}

/// True where the grant would say yes at some time, from somewhere.
fn opens(grant: &Grant, query: &Query) -> bool {
    grant.login == query.login
        && grant.allow.covers(query.action)
        && fit(grant, &query.credential) == Fit::Yes
}

/// Whether the caller is the principal whose grant it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    /// Another key.
    OtherKey,
    /// Several principals have this login, and this does not tell which it is.
    NeedsKey,
    /// Known to be somebody else.
    Somebody,
}

fn fit(grant: &Grant, credential: &Credential) -> Fit {
    match credential {
        // Refusing now could refuse what the key, known a moment later, would open.
        Credential::Pending => Fit::Yes,
        Credential::Key(key) if grant.keys.contains(key) => Fit::Yes,
        Credential::Key(_) if grant.keys.is_empty() && !grant.shared => Fit::Yes,
        Credential::Key(_) => Fit::OtherKey,
        Credential::Method(_) | Credential::Unbound if grant.shared => Fit::NeedsKey,
        // The login is one principal's alone, so whoever proved to be the login is that principal.
        Credential::Method(_) | Credential::Unbound => Fit::Yes,
        Credential::Principal(principal) if *principal == grant.principal => Fit::Yes,
        // Several are asked for one by one; what is left is nobody.
        Credential::Principal(_) | Credential::Together(_) => Fit::Somebody,
    }
}

/// Why a grant does not help now, the most helpful reason last. Times are ordered so that the greatest is the one to name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Miss<'a> {
    Action(&'a RoleName),
    Expired(Timestamp, &'a RoleName),
    Void(&'a str),
    NotYet(Reverse<Timestamp>),
    NeedsKey,
    OtherKey,
    NotFromThere,
    UsedUp(&'a RoleName),
    Lacking(&'a GroupName),
}

fn why_not(bundle: &Bundle, query: &Query) -> Refusal {
    let grants = bundle.grants.iter().filter_map(|grant| miss(grant, query));
    let void = bundle
        .void
        .iter()
        .filter(|void| void.login.as_ref() == Some(&query.login))
        .map(|v| Miss::Void(&v.unknown));
    let refusal = match grants.chain(void).max() {
        None => Refusal::because(Code::NoGrant),
        Some(Miss::Action(role)) => Refusal::because(Code::ActionNotCovered).of_role(role),
        Some(Miss::Expired(at, role)) => Refusal::because(Code::Expired).at(at).of_role(role),
        Some(Miss::Void(unknown)) => Refusal::because(Code::DemandsUnknown).with_detail(unknown),
        Some(Miss::NotYet(Reverse(at))) => Refusal::because(Code::NotYetStarted).at(at),
        Some(Miss::NeedsKey) => Refusal::because(Code::NeedsKey),
        Some(Miss::OtherKey) => Refusal::because(Code::OtherKey),
        Some(Miss::UsedUp(role)) => Refusal::because(Code::UsedUp).of_role(role),
        Some(Miss::Lacking(group)) => without(group),
        Some(Miss::NotFromThere) => Refusal::because(Code::NotFromThere),
    };
    refusal.to(query.action)
}

fn miss<'a>(grant: &'a Grant, query: &Query) -> Option<Miss<'a>> {
    if grant.login != query.login {
        return None;
    }
    let now = query.now;
    match (
        fit(grant, &query.credential),
        grant.allow.covers(query.action),
    ) {
        (Fit::Yes, true) if now < grant.not_before => Some(Miss::NotYet(Reverse(grant.not_before))),
        (Fit::Yes, true) if now < grant.expires && is_from_there(grant, query) => {
            let lacking = lacking(grant, query).filter(|_| !query.used.contains(&grant.id));
            Some(lacking.map_or(Miss::UsedUp(&grant.role), Miss::Lacking))
        }
        (Fit::Yes, true) if now < grant.expires => Some(Miss::NotFromThere),
        (Fit::Yes, true) => Some(Miss::Expired(grant.expires, &grant.role)),
        (Fit::Yes, false) if in_force(grant, now) => Some(Miss::Action(&grant.role)),
        (Fit::NeedsKey, true) if in_force(grant, now) => Some(Miss::NeedsKey),
        (Fit::OtherKey, true) if in_force(grant, now) => Some(Miss::OtherKey),
        _ => None,
    }
}
