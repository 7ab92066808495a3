//! The packages that `make deb` built, and putting them on a host as an administrator does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host::Host;
use crate::machine;
use crate::run::Outcome;

/// The package built last; `JIT_TEST_PACKAGES` names another folder than `make deb`'s.
///
/// # Errors
/// There is none.
pub fn built(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("JIT_TEST_PACKAGES");
    let folder = folder.map_or_else(|| machine::target().join("packages"), PathBuf::from);
    let prefix = format!("{name}_");
    let found = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let file = path
                .file_name()
                .and_then(|file| file.to_str())
                .unwrap_or_default();
            file.starts_with(&prefix) && file.ends_with(".deb")
        });
    found.with_context(|| {
        format!(
            "no {name} package in {}: run make deb first",
            folder.display()
        )
    })
}

/// The same package with a higher version.
///
/// # Errors
/// dpkg-deb fails.
pub fn raised(package: &Path, into: &Path) -> Result<PathBuf> {
    let (package, into) = (package.to_string_lossy(), into.to_string_lossy());
    let script = r#"
        set -eu
        dpkg-deb --raw-extract "$1" "$2/tree"
        sed -i 's/^Version: .*/&+later/' "$2/tree/DEBIAN/control"
        dpkg-deb --root-owner-group -Zxz --build "$2/tree" "$2/later.deb"
        rm -r "$2/tree"
    "#;
    machine::output("sh", &["-c", script, "raise", &package, &into])?;
    Ok(PathBuf::from(into.into_owned()).join("later.deb"))
}

/// Installs a package file with apt-get, as a person would; everything it depends on must be there.
///
/// # Errors
/// It can't be copied or the command hangs. A failing installation is no error here.
pub fn install(host: &Host, package: &Path) -> Result<Outcome> {
    let file = package
        .file_name()
        .and_then(|name| name.to_str())
        .context("a package without a name")?;
    let inside = format!("/var/tmp/{file}");
    host.write(
        &inside,
        "0644",
        fs::read(package).with_context(|| format!("reading {}", package.display()))?,
    )?;
    let outcome = apt(
        host,
        &[
            "install",
            "--no-install-recommends",
            "--allow-downgrades",
            &inside,
        ],
    )?;
    host.run(&["rm", &inside])?;
    Ok(outcome)
}

/// Runs apt-get without questions.
///
/// # Errors
/// The command hangs.
pub fn apt(host: &Host, arguments: &[&str]) -> Result<Outcome> {
    let command = host
        .command(&["apt-get", "--quiet", "--yes"])
        .words(arguments.iter().copied());
    command
        .environment("DEBIAN_FRONTEND", "noninteractive")
        .within(Duration::from_secs(120))
        .run()
}

/// Installs both packages.
///
/// # Errors
/// One of them is not built or does not install.
pub fn install_both(host: &Host) -> Result<()> {
    for name in ["jit-server", "jitd"] {
        let outcome = install(host, &built(name)?)?;
        ensure!(outcome.code == Some(0), "{name} did not install: {outcome}");
    }
    Ok(())
}
