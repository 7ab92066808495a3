//! What a command would change: all of it worked out and checked before anything is written. Pure.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::GateError;
use super::stack::{Reach, Texts, reach, skips_the_end};
use jit_gate::{self as text, Mode, State};

/// Services that are one door: naming the first means the others too, where they exist (T5). Whoever may log in could leave
/// something to cron, at and his user manager that runs when he no longer may (T16).
const FAMILIES: &[(&str, &[&str])] = &[
    ("sshd", &["systemd-user", "cron", "crond", "atd"]),
    ("sudo", &["sudo-i", "polkit-1"]),
    ("su", &["su-l"]),
];
/// Services whose logins get the Unix groups of their grants: those that set credentials once more after the session phase.
const WITH_GROUPS: &[&str] = &["sshd"];
/// What libpam falls back to for services without a file.
const FALLBACK: &str = "other";

/// The service files of a host.
pub(crate) struct Host {
    /// Those in `/etc/pam.d`.
    pub(crate) own: Texts,
    /// All that libpam would find: those, and the vendor's where there is none.
    pub(crate) all: Texts,
}

/// What is to happen to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its text becomes `new`.
    Write {
        /// What it says now; None where there is no such file.
        old: Option<Vec<u8>>,
        /// What it shall say.
        new: Vec<u8>,
    },
    /// It goes: it was our copy of the vendor's file.
    Remove {
        /// What it says now.
        old: Vec<u8>,
    },
}

/// What is to happen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The changes, by service.
    pub(crate) changes: Vec<(String, Change)>,
    /// What the person should know besides.
    pub(crate) notes: Vec<String>,
    /// Lines that name our module, stay, and are not of our writing.
    pub(crate) strays: Vec<String>,
    /// Services that the command is about and that need no change.
    pub(crate) unchanged: Vec<String>,
}

impl Plan {
    /// The services that change.
    pub(crate) fn services(&self) -> Vec<String> {
        self.changes
            .iter()
            .map(|(service, _)| service.clone())
            .collect()
    }

    fn write(&mut self, service: &str, old: Option<&[u8]>, new: Vec<u8>) {
        if old == Some(new.as_slice()) {
            self.unchanged.push(service.to_owned());
        } else {
            self.changes.push((
                service.to_owned(),
                Change::Write {
                    old: old.map(<[u8]>::to_vec),
                    new,
                },
            ));
        }
    }
}

/// One service as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: String,
    /// What its own file says.
    pub(crate) state: State,
    /// The gated service that it takes its lines from.
    pub(crate) covered_by: Option<String>,
    /// The vendor's file has changed since ours was copied from it.
    pub(crate) outdated_copy: bool,
    /// The number of a line that names our module and is not of our writing.
    pub(crate) stray: Option<usize>,
    /// It is gated, and yet its logins get no groups: its gate was written before there was a line for that.
    pub(crate) lacks_groups: bool,
}

impl Host {
    /// Every service of the host.
    pub(crate) fn survey(&self, vendor: &Texts) -> Vec<Service> {
        let gated: Vec<&str> = self
            .own
            .keys()
            .map(String::as_str)
            .filter(|name| self.is_gated(name))
            .collect();
        let services = self.all.iter().map(|(name, text)| Service {
            name: name.clone(),
            state: text::state(text),
            covered_by: gated
                .iter()
                .find(|other| **other != name && reach(name, other, &self.all) == Reach::Covered)
                .map(|other| (*other).to_owned()),
            outdated_copy: text::split_copy(text).is_some_and(|(hash, _)| {
                vendor
                    .get(name)
                    .is_some_and(|original| sha256(original) != hash)
            }),
            stray: text::stray_line(&text::ungate(text)),
            lacks_groups: WITH_GROUPS.contains(&name.as_str())
                && matches!(text::state(text), State::Gated(_))
                && !text::gives_groups(text),
        });
        services.collect()
    }

    /// Puts `names` and what belongs to them behind the gate, in monitor mode where they are not gated yet.
    pub(crate) fn gate(&self, names: &[String]) -> Result<Plan, GateError> {
        let mut plan = Plan::default();
        let targets = self.targets(names)?;
        for target in &targets {
            match self.head_of(target, &targets)? {
                Some(head) => plan.notes.push(format!(
                    "{target} takes its lines from {head} and is covered by it."
                )),
                None => {
                    self.check_includers(target, &targets)?;
                    self.check_end(target)?;
                    self.plan_gate(target, &mut plan)?;
                }
            }
        }
        Ok(plan)
    }

