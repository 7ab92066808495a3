//! How many grants a host can be told of. All of them go into one bundle, and one that is too large is never signed, so that not even a
//! revocation would reach the host any more.

use jiff::Timestamp;
use jit_grant::{Bundle, HostName, Limits, Principal};

use super::{Request, State, WorkflowError};
use crate::event::{Requested, UserSet};

/// Live grants of one host at most; a bundle takes some more than that.
const MOST_GRANTS: usize = 4_000;
/// Bytes that they come to in the signed bundle at most. What is left is for fields that later versions add.
const MOST_SIGNED: usize = Bundle::MAX_BYTES / 8 * 7;
/// The most bytes of what is about equally long in every grant: names of fields, times, ids, numbers.
const FIXED: usize = 640;
/// The most bytes of an approval, with the longest name.
const APPROVAL: usize = 192;
/// The most bytes of a key's fingerprint.
const KEY: usize = 56;
/// The most bytes of a limit's name, and of what is said there but networks.
const LIMIT: usize = 32;
/// The most bytes of a Unix group.
const GROUP: usize = 36;
/// The most bytes of a network.
const NETWORK: usize = 48;

/// True where `host` can be told of a grant of what is `asked`, too, beside those that are live there.
pub(super) fn has_room(
    state: &State,
    host: &HostName,
    asked: &Requested,
    limits: &Limits,
    now: Timestamp,
) -> bool {
    let keys = |name: &Principal| keys_of(state, name);
    let (count, bytes) = live(state, host, now, keys);
    let given = state.request(&asked.request);
    // The approval that makes the grant is not among them yet.
    let approvals = given.map_or(0, |request| request.approvals.len() + 1);
    let new = bytes_of(asked, host, limits, approvals, keys(&asked.principal));
    count < MOST_GRANTS && signed(bytes + new) <= MOST_SIGNED
}

/// Checks that the hosts of the user's grants can be told of all his keys: more keys make grants longer that are there already.
///
/// # Errors
/// [`WorkflowError::HostFull`]
pub(super) fn check_keys(
    state: &State,
    user: &UserSet,
    now: Timestamp,
) -> Result<(), WorkflowError> {
    if user.keys.len() <= keys_of(state, &user.name) {
        return Ok(());
    }
    let keys = |name: &Principal| {
        if *name == user.name {
            user.keys.len()
        } else {
            keys_of(state, name)
        }
    };
    let his = state
        .live_grants(now)
        .filter(|grant| grant.principal == user.name);
    let full = his
        .map(|grant| &grant.host)
        .find(|host| signed(live(state, host, now, keys).1) > MOST_SIGNED);
    full.map_or(Ok(()), |host| Err(WorkflowError::HostFull(host.clone())))
}

fn keys_of(state: &State, name: &Principal) -> usize {
    state.directory.user(name).map_or(0, |user| user.keys.len())
}

/// How many grants are live on `host`, and the most bytes that they take.
fn live(
    state: &State,
    host: &HostName,
    now: Timestamp,
    keys: impl Fn(&Principal) -> usize,
) -> (usize, usize) {
    let here = state.live_grants_on(host, now);
    let sizes = here.filter_map(|grant| {
        let Request {
            asked, approvals, ..
        } = state.request(&grant.request)?;
        let (approvals, keys) = (approvals.len(), keys(&grant.principal));
        Some(bytes_of(asked, host, &grant.limits, approvals, keys))
    });
    sizes.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
}

/// The most bytes that a grant of what was `asked` on `host` takes in the claims of a bundle, however it is extended.
fn bytes_of(
    asked: &Requested,
    host: &HostName,
    limits: &Limits,
    approvals: usize,
    keys: usize,
) -> usize {
    let names = [
        asked.principal.as_str(),
        asked.login_on(host).as_str(),
        asked.role.as_str(),
    ];
    let names: usize = names.iter().map(|name| name.len()).sum();
    let ticket = asked
        .ticket
        .as_ref()
        .map_or(0, |ticket| written(ticket.as_str()));
    let said = written(asked.reason.as_str()) + ticket;
    let networks = limits.login_from.as_ref();
    let networks = networks.map_or(0, |networks| networks.listed().len());
    // Each stands in the grant and in `crit`.
    let groups = limits.groups.iter().count();
    let limited = limits.names().len() * 2 * LIMIT + networks * NETWORK + groups * GROUP;
    FIXED + names + said + approvals * APPROVAL + keys * KEY + limited
}

/// The most bytes of a text in JSON. Texts have no control characters, so at most each of their 500 characters is written with one byte more.
fn written(text: &str) -> usize {
    text.len() + text.len().min(500)
}

/// What claims of so many bytes come to in base64.
fn signed(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}
