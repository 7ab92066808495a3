//! Whether libpam would find pam_jit.so.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MODULE: &str = "pam_jit.so";
/// A module of Linux-PAM's own: where it is, libpam looks for modules.
const COMPANION: &str = "pam_permit.so";

/// The module's path.
///
/// # Errors
/// In words: it is not beside the others, or somebody else than root could change it.
pub(crate) fn find(root: &Path) -> Result<PathBuf, String> {
    let folders = folders(root);
    if folders.is_empty() {
        return Err(
            "the folder of PAM modules was not found (none holds pam_permit.so)".to_owned(),
        );
    }
    for folder in &folders {
        let path = folder.join(MODULE);
        let metadata = fs::metadata(&path).map_err(|error| {
            format!(
                "{} is not there for libpam to load: {error}",
                path.display()
            )
        })?;
        if !metadata.is_file()
            || metadata.mode() & 0o022 != 0
            || metadata.uid() != nix::unistd::geteuid().as_raw()
        {
            return Err(format!(
                "{} is not a regular file of root that nobody else can write",
                path.display()
            ));
        }
    }
    Ok(folders[0].join(MODULE))
}

/// Every folder with PAM modules, once: `/lib` is mostly a link to `/usr/lib`.
fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["lib", "lib64", "usr/lib", "usr/lib64"]
        .iter()
        .map(|base| root.join(base))
        .flat_map(|base| {
            let inner = fs::read_dir(&base)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path().join("security"));
            inner.chain([base.join("security")]).collect::<Vec<_>>()
        })
        .filter(|folder| folder.join(COMPANION).exists())
        .filter_map(|folder| folder.canonicalize().ok())
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn root_with(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(&path, "").expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
        }
        root
    }

    #[test]
    fn the_module_is_found_beside_linux_pam_s_own() {
        let root = root_with(&[
            "usr/lib/x86_64-linux-gnu/security/pam_permit.so",
            "usr/lib/x86_64-linux-gnu/security/pam_jit.so",
        ]);
        std::os::unix::fs::symlink("usr/lib", root.path().join("lib")).expect("a link");
        assert!(find(root.path()).is_ok());
    }

    #[test]
    fn elsewhere_or_changeable_it_does_not_count() {
        let elsewhere = root_with(&[
            "usr/lib/x86_64-linux-gnu/security/pam_permit.so",
            "usr/lib64/security/pam_jit.so",
        ]);
        assert!(find(elsewhere.path()).is_err());
        let open = root_with(&[
            "usr/lib64/security/pam_permit.so",
            "usr/lib64/security/pam_jit.so",
        ]);
        fs::set_permissions(
            open.path().join("usr/lib64/security/pam_jit.so"),
            fs::Permissions::from_mode(0o666),
        )
        .expect("a mode");
        assert!(find(open.path()).is_err());
        assert!(find(root_with(&[]).path()).is_err());
    }
}