    /// Takes the lines out of `names` and what belongs to them. Of those in `lost`, whose gate something else took away, the file may be gone too.
    pub(crate) fn ungate(&self, names: &[String], lost: &[String]) -> Result<Plan, GateError> {
        let mut plan = Plan::default();
        let gone = |name: &String| lost.contains(name) && !self.all.contains_key(name);
        let (gone, names): (Vec<String>, Vec<String>) = names.iter().cloned().partition(gone);
        plan.unchanged.extend(gone);
        for target in self.targets(&names)? {
            let gated = self.is_gated(&target);
            if gated {
                self.plan_ungate(&target, &mut plan);
            } else if let Some(head) = self.own.keys().find(|other| {
                self.is_gated(other) && reach(&target, other, &self.all) != Reach::Never
            }) {
                plan.notes.push(format!(
                    "{target} has no lines of its own: it takes them from {head}."
                ));
            } else {
                plan.unchanged.push(target);
            }
        }
        Ok(plan)
    }

    /// Takes the lines out of every file. Gates in `lost` are gone already.
    pub(crate) fn ungate_all(&self, lost: &[String]) -> Plan {
        let mut plan = Plan::default();
        let gone = lost.iter().filter(|name| !self.is_gated(name));
        plan.unchanged.extend(gone.cloned());
        for name in self.own.keys() {
            if self.is_gated(name) {
                self.plan_ungate(name, &mut plan);
            } else if let Some(line) = text::stray_line(&self.own[name]) {
                plan.strays.push(stray_note(name, line));
            }
        }
        plan
    }

    /// Changes the mode of `names`, or of all gated services where none is named, to what `to` says for their present mode.
    pub(crate) fn change_mode(
        &self,
        names: &[String],
        to: impl Fn(&Mode) -> Mode,
    ) -> Result<Plan, GateError> {
        let mut plan = Plan::default();
        let targets = if names.is_empty() {
            self.own.keys().cloned().collect()
        } else {
            self.targets(names)?
        };
        for target in targets {
            let old = self.own.get(&target).map(Vec::as_slice).unwrap_or_default();
            match text::state(old) {
                State::Gated(mode) => {
                    plan.write(&target, Some(old), self.text_of(&target, old, &to(&mode))?)
                }
                State::Damaged(mode) => {
                    let mode = mode.unwrap_or(Mode::Monitor);
                    plan.notes.push(format!(
                        "{target}: its lines were damaged and are put right."
                    ));
                    plan.write(&target, Some(old), self.text_of(&target, old, &to(&mode))?);
                }
                State::Ungated if names.contains(&target) && !self.is_covered(&target) => {
                    return Err(GateError::NotGated(target));
                }
                State::Ungated => {}
            }
        }
        if plan.changes.is_empty() && plan.unchanged.is_empty() {
            return Err(GateError::NothingGated);
        }
        Ok(plan)
    }

    /// True where some line of ours is in the file of `name`.
    fn is_gated(&self, name: &str) -> bool {
        self.own
            .get(name)
            .is_some_and(|text| text::state(text) != State::Ungated)
    }

    fn is_covered(&self, name: &str) -> bool {
        self.own.keys().any(|other| {
            other != name && self.is_gated(other) && reach(name, other, &self.all) == Reach::Covered
        })
    }

    /// `names` and, where they exist, the services that belong to them.
    fn targets(&self, names: &[String]) -> Result<BTreeSet<String>, GateError> {
        let mut targets = BTreeSet::new();
        for name in names {
            if !is_service_name(name) {
                return Err(GateError::Name(name.chars().take(80).collect()));
            }
            if name == FALLBACK {
                return Err(GateError::Fallback(name.clone()));
            }
            if !self.all.contains_key(name) {
                return Err(GateError::Missing(name.clone()));
            }
            targets.insert(name.clone());
            targets.extend(
                family(name)
                    .iter()
                    .filter(|member| self.all.contains_key(**member))
                    .map(|member| (*member).to_owned()),
            );
        }
        Ok(targets)
    }

