//! `jit-server policy`.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::{print_json, say};
use crate::error::Error;
use crate::policy;

/// `jit-server policy check`: mistakes go to `out`, warnings to `err`. True where the policy is right.
///
/// # Errors
/// Where it can't be printed.
pub fn check_policy(
    file: &Path,
    as_json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<bool, Error> {
    let checked = policy::check(file);
    let mistakes = checked.as_ref().err().map_or(&[][..], Vec::as_slice);
    let warnings = checked
        .as_ref()
        .map_or(&[][..], |checked| &checked.warnings);
    if as_json {
        let roles: Vec<&str> = checked
            .iter()
            .flat_map(|checked| checked.policy.roles.keys())
            .map(|name| name.as_str())
            .collect();
        print_json(
            out,
            &json!({ "right": checked.is_ok(), "roles": roles, "mistakes": mistakes, "warnings": warnings }),
        )?;
    } else {
        for mistake in mistakes {
            say(out, &format!("{mistake}\n"))?;
        }
        for warning in warnings {
            say(err, &format!("warning: {warning}\n"))?;
        }
        if let Ok(checked) = &checked {
            let roles = checked.policy.roles.len();
            let said = if roles == 1 {
                "1 role".to_owned()
            } else {
                format!("{roles} roles")
            };
            say(out, &format!("{} is right: {said}\n", file.display()))?;
        }
    }
    Ok(checked.is_ok())
}
