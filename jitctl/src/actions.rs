//! Which PAM services stand for an action: what jitd can decide about. Any other gated service would be refused to everybody.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::error::Error;

/// What jitd knows without being told (`jitd/src/config.rs`).
const KNOWN: &[&str] = &[
    "sshd",
    "systemd-user",
    "sudo",
    "sudo-i",
    "polkit-1",
    "su",
    "su-l",
    "cron",
    "crond",
    "atd",
];

/// The services that jitd's settings below `root` give an action to, added to those it knows.
pub(crate) fn services(root: &Path) -> Result<BTreeSet<String>, Error> {
    let path = root.join("etc/jit/jitd.toml");
    let mut services: BTreeSet<String> = KNOWN.iter().map(|name| (*name).to_owned()).collect();
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(services),
        text => text.map_err(|error| Error::file(&path, "read", error))?,
    };
    let settings: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| Error::file(&path, "understand", error.message()))?;
    let added = settings.get("services").and_then(toml::Value::as_table);
    services.extend(added.into_iter().flatten().map(|(name, _)| name.clone()));
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_add_to_what_jitd_knows() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(services(root.path()).expect("defaults").len(), KNOWN.len());
        std::fs::create_dir_all(root.path().join("etc/jit")).expect("a folder");
        let path = root.path().join("etc/jit/jitd.toml");
        std::fs::write(&path, "grace = \"2s\"\n[services]\nsshd-admin = \"ssh\"\n")
            .expect("written");
        assert!(
            services(root.path())
                .expect("settings")
                .contains("sshd-admin")
        );
        std::fs::write(&path, "[services\n").expect("written");
        assert!(services(root.path()).is_err());
    }
}
