//! What the files may say, and what is told of wrong ones.

use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS alice@laptop";

fn wrong(texts: Texts<'_>) -> Vec<(String, usize, String)> {
    let told = read(texts).unwrap_err().into_iter();
    told.map(|mistake| (mistake.file, mistake.line, mistake.key))
        .collect()
}

fn users_wrong(text: &str) -> Vec<(String, usize, String)> {
    wrong(Texts {
        users: Some(text),
        ..Texts::default()
    })
}

fn hosts_wrong(text: &str) -> Vec<(String, usize, String)> {
    wrong(Texts {
        hosts: Some(text),
        ..Texts::default()
    })
}

fn at(file: &str, line: usize, key: &str) -> (String, usize, String) {
    (file.to_owned(), line, key.to_owned())
}

#[test]
fn right_files_are_read_whole_and_missing_ones_change_nothing() {
    let users = format!(
        "[users.alice]\nlogin = \"deploy\"\ngroups = [\"engineers\"]\nkeys = [\"{KEY}\"]\n[users.bob]\nlogin = \"bob\"\n"
    );
    let hosts =
        "[hosts.web-1]\nlabels = { site = \"berlin\" }\n[hosts.\"db.example\"]\nremove = true\n";
    let wanted = read(Texts {
        policy: Some("may_lock = { users = [\"bob\"] }\n"),
        users: Some(&users),
        hosts: Some(hosts),
    })
    .unwrap();
    let all = wanted.users.unwrap();
    let alice = &all[&"alice".parse().unwrap()];
    assert_eq!(
        (alice.login.as_str(), alice.groups.len(), alice.keys.len()),
        ("deploy", 1, 1)
    );
    assert_eq!(all.len(), 2);
    assert!(wanted.policy.unwrap().may_lock.users.len() == 1);
    let removed = &wanted.hosts[&"db.example".parse().unwrap()];
    assert_eq!(removed, &WantedHost::Removed);
    assert_eq!(read(Texts::default()), Ok(Wanted::default()));
    let nobody = read(Texts {
        users: Some(""),
        ..Texts::default()
    });
    assert_eq!(nobody.unwrap().users, Some(BTreeMap::new()));
}

#[test]
fn every_mistake_of_every_file_is_told_with_line_and_key() {
    let told = wrong(Texts {
        policy: Some("[roles.a]\n"),
        users: Some("\n[users.Alice]\nlogin = \"alice\"\n[users.bob]\nlogn = \"bob\"\n"),
        hosts: Some("[host.web-1]\n"),
    });
    let of = |file: &str| told.iter().filter(|(of, ..)| of == file).count();
    assert_eq!((of(POLICY), of(USERS), of(HOSTS)), (5, 3, 1), "{told:?}");
    assert_eq!(told[5], at(USERS, 2, "users.Alice"));
    assert_eq!(told[6], at(USERS, 4, "users.bob.login"));
    assert_eq!(told[7], at(USERS, 5, "users.bob.logn"));
    assert_eq!(told[8], at(HOSTS, 1, "host"));
}

#[test]
fn a_user_has_a_login_that_may_be_granted_and_plain_keys_and_groups() {
    let text = "[users.eve]\nlogin = \"root\"\ngroups = [\"A\"]\nkeys = [\"rubbish\"]\n[users.mallory]\nlogin = 7\n[users.oscar]\n";
    assert_eq!(
        users_wrong(text),
        [
            at(USERS, 2, "users.eve.login"),
            at(USERS, 3, "users.eve.groups"),
            at(USERS, 4, "users.eve.keys"),
            at(USERS, 6, "users.mallory.login"),
            at(USERS, 7, "users.oscar.login"),
        ]
    );
    let groups: Vec<String> = (0..=MOST_OF_USER).map(|n| format!("\"g{n}\"")).collect();
    let text = format!(
        "[users.eve]\nlogin = \"eve\"\ngroups = [{}]\n",
        groups.join(",")
    );
    assert_eq!(users_wrong(&text), [at(USERS, 1, "users.eve.groups")]);
}

#[test]
fn nothing_is_there_twice() {
    let twice = "[users.eve]\nlogin = \"eve\"\n[users.eve]\nlogin = \"eva\"\n";
    assert_eq!(users_wrong(twice)[0].1, 3, "{:?}", users_wrong(twice));
    let twice = "[users.eve]\nlogin = \"eve\"\nlogin = \"eva\"\n";
    assert_eq!(users_wrong(twice)[0].1, 3);
    let twice = "[users.eve]\nlogin = \"eve\"\ngroups = [\"a\", \"b\", \"a\"]\n";
    assert_eq!(users_wrong(twice), [at(USERS, 3, "users.eve.groups")]);
    let twice = "[hosts.a]\nlabels = { site = \"x\", site = \"y\" }\n";
    assert_eq!(hosts_wrong(twice)[0].1, 2);
}

#[test]
fn t2_two_users_of_one_login_do_not_have_the_same_key() {
    let user = |name: &str, login: &str| {
        format!("[users.{name}]\nlogin = \"{login}\"\nkeys = [\"{KEY}\"]\n")
    };
    let shared = user("dora", "deploy") + &user("emil", "deploy");
    assert_eq!(users_wrong(&shared), [at(USERS, 4, "users.emil.keys")]);
    let own = user("dora", "dora") + &user("dora-admin", "deploy");
    read(Texts {
        users: Some(&own),
        ..Texts::default()
    })
    .unwrap();
}

