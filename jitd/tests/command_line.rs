//! What the command line of jitd promises.

use std::borrow::Cow;
use std::fs;
use std::process::{Command, Output};

fn jitd(arguments: &[&str]) -> Command {
    let mut jitd = Command::new(env!("CARGO_BIN_EXE_jitd"));
    jitd.args(arguments).env_remove("LISTEN_FDS");
    jitd
}

fn error(output: &Output) -> Cow<'_, str> {
    String::from_utf8_lossy(&output.stderr)
}

#[test]
fn check_names_file_line_and_key_of_every_mistake_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jitd.toml");
    let path = path.to_str().unwrap();
    fs::write(
        path,
        "grace = \"2s\"\nmax_stalenes = \"1h\"\n[services]\nsshd = \"root\"\n",
    )
    .unwrap();
    let output = jitd(&["--check", "--config", path]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = error(&output);
    assert!(
        text.contains(&format!("{path}:2: max_stalenes: ")),
        "{text}"
    );
    assert!(
        text.contains(&format!("{path}:4: services.sshd: ")),
        "{text}"
    );
}

#[test]
fn check_says_nothing_about_sound_settings_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jitd.toml");
    let path = path.to_str().unwrap();
    assert!(
        jitd(&["--check", "--config", path])
            .output()
            .unwrap()
            .status
            .success()
    );
    fs::write(path, "max_staleness = \"30m\"\n").unwrap();
    let output = jitd(&["--check", "--config", path]).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn the_settings_that_the_package_ships_are_sound_also_with_every_line_taken_in() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/jitd.toml");
    let text = fs::read_to_string(shipped).unwrap();
    let taken_in: String = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
                .to_owned()
                + "\n"
        })
        .collect();
    let settings = jitd::config::Settings::parse(&taken_in).unwrap();
    assert_eq!(
        settings,
        jitd::config::Settings::default(),
        "the comments show the defaults"
    );
}

#[test]
fn without_its_sockets_it_does_not_start_and_says_what_starts_it() {
    let output = jitd(&["--config", "/nonexistent/jitd.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error(&output).contains("systemctl start"),
        "{}",
        error(&output)
    );
}

#[test]
fn a_wrong_flag_is_a_usage_error_and_version_and_help_are_answers() {
    assert_eq!(jitd(&["--chek"]).output().unwrap().status.code(), Some(2));
    let version = jitd(&["--version"]).output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
    let help = String::from_utf8(jitd(&["--help"]).output().unwrap().stdout).unwrap();
    for flag in ["--config", "--check", "--version"] {
        assert!(help.contains(flag), "{help}");
    }
}

#[test]
fn it_writes_its_own_man_page_and_completions() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().to_str().unwrap();
    for what in ["man", "completions"] {
        assert!(
            jitd(&["generate", what, folder])
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    let page = fs::read_to_string(directory.path().join("jitd.8")).unwrap();
    assert!(page.contains("check"));
    for name in ["jitd.bash", "_jitd", "jitd.fish"] {
        assert!(directory.path().join(name).exists(), "{name}");
    }
}
