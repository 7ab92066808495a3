//! The file that ships: its size, and what it takes from and gives to the program that loads it.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{module, panicking_module};

fn output(program: &str, argument: &str, file: &Path) -> String {
    let output = Command::new(program)
        .args([argument, "-W"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} comes with binutils");
    String::from_utf8(output.stdout).unwrap()
}

/// Names of dynamic symbols, with whether the module defines them.
fn symbols(file: &Path) -> Vec<(String, bool)> {
    let table = output("readelf", "--dyn-syms", file);
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| {
        row.len() >= 8 && row[0].ends_with(':') && row[0] != "Num:" && row[4] != "LOCAL"
    })
    .map(|row| {
        (
            row[7].split('@').next().unwrap().to_owned(),
            row[6] != "UND",
        )
    })
    .collect()
}

#[test]
fn the_module_is_at_most_700_kilobytes() {
    assert!(module().metadata().unwrap().len() <= 700_000);
}

#[test]
fn the_module_needs_libpam_and_libc_only() {
    for file in [module(), &panicking_module()] {
        let dynamic = output("readelf", "--dynamic", file);
        let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
        for line in needed {
            let expected = ["[libpam.so.", "[libc.so.", "[ld-linux"];
            assert!(expected.iter().any(|name| line.contains(name)), "{line}");
        }
    }
}

#[test]
fn the_module_is_mapped_in_two_pieces_and_what_was_relocated_is_read_only() {
    let headers = output("readelf", "--program-headers", module());
    let of = |kind: &str| {
        let rows = headers.lines().map(str::trim_start);
        rows.filter(|row| row.starts_with(kind)).count()
    };
    assert_eq!((of("LOAD "), of("GNU_RELRO ")), (2, 1), "{headers}");
    assert!(output("readelf", "--dynamic", module()).contains("BIND_NOW"));
}

#[test]
fn the_module_exports_pams_entry_points_only() {
    let mut exported: Vec<_> = symbols(module())
        .into_iter()
        .filter(|symbol| symbol.1)
        .map(|symbol| symbol.0)
        .collect();
    exported.sort_unstable();
    let expected = [
        "acct_mgmt",
        "authenticate",
        "chauthtok",
        "close_session",
        "open_session",
        "setcred",
    ];
    assert_eq!(exported, expected.map(|name| format!("pam_sm_{name}")));
}

#[test]
fn the_module_can_start_no_thread_and_no_process() {
    let imported = symbols(module())
        .into_iter()
        .filter(|symbol| !symbol.1)
        .map(|symbol| symbol.0);
    let forbidden = [
        "pthread_create",
        "clone",
        "clone3",
        "fork",
        "vfork",
        "posix_spawn",
        "execve",
        "signal",
        "sigaction",
        "setenv",
        "exit",
    ];
    for name in imported {
        assert!(!forbidden.contains(&name.as_str()), "imports {name}");
    }
}