    /// The target or gated service that `target` takes its lines from, so that it needs none of its own.
    fn head_of(
        &self,
        target: &str,
        targets: &BTreeSet<String>,
    ) -> Result<Option<String>, GateError> {
        let kin = FAMILIES
            .iter()
            .filter(|(_, members)| members.contains(&target))
            .map(|(head, _)| *head);
        let gated = self
            .own
            .keys()
            .map(String::as_str)
            .filter(|name| self.is_gated(name));
        let heads: BTreeSet<&str> = kin
            .chain(gated)
            .chain(targets.iter().map(String::as_str))
            .filter(|head| *head != target)
            .collect();
        for head in heads {
            match reach(target, head, &self.all) {
                Reach::Never => {}
                Reach::Leaky(why) => {
                    return Err(GateError::Leaky {
                        service: target.to_owned(),
                        why,
                    });
                }
                Reach::Covered if self.is_gated(target) => {
                    return Err(GateError::Twice {
                        service: head.to_owned(),
                        includer: target.to_owned(),
                    });
                }
                Reach::Covered if targets.contains(head) || self.is_gated(head) => {
                    return Ok(Some(head.to_owned()));
                }
                Reach::Covered => {
                    return Err(GateError::Follows {
                        service: target.to_owned(),
                        head: head.to_owned(),
                    });
                }
            }
        }
        Ok(None)
    }

    /// Nothing but its own family may run the lines of `target`, and none of them twice.
    fn check_includers(&self, target: &str, targets: &BTreeSet<String>) -> Result<(), GateError> {
        let mut others = Vec::new();
        for service in self.all.keys().filter(|service| *service != target) {
            let reach = reach(service, target, &self.all);
            if reach == Reach::Never || (targets.contains(service) && !self.is_gated(service)) {
                continue;
            }
            if self.is_gated(service) {
                return Err(GateError::Twice {
                    service: target.to_owned(),
                    includer: service.clone(),
                });
            }
            others.push(service.clone());
        }
        if others.is_empty() {
            Ok(())
        } else {
            Err(GateError::Shared {
                service: target.to_owned(),
                by: others,
            })
        }
    }

    /// Our last line is what has a session held: one that it is skipped for would be ended by nobody.
    fn check_end(&self, target: &str) -> Result<(), GateError> {
        match skips_the_end(target, &self.all) {
            None => Ok(()),
            Some(line) => Err(GateError::Leaky {
                service: target.to_owned(),
                why: format!("the line `{line}` can skip what comes last in its sessions"),
            }),
        }
    }

    fn plan_gate(&self, target: &str, plan: &mut Plan) -> Result<(), GateError> {
        let Some(old) = self.own.get(target) else {
            let original = self.all.get(target).map(Vec::as_slice).unwrap_or_default();
            let copy = text::mark_copy(original, &sha256(original));
            plan.notes.push(format!("{target} had no file in /etc/pam.d: the vendor's was copied there, and goes again with ungate."));
            plan.write(target, None, self.text_of(target, &copy, &Mode::Monitor)?);
            return Ok(());
        };
        // What enforces already goes on enforcing: gating again never weakens.
        let mode = match text::state(old) {
            State::Gated(mode) | State::Damaged(Some(mode)) => mode,
            State::Ungated | State::Damaged(None) => Mode::Monitor,
        };
        plan.write(target, Some(old), self.text_of(target, old, &mode)?);
        Ok(())
    }

    fn plan_ungate(&self, target: &str, plan: &mut Plan) {
        let old = &self.own[target];
        let bare = text::ungate(old);
        if let Some(line) = text::stray_line(&bare) {
            plan.strays.push(stray_note(target, line));
        }
        match text::split_copy(&bare) {
            Some((hash, rest)) if sha256(rest) == hash => plan
                .changes
                .push((target.to_owned(), Change::Remove { old: old.clone() })),
            Some((_, rest)) => {
                plan.notes.push(format!(
                    "/etc/pam.d/{target} stays: it was copied by jitctl and has been changed since."
                ));
                plan.write(target, Some(old), rest.to_vec());
            }
            None => plan.write(target, Some(old), bare),
        }
    }

    fn text_of(&self, service: &str, old: &[u8], mode: &Mode) -> Result<Vec<u8>, GateError> {
        let gated = if WITH_GROUPS.contains(&service) {
            text::gate_with_groups(old, mode)
        } else {
            text::gate(old, mode)
        };
        gated.map_err(|why| GateError::Text {
            service: service.to_owned(),
            why,
        })
    }
}

/// The services that are one door with `name`, where it is the first of them.
pub(crate) fn family(name: &str) -> &'static [&'static str] {
    FAMILIES
        .iter()
        .find(|(head, _)| *head == name)
        .map_or(&[], |(_, members)| members)
}

fn stray_note(service: &str, line: usize) -> String {
    format!(
        "/etc/pam.d/{service} line {line} names pam_jit.so and is not of our writing: take it out by hand."
    )
}

fn is_service_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
