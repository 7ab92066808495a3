//! Which denials of the policy fit what somebody would ask for, and why the others do not.

use jit_grant::{HostName, Principal};

use super::{by, listed};
use crate::event::UserSet;
use crate::policy::{Denial, DenialName, Role};
use crate::workflow::Wish;
use crate::workflow::command::Desk;

/// Whether a denial fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldDenial {
    /// Which.
    pub name: DenialName,
    /// Whether it does: then it refuses the request.
    pub fits: bool,
    /// By what, or why not.
    pub words: String,
}

impl Desk<'_> {
    /// Each denial by name. None where there is no such user or role: of what would be denied, nothing can be told then.
    pub(super) fn denials(&self, principal: &Principal, wish: &Wish<'_>) -> Vec<ToldDenial> {
        let user = self.state.directory.user(principal);
        let Some((user, role)) = user.zip(self.policy.roles.get(wish.role)) else {
            return Vec::new();
        };
        let all = self.policy.denials.iter();
        all.map(|(name, denial)| {
            let fits = self.fits(denial, user, role, wish);
            ToldDenial {
                name: name.clone(),
                fits: fits.is_ok(),
                words: fits.unwrap_or_else(|why_not| why_not),
            }
        })
        .collect()
    }

    /// By what it fits; the error says why not.
    fn fits(
        &self,
        denial: &Denial,
        user: &UserSet,
        role: &Role,
        wish: &Wish<'_>,
    ) -> Result<String, String> {
        if !denial.is_for(user) {
            let excepted = denial.except.as_ref();
            let excepted = excepted.filter(|except| except.include(user));
            return Err(excepted.map_or_else(
                || format!("it is not for {}", user.name),
                |except| format!("it is not for {}, {}", user.name, by(user, except)),
            ));
        }
        if !denial.is_about(&role.actions) {
            return Err("the role opens nothing of what it denies".to_owned());
        }
        let hosts = self.hosts(role, wish);
        let denied = |host: &&HostName| denial.hosts.cover_named(host, &self.state.directory);
        let Some(host) = hosts.iter().find(denied) else {
            return Err(format!("it is not for {}", listed(&hosts)));
        };
        let whom = denial
            .people
            .as_ref()
            .map_or_else(|| "as for everybody".to_owned(), |people| by(user, people));
        Ok(format!(
            "it is for {}, {whom}, and for {host}, {}: {}",
            user.name,
            denial.hosts.why(host),
            denial.because
        ))
    }

    /// All of them on one line.
    pub(super) fn denials_in_words(&self, principal: &Principal, wish: &Wish<'_>) -> String {
        let each = self.denials(principal, wish).into_iter().map(|told| {
            let does = if told.fits {
                "refuses it"
            } else {
                "does not fit"
            };
            format!("denial {} {does}: {}", told.name, told.words)
        });
        let each: Vec<String> = each.collect();
        if each.is_empty() {
            return "the policy has no denials".to_owned();
        }
        each.join("; ")
    }
}
