//! Times PAM transactions (start, account phase, end) with pam_jit and with modules that everybody knows, by turns,
//! beside a bare connect, round trip and close on the same Unix socket. Prints one JSON object a line.
//!
//! ```text
//! pam_transactions MODULE COUNT                a stand-in that always allows, in a process of its own, answers
//! pam_transactions MODULE COUNT SOCKET USER    jitd answers, about a login that it allows
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a command; the file that it shares with the tests is public there"
)]

#[path = "../tests/support/application.rs"]
mod application;

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use application::{Application, PAM_SUCCESS, Request};
use jit_local::call::Call;
use jit_local::frame::encode;
use jit_local::limits::PAM_SOCKET;
use jit_local::message::pam;

/// Modules beside ours.
const OTHERS: [(&str, &str); 3] = [
    ("pam_permit", "pam_permit.so"),
    ("pam_unix", "pam_unix.so"),
    ("pam_access", "pam_access.so"),
];
/// Starts a program, so it gets a fraction of the turns.
const PROGRAM: (&str, &str) = ("pam_exec", "pam_exec.so quiet /bin/true");
const PROGRAM_EVERY: usize = 20;
/// The name of our service: jitd's settings know it.
const GATED: &str = "sshd";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["--answer", socket] => answer(Path::new(socket)),
        [module, count] => time_with_stand_in(Path::new(module), count),
        [module, count, socket, user] => time(Path::new(module), count, Path::new(socket), user),
        _ => Err("usage: pam_transactions MODULE COUNT [SOCKET USER]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pam_transactions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The quickest jitd there can be: says yes to whatever comes.
fn answer(socket: &Path) -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(socket)?;
    println!("ready");
    let mut buffer = [0; 4096];
    for stream in listener.incoming() {
        let mut stream = stream?;
        while !matches!(stream.read(&mut buffer)?, 0) && !buffer.contains(&0) {}
        stream.write_all(b"{\"parameters\":{\"allow\":true}}\0")?;
    }
    Ok(())
}

fn time_with_stand_in(module: &Path, count: &str) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("jitd.sock");
    let _jitd = StandIn::start(&socket)?;
    time(module, count, &socket, "root")
}

struct StandIn(Child);

impl StandIn {
    fn start(socket: &Path) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--answer")
            .arg(socket)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut String::new())?;
        Ok(Self(child))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives every subject its turn, `count` times, and prints the medians. Each time in another order: one that always came right
/// after another call to the same peer would find it awake, and the others would not.
fn time(module: &Path, count: &str, socket: &Path, user: &str) -> Result<(), Box<dyn Error>> {
    let count: usize = count.parse()?;
    let folder = tempfile::tempdir()?;
    let subjects = subjects(folder.path(), module, socket, user)?;
    let mut times = vec![Vec::with_capacity(count); subjects.len()];
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    for turn in 0..count {
        fastrand::shuffle(&mut order);
        for &next in &order {
            if turn % subjects[next].every == 0 {
                let began = Instant::now();
                (subjects[next].run)()?;
                times[next].push(began.elapsed());
            }
        }
    }
    for (subject, times) in subjects.iter().zip(&mut times) {
        times.sort_unstable();
        let median: Duration = times.get(times.len() / 2).copied().unwrap_or_default();
        println!(
            "{{\"name\":\"{}\",\"median_ns\":{}}}",
            subject.name,
            median.as_nanos()
        );
    }
    Ok(())
}

/// Something to be timed.
struct Subject {
    name: &'static str,
    /// It takes part in the turns that this divides.
    every: usize,
    run: Box<dyn Fn() -> Result<(), Box<dyn Error>>>,
}

fn subjects(
    folder: &Path,
    module: &Path,
    socket: &Path,
    user: &str,
) -> Result<Vec<Subject>, Box<dyn Error>> {
    let mut ours = format!("{} enforce", module.display());
    // As jitctl writes the line: only another place than the usual one is named there.
    if socket != Path::new(PAM_SOCKET) {
        ours += &format!(" socket={}", socket.display());
    }
    let services = OTHERS
        .iter()
        .map(|&(name, line)| (name, name, 1, format!("account required {line}\n")))
        .chain([
            (
                PROGRAM.0,
                PROGRAM.0,
                PROGRAM_EVERY,
                format!("account required {}\n", PROGRAM.1),
            ),
            // Alone, as the others are.
            ("pam_jit", GATED, 1, format!("account requisite {ours}\n")),
            (
                "pam_jit_and_pam_permit",
                GATED,
                1,
                format!("account requisite {ours}\naccount required pam_permit.so\n"),
            ),
        ]);
    let mut subjects = vec![bare(socket, user)?];
    for (name, service, every, lines) in services {
        let (folder, user) = (folder.join(name), user.to_owned());
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join(service), lines)?;
        let run = Box::new(move || transaction(&folder, service, &user));
        subjects.push(Subject { name, every, run });
    }
    Ok(subjects)
}

fn transaction(folder: &Path, service: &str, user: &str) -> Result<(), Box<dyn Error>> {
    let mut application = Application::start(folder, service, user).map_err(pam_error)?;
    match application.request(Request::Account, 0) {
        PAM_SUCCESS => Ok(()),
        code => Err(format!(
            "{service}: {}, shown: {:?}",
            pam_error(code),
            application.shown()
        )
        .into()),
    }
}

fn pam_error(code: i32) -> String {
    format!("PAM error {code}")
}

/// Connects, sends the very call that the module sends, reads the answer, closes.
fn bare(socket: &Path, user: &str) -> Result<Subject, Box<dyn Error>> {
    let question = pam::Call {
        service: GATED.to_owned(),
        user: user.to_owned(),
        enforce: true,
        ..pam::Call::default()
    };
    let call = encode(&Call::new(pam::ACCOUNT, &question)?)?;
    let socket: PathBuf = socket.to_owned();
    let run = Box::new(move || {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(&call)?;
        let (mut buffer, mut length) = ([0; 4096], 0);
        while length == 0 || buffer[length - 1] != 0 {
            match stream.read(&mut buffer[length..])? {
                0 => return Err("closed without an answer".into()),
                count => length += count,
            }
        }
        Ok(())
    });
    Ok(Subject {
        name: "bare_socket",
        every: 1,
        run,
    })
}
