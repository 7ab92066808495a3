//! Which grants for one login are used up, in /var/lib/jit: it survives jitd and the machine. Where it is lost, grants that began before it
//! was lost open nothing more.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jit_grant::{Bundle, GrantId, HostId, Uses};
use serde::{Deserialize, Serialize};

/// `uses.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Another server's grants have other ids.
    pub(super) host_id: HostId,
    #[serde(flatten)]
    pub(super) uses: Uses,
}

/// What is known, and what of it is not on disk yet.
#[derive(Debug, Default)]
pub(super) struct UseBook {
    pub(super) uses: Uses,
    /// Taken, each by its login, which is not let in yet.
    unkept: BTreeSet<(GrantId, String)>,
    /// Since when it is known is not on disk.
    unkept_since: bool,
}

impl UseBook {
    /// What the disk has.
    pub(super) fn of(uses: Uses) -> Self {
        Self {
            uses,
            ..Self::default()
        }
    }

    /// The server's time, by a word that answers a question of ours: since whatever was lost before.
    pub(super) fn hear(&mut self, at: Timestamp) {
        self.unkept_since |= self.uses.know_from(at);
    }

    pub(super) fn take(&mut self, grant: GrantId, login: &str) {
        self.note(Uses::take, grant, login);
    }

    /// `login` is open by `grant`. That counts where what was known is lost.
    pub(super) fn recall(&mut self, grant: GrantId, login: &str) {
        self.note(Uses::recall, grant, login);
    }

    fn note(&mut self, note: fn(&mut Uses, GrantId, String), grant: GrantId, login: &str) {
        let before = self.uses.clone();
        note(&mut self.uses, grant.clone(), login.to_owned());
        if self.uses != before {
            self.unkept.insert((grant, login.to_owned()));
        }
    }

    /// `login` was not let in. What is on disk stays: it may have been let in by it before.
    pub(super) fn give_back(&mut self, grant: &GrantId, login: &str) {
        let taken = (grant.clone(), login.to_owned());
        if self.unkept.remove(&taken) {
            self.uses.give_back(grant, login);
        }
    }

    pub(super) fn forget_all_but(&mut self, bundle: &Bundle) {
        self.uses.forget_all_but(bundle);
        let uses = &self.uses;
        self.unkept.retain(|(grant, _)| uses.has(grant));
    }

    /// True where the disk lacks something.
    pub(super) fn is_unkept(&self) -> bool {
        self.unkept_since || !self.unkept.is_empty()
    }

    /// What was not on disk when this was asked, to be noted as kept once it is.
    pub(super) fn to_keep(&self) -> (Uses, BTreeSet<(GrantId, String)>) {
        (self.uses.clone(), self.unkept.clone())
    }

    /// Another login may have taken one of them meanwhile: that is not on disk.
    pub(super) fn kept(&mut self, taken: &BTreeSet<(GrantId, String)>) {
        self.unkept_since = false;
        self.unkept.retain(|one| !taken.contains(one));
    }
}
