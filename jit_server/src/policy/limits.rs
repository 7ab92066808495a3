//! What hosts hold a role's grants to, as people are told of it.

use jit_grant::Limits;

use super::in_words as length_in_words;

/// Each limit that there is, as whoever asks has to know it. Which networks they are is told to those who read the policy only.
#[must_use]
pub fn in_words(limits: &Limits) -> Vec<String> {
    let from = limits.login_from.as_ref();
    let from = from.map(|_| "logins from certain networks".to_owned());
    let once = limits.single_use;
    let once = once.then(|| "a grant opens one login".to_owned());
    let idle = limits.idle;
    let idle = idle.map(|time| {
        format!(
            "a login left alone for {} is ended",
            length_in_words(time.seconds())
        )
    });
    let groups = &limits.groups;
    let groups = (!groups.is_empty()).then(|| {
        let groups = groups.listed().join(", ");
        format!("its logins are in the Unix groups {groups}")
    });
    let all = from.into_iter().chain(once).chain(idle);
    all.chain(groups).collect()
}