#[test]
fn a_host_is_labelled_or_removed_and_an_entry_says_which() {
    let text = "[hosts.a]\n[hosts.b]\nlabels = { }\nremove = true\n[hosts.c]\nremove = false\n[hosts.d]\nlabels = { \"a b\" = \"x\", site = \"\" }\n[hosts.E]\nremove = true\n";
    assert_eq!(
        hosts_wrong(text),
        [
            at(HOSTS, 1, "hosts.a"),
            at(HOSTS, 2, "hosts.b"),
            at(HOSTS, 5, "hosts.c"),
            at(HOSTS, 8, "hosts.d.labels.a b"),
            at(HOSTS, 8, "hosts.d.labels.site"),
            at(HOSTS, 9, "hosts.E"),
        ]
    );
}

#[test]
fn a_file_that_is_none_of_ours_is_told_in_bounds() {
    let rubbish = "x y\n".repeat(10_000);
    assert_eq!(users_wrong(&rubbish).len(), 100);
}

#[test]
fn t22_what_a_terminal_would_obey_in_a_file_is_not_told_as_it_is() {
    let text = "[users.\"\\u001b[2J\\u202e\"]\n\"a\\u009b1m\" = \"\\u001b\"\nlogin = \"\\u0007\"\n";
    let users = Some(text);
    let mistakes = read(Texts {
        users,
        ..Texts::default()
    });
    for mistake in mistakes.unwrap_err() {
        let told = mistake.to_string();
        assert!(
            !told.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{told:?}"
        );
    }
}

#[test]
fn the_end_of_a_users_time_is_a_date_or_an_instant_in_quotes() {
    let text = "[users.vic]\nlogin = \"vic\"\nuntil = \"2026-12-31\"\n";
    let all = read(Texts {
        users: Some(text),
        ..Texts::default()
    });
    let all = all.unwrap().users.unwrap();
    let until = all[&"vic".parse().unwrap()].until.unwrap();
    assert_eq!(until.to_string(), "2027-01-01T00:00:00Z");
    for wrong in ["\"soon\"", "2026-12-31", "\"2026-12-31T10:00:00\"", "0"] {
        let text = format!("[users.vic]\nlogin = \"vic\"\nuntil = {wrong}\n");
        assert_eq!(users_wrong(&text), [at(USERS, 3, "users.vic.until")]);
    }
}

#[test]
fn a_users_attributes_are_flags_and_short_texts() {
    let text =
        "[users.vic]\nlogin = \"vic\"\nattributes = { on_call = true, team = \"payments\" }\n";
    let all = read(Texts {
        users: Some(text),
        ..Texts::default()
    });
    let all = all.unwrap().users.unwrap();
    let vic = &all[&"vic".parse().unwrap()];
    assert_eq!(vic.attributes.to_string(), "on_call=true, team=payments");
    let many: Vec<String> = (0..33).map(|n| format!("k{n} = true")).collect();
    for (wrong, key) in [
        ("{ on_call = \"true\" }", "users.vic.attributes.on_call"),
        ("{ on_call = 3 }", "users.vic.attributes.on_call"),
        ("{ \"\" = true }", "users.vic.attributes."),
        ("[\"on_call\"]", "users.vic.attributes"),
        (
            &format!("{{ {} }}", many.join(", ")),
            "users.vic.attributes",
        ),
    ] {
        let text = format!("[users.vic]\nlogin = \"vic\"\nattributes = {wrong}\n");
        assert_eq!(users_wrong(&text), [at(USERS, 3, key)]);
    }
}

#[test]
fn a_user_may_have_other_logins_on_some_hosts_and_root_on_none() {
    let text = "[users.vic]\nlogin = \"vic\"\nlogins = [{ hosts = [\"db-*\"], login = \"postgres\" }, { labels = { env = \"prod\" }, login = \"vic-adm\" }]\n";
    let all = read(Texts {
        users: Some(text),
        ..Texts::default()
    });
    let all = all.unwrap().users.unwrap();
    let vic = &all[&"vic".parse().unwrap()];
    let on = |host: &str, labels: &str| {
        let labels = serde_json::from_str(labels).unwrap();
        vic.login_on(&host.parse().unwrap(), &labels).to_string()
    };
    assert_eq!(on("db-1", r#"{"env":"prod"}"#), "postgres");
    assert_eq!(on("web-1", r#"{"env":"prod"}"#), "vic-adm");
    assert_eq!(on("web-1", "{}"), "vic");
    for (wrong, key) in [
        (
            "[{ hosts = [\"db-*\"], login = \"root\" }]",
            "users.vic.logins.1.login",
        ),
        ("[{ hosts = [\"db-*\"] }]", "users.vic.logins.1.login"),
        ("[{ login = \"deploy\" }]", "users.vic.logins.1.hosts"),
        (
            "[{ hosts = [], login = \"deploy\" }]",
            "users.vic.logins.1.hosts",
        ),
        (
            "[{ hosts = [\"DB\"], login = \"deploy\" }]",
            "users.vic.logins.1.hosts",
        ),
        (
            "[{ hosts = [\"db\"], login = \"deploy\", role = \"x\" }]",
            "users.vic.logins.1.role",
        ),
        (
            "{ hosts = [\"db\"], login = \"deploy\" }",
            "users.vic.logins",
        ),
    ] {
        let text = format!("[users.vic]\nlogin = \"vic\"\nlogins = {wrong}\n");
        assert_eq!(users_wrong(&text), [at(USERS, 3, key)]);
    }
}

#[test]
fn nobody_has_another_ones_key_for_a_login_that_both_may_have_somewhere() {
    let text = format!(
        "[users.alice]\nlogin = \"alice\"\nkeys = [\"{KEY}\"]\nlogins = [{{ hosts = [\"db-*\"], login = \"deploy\" }}]\n[users.bob]\nlogin = \"deploy\"\nkeys = [\"{KEY}\"]\n"
    );
    assert_eq!(users_wrong(&text), [at(USERS, 5, "users.bob.keys")]);
}
