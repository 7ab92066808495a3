//! The lines in `/etc/pam.d`: the only thing on a host that jitctl edits besides `/etc/jit`.
//!
//! - the crate `jit_gate`: one file's text with our lines and without, and what they say. Pure.
//! - `stack`: who includes whom, and what could skip us. Pure.
//! - `plan`: what a command would change, all of it checked before anything is written. Pure.
//! - `files`: reading, locking, replacing.

mod error;
mod files;
mod plan;
mod stack;

use std::path::Path;

pub(crate) use error::GateError;
pub(crate) use jit_gate::{BootId, Mode, State};
pub(crate) use plan::{Plan, Service, family};

use files::{Folders, Locked};
use plan::{Change, Host};

/// A machine's PAM service files.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    folders: Folders,
}

impl Gate {
    /// The files below `root`, which is `/` but in tests. They must belong to `owner`.
    pub(crate) fn below(root: &Path, owner: u32) -> Self {
        Self {
            folders: Folders::below(root, owner),
        }
    }

    /// How every service stands. Anyone may ask.
    pub(crate) fn survey(&self) -> Result<Vec<Service>, GateError> {
        Ok(self.folders.host()?.survey(&self.folders.vendor_texts()?))
    }

    /// Works out a plan and carries it out, with nobody else changing the files meanwhile.
    pub(crate) fn change(
        &self,
        plan: impl FnOnce(&Host) -> Result<Plan, GateError>,
    ) -> Result<Plan, GateError> {
        let locked = self.folders.lock()?;
        let plan = plan(&self.folders.host()?)?;
        for (service, change) in &plan.changes {
            carry_out(&locked, service, change)?;
        }
        Ok(plan)
    }
}

fn carry_out(locked: &Locked<'_>, service: &str, change: &Change) -> Result<(), GateError> {
    match change {
        Change::Write { old, new } => locked.write(service, old.as_deref(), new),
        Change::Remove { old } => locked.remove(service, old),
    }
}

#[cfg(test)]
mod tests;
