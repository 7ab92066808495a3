use super::*;

const HEAD: &str = "account required pam_unix.so\nsession required pam_unix.so\n";

/// Debian 12's own files, and those of polkit and the user manager where the vendor has them.
fn debian() -> Host {
    let folder = format!("{}/tests/fixtures/debian12", env!("CARGO_MANIFEST_DIR"));
    let mut own: Texts = std::fs::read_dir(folder)
        .expect("fixtures")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (
                entry.file_name().into_string().expect("a name"),
                std::fs::read(entry.path()).expect("a file"),
            )
        })
        .collect();
    let vendor = ["polkit-1", "systemd-user"].map(|name| {
        let text = own.remove(&format!("vendor-{name}")).expect("the fixture");
        (name.to_owned(), text)
    });
    let mut all = own.clone();
    all.extend(vendor);
    Host { own, all }
}

fn host(files: &[(&str, &str)]) -> Host {
    let own: Texts = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
        .collect();
    Host {
        all: own.clone(),
        own,
    }
}

/// The host after `plan`.
fn after(mut host: Host, plan: &Plan) -> Host {
    for (name, change) in &plan.changes {
        match change {
            Change::Write { new, .. } => {
                host.own.insert(name.clone(), new.clone());
                host.all.insert(name.clone(), new.clone());
            }
            Change::Remove { .. } => {
                host.own.remove(name);
            }
        }
    }
    host
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn modes(host: &Host) -> Vec<(String, State)> {
    let states = host
        .own
        .iter()
        .map(|(name, text)| (name.clone(), text::state(text)));
    states
        .filter(|(_, state)| *state != State::Ungated)
        .collect()
}

#[test]
fn gating_sudo_gates_sudo_i_and_a_copy_of_polkit_too() {
    let plan = debian().gate(&names(&["sudo"])).expect("a plan");
    assert_eq!(plan.services(), ["polkit-1", "sudo", "sudo-i"]);
    let gated = after(debian(), &plan);
    assert!(
        modes(&gated)
            .iter()
            .all(|(_, state)| *state == State::Gated(Mode::Monitor)),
        "gating begins in monitor mode"
    );
    assert!(gated.own["polkit-1"].starts_with(b"# jit copy: "));
}

#[test]
fn t16_gating_sshd_gates_the_user_manager_and_jobs_too() {
    let plan = debian().gate(&names(&["sshd"])).expect("a plan");
    assert_eq!(plan.services(), ["atd", "cron", "sshd", "systemd-user"]);
    let gated = after(debian(), &plan);
    assert!(gated.own["systemd-user"].starts_with(b"# jit copy: "));
    let ungated = after(
        debian(),
        &gated.ungate(&names(&["sshd"]), &[]).expect("a plan"),
    );
    assert_eq!(ungated.own, debian().own);
}

#[test]
fn without_cron_and_at_gating_sshd_gates_what_there_is() {
    let plan = host(&[("sshd", HEAD)])
        .gate(&names(&["sshd"]))
        .expect("a plan");
    assert_eq!(plan.services(), ["sshd"]);
}

#[test]
fn ungate_removes_the_copy_and_restores_the_rest_to_the_byte() {
    let gated = after(
        debian(),
        &debian()
            .gate(&names(&["sshd", "sudo", "su"]))
            .expect("a plan"),
    );
    let ungated = after(debian(), &gated.ungate_all(&[]));
    assert_eq!(ungated.own, debian().own);
}

#[test]
fn a_copy_that_was_edited_is_kept_without_our_lines() {
    let mut gated = after(debian(), &debian().gate(&names(&["sudo"])).expect("a plan"));
    let edited = [
        gated.own["polkit-1"].as_slice(),
        b"session optional pam_mine.so\n",
    ]
    .concat();
    gated.own.insert("polkit-1".to_owned(), edited);
    let plan = gated.ungate(&names(&["sudo"]), &[]).expect("a plan");
    let kept = &after(gated, &plan).own["polkit-1"];
    assert_eq!(
        *kept,
        [
            debian().all["polkit-1"].as_slice(),
            b"session optional pam_mine.so\n"
        ]
        .concat()
    );
}

#[test]
fn gating_su_covers_su_l_without_asking_twice_and_says_so() {
    let plan = debian().gate(&names(&["su"])).expect("a plan");
    assert_eq!(plan.services(), ["su"]);
    assert_eq!(
        plan.notes,
        ["su-l takes its lines from su and is covered by it."]
    );
    let gated = after(debian(), &plan);
    let survey = gated.survey(&Texts::new());
    let covered = survey
        .iter()
        .find(|service| service.name == "su-l")
        .expect("su-l");
    assert_eq!(covered.covered_by.as_deref(), Some("su"));
}

#[test]
fn su_l_alone_is_refused_since_its_lines_are_su_s() {
    let refused = debian().gate(&names(&["su-l"])).expect_err("refused");
    assert_eq!(refused.to_string(), "su-l takes its lines from su");
    assert!(refused.next().contains("jitctl gate su"));
}

#[test]
fn a_file_that_other_doors_include_is_refused() {
    let refused = debian()
        .gate(&names(&["common-account"]))
        .expect_err("refused");
    assert!(
        matches!(&refused, GateError::Shared { by, .. } if by.contains(&"login".to_owned())),
        "{refused}"
    );
    assert!(matches!(
        debian().gate(&names(&["other"])),
        Err(GateError::Fallback(_))
    ));
}

#[test]
fn a_line_that_could_skip_us_in_su_l_refuses_the_whole_command() {
    let host = host(&[
        ("su", HEAD),
        (
            "su-l",
            "account sufficient pam_rootok.so\naccount include su\nsession include su\n",
        ),
    ]);
    let refused = host.gate(&names(&["su"])).expect_err("refused");
    assert!(matches!(refused, GateError::Leaky { .. }), "{refused}");
}

/// The last line is what has a login held and ended (T10).
#[test]
fn t10_a_line_that_could_skip_our_last_one_is_refused_and_named() {
    for line in [
        "session sufficient pam_foo.so",
        "session [success=done default=ignore] pam_foo.so",
        "session [success=1 default=ignore] pam_foo.so",
    ] {
        let sshd = format!("{HEAD}@include common\n");
        let common = format!("session required pam_unix.so\n{line}\n");
        let host = host(&[("sshd", &sshd), ("common", &common)]);
        let refused = host.gate(&names(&["sshd"])).expect_err(line);
        assert!(matches!(refused, GateError::Leaky { .. }), "{refused}");
        assert!(refused.to_string().contains(line), "{refused}");
    }
    let harmless = "session [success=1 default=ignore] pam_foo.so\n";
    let sshd = format!("account sufficient pam_foo.so\n{harmless}{HEAD}");
    assert!(host(&[("sshd", &sshd)]).gate(&names(&["sshd"])).is_ok());
}

#[test]
fn a_service_that_is_gated_and_includes_another_is_not_gated_twice() {
    let start = host(&[("front", "@include sshd\n"), ("sshd", HEAD)]);
    let gated = after(host(&[("front", "@include sshd\n"), ("sshd", HEAD)]), &{
        let text = text::gate(&start.own["front"], &Mode::Monitor).expect("gateable");
        Plan {
            changes: vec![(
                "front".to_owned(),
                Change::Write {
                    old: None,
                    new: text,
                },
            )],
            ..Plan::default()
        }
    });
    assert!(matches!(
        gated.gate(&names(&["sshd"])),
        Err(GateError::Twice { .. })
    ));
}

#[test]
fn names_that_are_paths_or_nonsense_are_refused() {
    for name in ["../shadow", "a/b", ".hidden", "", "-x", "ssh d"] {
        assert!(
            matches!(debian().gate(&names(&[name])), Err(GateError::Name(_))),
            "{name:?}"
        );
    }
    assert!(matches!(
        debian().gate(&names(&["nosuch"])),
        Err(GateError::Missing(_))
    ));
}

#[test]
fn gating_again_changes_nothing_and_never_weakens() {
    let gated = after(debian(), &debian().gate(&names(&["sshd"])).expect("a plan"));
    let enforced = after(
        debian(),
        &gated.change_mode(&[], |_| Mode::Enforce).expect("a plan"),
    );
    let again = enforced.gate(&names(&["sshd"])).expect("a plan");
    assert_eq!(
        (again.changes.len(), again.unchanged),
        (0, names(&["atd", "cron", "sshd", "systemd-user"]))
    );
}

#[test]
fn a_change_of_mode_is_for_gated_services_only() {
    assert!(matches!(
        debian().change_mode(&[], |_| Mode::Enforce),
        Err(GateError::NothingGated)
    ));
    let gated = after(
        debian(),
        &debian().gate(&names(&["sshd", "su"])).expect("a plan"),
    );
    let plan = gated.change_mode(&[], |_| Mode::Enforce).expect("a plan");
    assert_eq!(
        plan.services(),
        ["atd", "cron", "sshd", "su", "systemd-user"]
    );
    assert!(matches!(
        gated.change_mode(&names(&["sudo"]), |_| Mode::Enforce),
        Err(GateError::NotGated(_))
    ));
    assert_eq!(
        gated
            .change_mode(&names(&["su"]), |_| Mode::Enforce)
            .expect("a plan")
            .services(),
        ["su"]
    );
}

#[test]
fn a_vendor_file_newer_than_our_copy_shows() {
    let gated = after(debian(), &debian().gate(&names(&["sudo"])).expect("a plan"));
    let newer: Texts = [("polkit-1".to_owned(), b"@include common-account\n".to_vec())].into();
    let polkit = gated
        .survey(&newer)
        .into_iter()
        .find(|service| service.name == "polkit-1")
        .expect("polkit");
    assert!(polkit.outdated_copy);
}
