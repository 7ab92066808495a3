use std::os::unix::fs::PermissionsExt;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
const GOOD: &str = r#"
[[endpoint]]
name = "pager"
url = "https://pager.example/jit?team=1"
secret_file = "pager"
events = ["approval", "alarm", "locked"]

[[endpoint]]
name = "here"
url = "http://127.0.0.1:8080/"
secret_file = ["pager", "next"]
events = ["start", "expiry"]
"#;

/// A folder with the secrets `pager` and `next`.
fn folder() -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pager", "next", "open"] {
        let path = folder.path().join(name);
        std::fs::write(&path, SECRET).unwrap();
        let mode = if name == "open" { 0o644 } else { 0o600 };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let files = Files {
        credentials: None,
        secrets: folder.path().to_owned(),
    };
    (folder, files)
}

/// The lines, keys and problems of what is wrong.
fn wrong(text: &str) -> Vec<(usize, String, String)> {
    let (_folder, files) = folder();
    let told = check_text("webhooks.toml", text, &files).unwrap_err();
    told.into_iter()
        .map(|told| (told.line, told.key, told.problem))
        .collect()
}

#[test]
fn right_settings_are_read_whole() {
    let (_folder, files) = folder();
    let read = check_text("webhooks.toml", GOOD, &files).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].name.as_str(), "pager");
    let events: Vec<&str> = read[0].events.iter().map(String::as_str).collect();
    assert_eq!(
        events,
        ["alarm", "approved", "extended", "granted", "locked"]
    );
    assert_eq!(read[0].reach, Reach::NoLinkLocal);
    assert_eq!((read[1].secrets.len(), read[1].reach), (2, Reach::Loopback));
}

#[test]
fn every_mistake_is_told_with_line_and_key() {
    let text = GOOD
        .replace("secret_file = \"pager\"", "secret_file = \"none\"")
        .replace("\"here\"", "\"not here\"")
        .replace("\"expiry\"", "\"expires\"")
        + "colour = 1\n[other]\n";
    let told: Vec<(usize, String)> = wrong(&text)
        .into_iter()
        .map(|(line, key, _)| (line, key))
        .collect();
    let at = |line, key: &str| (line, key.to_owned());
    assert_eq!(
        told,
        [
            at(5, "endpoint.secret_file"),
            at(9, "endpoint.name"),
            at(12, "endpoint.events"),
            at(13, "endpoint.colour"),
            at(14, "other"),
        ]
    );
}

#[test]
fn what_is_missing_or_there_twice_is_told() {
    assert_eq!(wrong("")[0].1, "endpoint");
    assert_eq!(wrong("endpoint = 1")[0].2, "write it as [[endpoint]]");
    let missing: Vec<String> = wrong("[[endpoint]]")
        .into_iter()
        .map(|told| told.1)
        .collect();
    for key in ["name", "url", "events", "secret_file"] {
        assert!(missing.contains(&format!("endpoint.{key}")), "{missing:?}");
    }
    let twice = wrong(&GOOD.replace("\"here\"", "\"pager\""));
    assert!(twice[0].2.contains("another one"), "{twice:?}");
    let many = GOOD.repeat(9);
    assert!(
        wrong(&many)
            .iter()
            .any(|told| told.2.contains("16 at most"))
    );
    let nobody = GOOD.replace("[\"start\", \"expiry\"]", "[]");
    assert_eq!(wrong(&nobody)[0].1, "endpoint.events");
}

#[test]
fn a_url_is_https_or_this_machine_and_nothing_is_hidden_in_it() {
    for url in [
        "",
        "pager.example",
        "ftp://pager.example/",
        "http://pager.example/",
        "http://10.0.0.1/",
        "http://localhost.example/",
        "https://user@pager.example/",
        "https://:password@pager.example/",
        "https://pager.example/#a",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://2852039166/",
    ] {
        let told = wrong(&GOOD.replace("https://pager.example/jit?team=1", url));
        assert_eq!(told[0].1, "endpoint.url", "{url} {told:?}");
        assert_eq!(told[0].0, 4, "{url}");
    }
    for url in [
        "http://localhost:1/",
        "http://[::1]/",
        "https://10.0.0.1:8443/a",
    ] {
        let (_folder, files) = folder();
        let text = GOOD.replace("https://pager.example/jit?team=1", url);
        assert!(check_text("webhooks.toml", &text, &files).is_ok(), "{url}");
    }
    let (_folder, files) = folder();
    let said = GOOD
        .replace("https://pager.example/jit?team=1", "https://169.254.1.2/")
        .replacen("events", "link_local = true\nevents", 1);
    assert!(check_text("webhooks.toml", &said, &files).is_ok());
}

#[test]
fn a_secret_is_nobody_elses_and_is_not_told() {
    let (folder, _) = folder();
    let of = |name: &str| GOOD.replace("secret_file = \"pager\"", &format!("secret_file = {name}"));
    for (name, why) in [
        ("\"open\"", "0644"),
        ("\"none\"", "can't be opened"),
        ("\"../pager\"", "absolute path"),
        ("\"a/pager\"", "absolute path"),
        ("\"\"", "absolute path"),
        ("[]", "1 to 4 files"),
        ("1", "a string"),
    ] {
        let told = wrong(&of(name));
        assert_eq!((told[0].0, told[0].1.as_str()), (5, "endpoint.secret_file"));
        assert!(told[0].2.contains(why), "{name}: {told:?}");
    }
    let short = folder.path().join("short");
    std::fs::write(&short, "whsec_c2hvcnQ=").unwrap();
    std::fs::set_permissions(&short, PermissionsExt::from_mode(0o600)).unwrap();
    let told = wrong(&of(&format!("{short:?}")));
    assert!(told[0].2.contains("24 to 64"), "{told:?}");
    assert!(!told[0].2.contains("c2hvcnQ"), "{told:?}");
}

#[test]
fn secrets_that_systemd_hands_over_are_taken_from_there() {
    let credentials = tempfile::tempdir().unwrap();
    for name in ["pager", "next"] {
        let path = credentials.path().join(format!("webhook-secrets_{name}"));
        std::fs::write(&path, SECRET).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).unwrap();
    }
    let files = Files {
        credentials: Some(credentials.path().to_owned()),
        secrets: "/nowhere".into(),
    };
    assert!(check_text("webhooks.toml", GOOD, &files).is_ok());
}

#[test]
fn a_pinned_authority_must_be_one() {
    let (folder, files) = folder();
    let ca = |path: &Path| GOOD.replacen("events", &format!("ca = {path:?}\nevents"), 1);
    let path = folder.path().join("ca.crt");
    for rubbish in ["", "rubbish"] {
        std::fs::write(&path, rubbish).unwrap();
        let told = check_text("webhooks.toml", &ca(&path), &files).unwrap_err();
        assert_eq!((told[0].line, told[0].key.as_str()), (6, "endpoint.ca"));
    }
    let told = check_text("webhooks.toml", &ca(Path::new("ca.crt")), &files).unwrap_err();
    assert!(told[0].problem.contains("absolute"));
}
