//! The files themselves, in a folder of the test's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Etc {
    folder: tempfile::TempDir,
    gate: Gate,
}

impl Etc {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("etc/pam.d")).expect("a folder");
        let gate = Gate::below(folder.path(), nix::unistd::geteuid().as_raw());
        let etc = Self { folder, gate };
        for name in [
            "sshd",
            "sudo",
            "sudo-i",
            "su",
            "su-l",
            "common-account",
            "common-session",
        ] {
            let fixture = format!(
                "{}/tests/fixtures/debian12/{name}",
                env!("CARGO_MANIFEST_DIR")
            );
            fs::write(etc.path(name), fs::read(fixture).expect("a fixture")).expect("written");
        }
        etc
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("etc/pam.d").join(name)
    }

    fn gate(&self, name: &str) -> Result<Plan, GateError> {
        self.gate.change(|host| host.gate(&[name.to_owned()]))
    }

    fn ungate(&self, name: &str) -> Result<Plan, GateError> {
        self.gate
            .change(|host| host.ungate(&[name.to_owned()], &[]))
    }
}

#[test]
fn owner_mode_and_attributes_survive() {
    let etc = Etc::new();
    fs::set_permissions(etc.path("sshd"), fs::Permissions::from_mode(0o640)).expect("a mode");
    let labelled = rustix::fs::setxattr(
        etc.path("sshd"),
        "user.label",
        b"kept",
        rustix::fs::XattrFlags::empty(),
    )
    .is_ok();
    let before = fs::metadata(etc.path("sshd")).expect("metadata");
    etc.gate("sshd").expect("gated");
    let after = fs::metadata(etc.path("sshd")).expect("metadata");
    assert_eq!(
        (before.uid(), before.gid(), before.mode()),
        (after.uid(), after.gid(), after.mode())
    );
    assert_ne!(
        before.ino(),
        after.ino(),
        "replaced by a new file, not written into"
    );
    let mut value = [0; 16];
    if labelled {
        let length = rustix::fs::getxattr(etc.path("sshd"), "user.label", &mut value[..])
            .expect("an attribute");
        assert_eq!(&value[..length], b"kept");
    }
}

#[test]
fn only_the_named_files_change_and_nothing_is_left_behind() {
    let etc = Etc::new();
    let others = |etc: &Etc| {
        let mut files: Vec<_> = fs::read_dir(etc.path(""))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        files
            .into_iter()
            .filter(|path| !path.ends_with("sshd"))
            .map(|path| (fs::read(&path).expect("a file"), path))
            .collect::<Vec<_>>()
    };
    let (before, sshd) = (others(&etc), fs::read(etc.path("sshd")).expect("a file"));
    etc.gate("sshd").expect("gated");
    assert_eq!(others(&etc), before);
    etc.ungate("sshd").expect("ungated");
    assert_eq!(fs::read(etc.path("sshd")).expect("a file"), sshd);
    assert_eq!(others(&etc), before);
}

#[test]
fn a_symbolic_link_is_refused() {
    let etc = Etc::new();
    fs::rename(etc.path("sshd"), etc.folder.path().join("elsewhere")).expect("moved");
    symlink(etc.folder.path().join("elsewhere"), etc.path("sshd")).expect("a link");
    let refused = etc.gate("sshd").expect_err("refused");
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let etc = Etc::new();
    fs::set_permissions(etc.path("sshd"), fs::Permissions::from_mode(0o666)).expect("a mode");
    assert!(matches!(etc.gate("sshd"), Err(GateError::Unfit { .. })));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let etc = Etc::new();
    let stranger = Gate::below(etc.folder.path(), nix::unistd::geteuid().as_raw() + 1);
    assert!(matches!(
        stranger.change(|host| host.gate(&["sshd".to_owned()])),
        Err(GateError::Unfit { .. })
    ));
}

#[test]
fn a_file_changed_meanwhile_is_left_alone() {
    let etc = Etc::new();
    let refused = etc.gate.change(|host| {
        let plan = host.gate(&["sshd".to_owned()]);
        fs::write(etc.path("sshd"), "# another editor was faster\n").expect("written");
        plan
    });
    assert!(matches!(refused, Err(GateError::Changed { .. })));
    assert_eq!(
        fs::read(etc.path("sshd")).expect("a file"),
        b"# another editor was faster\n"
    );
}

#[test]
fn a_leftover_of_a_crash_does_no_harm() {
    let etc = Etc::new();
    fs::write(etc.path(".sshd.jit-new"), "half").expect("written");
    etc.gate("sshd").expect("gated");
    assert!(!etc.path(".sshd.jit-new").exists());
}

#[test]
fn two_jitctl_at_once_lose_no_change() {
    let etc = Etc::new();
    std::thread::scope(|scope| {
        for name in ["sshd", "sudo", "su"] {
            let gate = &etc.gate;
            scope.spawn(move || {
                gate.change(|host| host.gate(&[name.to_owned()]))
                    .expect("gated")
            });
        }
    });
    let gated = etc
        .gate
        .survey()
        .expect("a survey")
        .into_iter()
        .filter(|service| service.state == State::Gated(Mode::Monitor))
        .count();
    assert_eq!(gated, 4, "sshd, sudo, sudo-i and su");
}
