//! Who approves in a case, and when.

use jit_grant::Principal;

use crate::policy::{Reader, Value};

/// One who approves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// Who.
    pub who: Principal,
    /// So long after the request. Seconds.
    pub after_seconds: u32,
}

impl Reader<'_> {
    /// Names, or tables with `who` and `after`, in the order in which they approve. Who has no `after` approves when the one before him
    /// does, the first one after `first`.
    pub(super) fn approvers(
        &mut self,
        value: &Value<'_>,
        path: &str,
        first: u32,
    ) -> Option<Vec<Approver>> {
        let array = value.get_ref().as_array();
        let array = self.of_type(array, value, path, "a list")?;
        let mut approvers = Vec::new();
        let (mut before, mut right) = (first, true);
        for item in array.iter() {
            let Some(approver) = self.approver(item, path, before) else {
                right = false;
                continue;
            };
            before = approver.after_seconds;
            approvers.push(approver);
        }
        right.then_some(approvers)
    }

    fn approver(&mut self, value: &Value<'_>, path: &str, before: u32) -> Option<Approver> {
        let Some(table) = value.get_ref().as_table() else {
            let who = self.parsed(value, path)?;
            let after_seconds = before;
            return Some(Approver { who, after_seconds });
        };
        self.refuse_unknown(table, path, &["who", "after"]);
        let who = self.required(table, &value.span(), path, "who", Self::parsed);
        let after = self.required(table, &value.span(), path, "after", Self::duration);
        if after.is_some_and(|after| after < before) {
            let problem = "approves before the one before; name them in the order of time";
            self.mistake(&value.span(), path, problem);
            return None;
        }
        Some(Approver {
            who: who?,
            after_seconds: after?,
        })
    }
}
