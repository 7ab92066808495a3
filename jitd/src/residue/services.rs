//! What runs outside of logins, and what the kernel has loaded.

use std::fs;
use std::path::Path;

use super::kind::{Kind, Place};
use super::snapshot::Mark;

const CGROUPS: &str = "/sys/fs/cgroup";
/// Slices lie in slices this deep.
const DEEPEST: usize = 6;
/// Units counted.
const MOST: usize = 8192;
/// Being there is all that counts.
const THERE: Mark = 1;

/// Units with a process in them, but logins and elevations, which end by themselves.
pub(super) fn running() -> Vec<(Place, Mark)> {
    let mut found = Vec::new();
    collect(Path::new(CGROUPS), "", DEEPEST, &mut found);
    found
}

fn collect(folder: &Path, name: &str, deeper: usize, found: &mut Vec<(Place, Mark)>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let (path, unit) = (entry.path(), entry.file_name());
        let unit = unit.to_string_lossy();
        let name = format!("{name}/{unit}");
        if is_of_logins(&name) || found.len() >= MOST {
            continue;
        }
        if unit.ends_with(".slice") || is_manager(&name) {
            if let Some(deeper) = deeper.checked_sub(1) {
                collect(&path, &name, deeper, found);
            }
        } else if fs::read_to_string(path.join("cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
        {
            found.push((Place::new(Kind::Service, Path::new(&name)), THERE));
        }
    }
}

/// Logins and user managers of people are held by their grants. Root's own manager is looked into: what is in it is root's.
fn is_of_logins(name: &str) -> bool {
    let Some(below) = name.strip_prefix("/user.slice/") else {
        return name == "/init.scope";
    };
    match below.split_once('/') {
        None => below != "user-0.slice",
        Some((_, "user@0.service")) => false,
        Some((_, below)) => !below.starts_with("user@0.service/") || below.ends_with("/init.scope"),
    }
}

fn is_manager(name: &str) -> bool {
    name == "/user.slice/user-0.slice/user@0.service"
}

/// The kernel's modules, by name.
pub(super) fn modules() -> Vec<(Place, Mark)> {
    let table = fs::read_to_string("/proc/modules").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split(' ').next());
    names
        .map(|name| (Place::new(Kind::Module, Path::new(name)), THERE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_and_people_s_managers_are_left_out_and_root_s_manager_is_looked_into() {
        for name in [
            "/init.scope",
            "/user.slice/user-1000.slice",
            "/user.slice/user-0.slice/session-3.scope",
            "/user.slice/user-0.slice/jit-elevation-abcdefgh23.scope",
            "/user.slice/user-0.slice/user@0.service/init.scope",
            "/user.slice/user-0.slice/user-runtime-dir@0.service",
        ] {
            assert!(is_of_logins(name), "{name}");
        }
        for name in [
            "/user.slice",
            "/system.slice/run-r1.service",
            "/hidden",
            "/user.slice/user-0.slice",
            "/user.slice/user-0.slice/user@0.service",
            "/user.slice/user-0.slice/user@0.service/app.slice/x.service",
        ] {
            assert!(!is_of_logins(name), "{name}");
        }
    }
}
