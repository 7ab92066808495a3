use super::*;

#[test]
fn no_file_and_an_empty_one_mean_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(
        Settings::read(&directory.path().join("none.toml")).unwrap(),
        Settings::default()
    );
    assert_eq!(Settings::parse("# nothing\n"), Ok(Settings::default()));
}

#[test]
fn what_is_set_counts_and_the_rest_stays() {
    let settings = Settings::parse("max_staleness = \"90m\"\ngrace = \"500ms\"\n[services]\nsshd-admin = \"ssh\"\nsu = \"sudo\"\n").unwrap();
    assert_eq!(settings.max_staleness, Duration::from_secs(5400));
    assert_eq!(settings.grace, Duration::from_millis(500));
    assert_eq!(settings.services["sshd-admin"], Action::Ssh);
    assert_eq!(settings.services["su"], Action::Sudo);
    assert_eq!(settings.services["sudo"], Action::Sudo);
}

#[test]
fn every_mistake_is_named_with_its_line_and_key() {
    for (text, line, key, why) in [
        (
            "max_stalenes = \"1h\"\n",
            1,
            Some("max_stalenes"),
            "unknown key",
        ),
        ("\n\ngrace = 2\n", 3, Some("grace"), "must be a time"),
        ("grace = \"two\"\n", 1, Some("grace"), "must be a time"),
        ("grace = \"-2s\"\n", 1, Some("grace"), "negative"),
        ("grace = \"2001ms\"\n", 1, Some("grace"), "between"),
        (
            "max_staleness = \"1s\"\n",
            1,
            Some("max_staleness"),
            "between",
        ),
        (
            "max_staleness = \"8d\"\n",
            1,
            Some("max_staleness"),
            "between",
        ),
        (
            "decision_deadline = \"0s\"\n",
            1,
            Some("decision_deadline"),
            "between",
        ),
        (
            "[services]\nsshd = \"root\"\n",
            2,
            Some("services.sshd"),
            "must be",
        ),
        (
            "[services]\nsshd = [\"ssh\"]\n",
            2,
            Some("services.sshd"),
            "must be",
        ),
        (
            "[services]\n\"../sshd\" = \"ssh\"\n",
            2,
            Some("services.../sshd"),
            "/etc/pam.d",
        ),
        ("services = 5\n", 1, Some("services"), "table"),
        ("grace = \"2s\"\ngrace = \"3s\"\n", 2, None, "duplicate"),
        ("grace =\n", 1, None, ""),
        ("[services\n", 1, None, ""),
        ("\0", 1, None, ""),
    ] {
        let mistakes = Settings::parse(text).unwrap_err();
        let found = &mistakes[0];
        assert_eq!(
            (found.line, found.key.as_deref()),
            (line, key),
            "{text:?}: {mistakes:?}"
        );
        assert!(found.why.contains(why), "{text:?}: {found:?}");
    }
}

#[test]
fn all_mistakes_are_shown_at_once_with_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jitd.toml");
    std::fs::write(&path, "gracee = 1\n[services]\nx = 1\n").unwrap();
    let text = Settings::read(&path).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 2);
    assert!(
        text.starts_with(&format!("{}:1: gracee: ", path.display())),
        "{text}"
    );
    assert!(
        text.contains(&format!("{}:3: services.x: ", path.display())),
        "{text}"
    );
}

#[test]
fn a_file_that_is_not_text_or_not_a_file_or_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jitd.toml");
    std::fs::write(&path, b"grace = \"2s\"\n\xff").unwrap();
    assert!(
        Settings::read(&path)
            .unwrap_err()
            .to_string()
            .contains("jitd.toml:2: not UTF-8")
    );
    std::fs::write(&path, vec![b'#'; 65 * 1024]).unwrap();
    assert!(matches!(
        Settings::read(&path),
        Err(ConfigError::Unreadable { .. })
    ));
    assert!(matches!(
        Settings::read(directory.path()),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn warnings_are_a_list_of_times_and_an_empty_one_means_none() {
    let warn_before = |text: &str| Settings::parse(text).map(|settings| settings.warn_before);
    let seconds = |list: &[u64]| list.iter().copied().map(Duration::from_secs).collect();
    assert_eq!(warn_before(""), Ok(seconds(&[300, 60])));
    assert_eq!(
        warn_before("warn_before = [\"5s\", \"2s\"]"),
        Ok(seconds(&[5, 2]))
    );
    assert_eq!(warn_before("warn_before = []"), Ok(vec![]));
    for wrong in ["\"5m\"", "[\"0s\"]", "[\"2d\"]", "[5]"] {
        let mistakes = warn_before(&format!("warn_before = {wrong}")).unwrap_err();
        assert_eq!(mistakes[0].key.as_deref(), Some("warn_before"), "{wrong}");
    }
}
