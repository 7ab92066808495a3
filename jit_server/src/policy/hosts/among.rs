//! Which of the enrolled hosts a role is for. Only those are looked at that have the rarest of the labels, or a name that begins as one
//! of the role's: with thousands of hosts a look at each would be most of what a request costs.

use std::collections::BTreeSet;

use jit_grant::HostName;

use super::{Hosts, Names, Pattern};
use crate::directory::{Directory, Host};
use crate::label::{LabelKey, LabelValue, Labelled};

impl Hosts {
    /// Those of `directory` that are among these and have `labels`, too. One may come several times.
    pub fn among<'a>(
        &'a self,
        directory: &'a Directory,
        labels: &'a Labelled,
    ) -> impl Iterator<Item = &'a HostName> {
        let looked_at = self.looked_at(directory, labels).map(|host| &host.enrolled);
        looked_at
            .filter(move |host| self.cover(&host.name, &host.labels) && labels.fits(&host.labels))
            .map(|host| &host.name)
    }

    /// All that can be among them, and few others.
    fn looked_at<'a>(
        &'a self,
        directory: &'a Directory,
        labels: &'a Labelled,
    ) -> Box<dyn Iterator<Item = &'a Host> + 'a> {
        let each = self.labels.each().chain(labels.each());
        let counted = each.map(|label| (directory.count_labelled(label.0, label.1), label));
        let rarest = counted.min_by_key(|(count, _)| *count);
        let named = self.names.as_ref().and_then(Names::beginnings);
        match (rarest, named) {
            (None, None) => Box::new(directory.hosts()),
            (None, Some(named)) => Box::new(named.hosts(directory)),
            (Some((_, label)), None) => Box::new(labelled(directory, label)),
            (Some((count, label)), Some(named)) => {
                if named.clone().hosts(directory).take(count).count() < count {
                    Box::new(named.hosts(directory))
                } else {
                    Box::new(labelled(directory, label))
                }
            }
        }
    }
}

fn labelled<'a>(
    directory: &'a Directory,
    (key, values): (&'a LabelKey, &'a BTreeSet<LabelValue>),
) -> impl Iterator<Item = &'a Host> {
    directory.labelled(key, values)
}

/// How names begin.
#[derive(Debug, Clone)]
struct Beginnings<'a> {
    exact: &'a BTreeSet<HostName>,
    of_patterns: Vec<HostName>,
}

impl Names {
    /// None where a pattern leaves that open.
    fn beginnings(&self) -> Option<Beginnings<'_>> {
        let of_patterns = self.patterns.iter().map(Pattern::beginning);
        Some(Beginnings {
            exact: &self.exact,
            of_patterns: of_patterns.collect::<Option<_>>()?,
        })
    }
}

impl Pattern {
    /// What stands before its first wildcard, as far as it could be a host's name by itself.
    fn beginning(&self) -> Option<HostName> {
        let (before, _) = self.written.split_once(['*', '?'])?;
        HostName::try_from(before.trim_end_matches(['-', '.']).to_owned()).ok()
    }
}

impl<'a> Beginnings<'a> {
    fn hosts(self, directory: &'a Directory) -> impl Iterator<Item = &'a Host> {
        let exact = self.exact.iter();
        let exact = exact.filter_map(move |name| directory.host(name));
        let like = self.of_patterns.into_iter();
        exact.chain(like.flat_map(move |beginning| directory.hosts_like(beginning)))
    }
}

#[cfg(test)]
mod tests;
