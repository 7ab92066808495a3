//! What the tests of the built module share: the module itself, PAM files of their own, and stand-ins for jitd.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part; a failed test may panic"
)]

pub mod application;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use jit_local::call::Call;
use jit_local::frame::Decoder;
use tempfile::TempDir;

pub const PAM_PERM_DENIED: i32 = 6;
pub const PAM_ERROR_MSG: i32 = 3;
pub const PAM_SILENT: i32 = 0x8000;

/// pam_jit.so, built as it ships.
pub fn module() -> &'static Path {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(|| built("--lib", "libpam_jit.so"))
}

/// The module that panics, built the same way.
pub fn panicking_module() -> PathBuf {
    built(
        "--example=panicking_module",
        "examples/libpanicking_module.so",
    )
}

fn built(what: &str, file: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--profile=module",
            "--package=pam_jit",
            what,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success());
    // This test is at TARGET/PROFILE/deps/NAME.
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("module").join(file)
}

/// A folder of PAM files and a place for jitd's socket.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("jitd.sock")
    }

    /// A service with our lines as `jitctl gate` writes them, with `arguments` for the mode.
    pub fn gate(&self, service: &str, module: &Path, arguments: &str) {
        let module = module.display();
        let control = if arguments.starts_with("monitor") {
            "optional"
        } else {
            "requisite"
        };
        let socket = format!("socket={}", self.socket().display());
        let lines = [
            format!("auth optional {module} {arguments}"),
            "auth required pam_permit.so".into(),
            format!("account {control} {module} {arguments} {socket}"),
            "account required pam_permit.so".into(),
            format!("session {control} {module} {arguments} before {socket}"),
            "session required pam_permit.so".into(),
            format!("session {control} {module} {arguments} after {socket}"),
        ];
        std::fs::write(self.folder().join(service), lines.join("\n") + "\n").unwrap();
    }

    /// Serves every connection with `behaviour`, each in turn, for as long as the test runs.
    pub fn serve(&self, behaviour: impl Fn(UnixStream) + Send + 'static) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        std::thread::spawn(move || {
            listener
                .incoming()
                .for_each(|stream| behaviour(stream.unwrap()))
        });
    }

    /// As [`Self::serve`]: reads the call, then writes `bytes`.
    pub fn answer(&self, bytes: &'static [u8]) {
        self.serve(move |mut stream| {
            if read_call(&mut stream).is_some() {
                let _ = stream.write_all(bytes);
            }
        });
    }
}

/// The call on a new connection; None when it is closed before one came.
pub fn read_call(stream: &mut UnixStream) -> Option<Call> {
    let (mut decoder, mut buffer) = (Decoder::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|&count| count > 0)?;
        if let Some(message) = decoder.take(&mut &buffer[..count]).unwrap() {
            return Some(Call::parse(&message).unwrap());
        }
    }
}

/// Holds the connection without a word until the other side leaves.
pub fn wait_for_end(stream: &mut UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}
