//! A real PostgreSQL, from Debian's package `postgresql`, in a temporary folder and on a Unix socket only. It ends with the process that
//! started it, however that ends.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const LONGEST_START: Duration = Duration::from_secs(30);

/// Reads what it is told: `stop` kills PostgreSQL at once, as a power cut would, `start` starts it; the end of the pipe ends all of it.
const KEEPER: &str = r#"
start() {
    programs=$1 folder=$2
    shift 2
    "$programs/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c max_connections=60 "$@" >>"$folder/log" 2>&1 &
    server=$!
}
stop() { kill -QUIT "$server" 2>/dev/null; wait "$server"; }
start "$@"
while read -r word; do
    case $word in
        stop) stop; echo stopped ;;
        start) start "$@"; echo started ;;
    esac
done
stop
rm -rf "$2"
"#;

pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    port: String,
    told: Mutex<ChildStdin>,
    _keeper: Child,
}

impl Postgres {
    /// The one of this process, for tests that leave it running.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// One of its own.
    pub fn start() -> Self {
        Self::start_in(&tempfile::tempdir().unwrap().keep(), &[])
    }

    /// One that listens on a port of the loopback address, too, and shows this certificate there.
    pub fn start_with_tls(port: u16, certificate: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let mut options = vec![
            "listen_addresses=localhost".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
        ];
        for (setting, text) in [("ssl_cert_file", certificate), ("ssl_key_file", key)] {
            let file = folder.join(setting);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
            options.push(format!("{setting}={}", file.display()));
            give_away(&file);
        }
        Self::start_in(&folder, &options)
    }

    fn start_in(folder: &Path, options: &[String]) -> Self {
        let (programs, folder) = (programs(), folder.to_owned());
        give_away(&folder);
        run(unprivileged(&programs.join("initdb"))
            .args(["--no-instructions", "--auth=trust", "--username=jit"])
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "-D"])
            .arg(folder.join("data")));
        let mut keeper = unprivileged(Path::new("/bin/sh"))
            .args(["-c", KEEPER, "keeper"])
            .args([&programs, &folder])
            .args(options.iter().flat_map(|option| ["-c", option]))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let told = Mutex::new(keeper.stdin.take().unwrap());
        let port = options
            .iter()
            .find_map(|option| option.strip_prefix("port="));
        let postgres = Self {
            port: port.unwrap_or("5432").to_owned(),
            folder,
            programs,
            told,
            _keeper: keeper,
        };
        postgres.wait();
        postgres
    }

    /// Kills it as a power cut would, and starts it again.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    pub fn stop(&self) {
        self.tell("stop");
        let gone = Instant::now() + LONGEST_START;
        while self.answers() {
            assert!(Instant::now() < gone, "PostgreSQL does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn start_again(&self) {
        self.tell("start");
        self.wait();
    }

    /// A new, empty database; its address.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        run(self.program("createdb").arg(&name));
        self.address(&name)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    pub fn address(&self, name: &str) -> String {
        format!("postgres:///{name}?user=jit&host={}", self.folder.display())
    }

    /// A program of PostgreSQL's that connects to this one.
    pub fn program(&self, name: &str) -> Command {
        let mut program = Command::new(self.programs.join(name));
        program.args(["-U", "jit", "-p", &self.port, "-h"]);
        program.arg(&self.folder);
        program
    }

    fn tell(&self, word: &str) {
        writeln!(self.told.lock().unwrap(), "{word}").unwrap();
    }

    fn answers(&self) -> bool {
        let asked = self.program("pg_isready").arg("-q").status();
        asked.unwrap().success()
    }

    fn wait(&self) {
        let ready = Instant::now() + LONGEST_START;
        while !self.answers() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < ready, "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn programs() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter();
    let versions = found.flatten().flatten().map(|entry| entry.path());
    let newest = versions.max_by_key(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.parse::<u32>().unwrap_or(0)
    });
    let newest = newest.map(|path| path.join("bin"));
    newest
        .filter(|path| path.join("initdb").exists())
        .expect("this test needs a PostgreSQL: apt-get install postgresql, or packaging/install-needs as root")
}

/// To whom programs run by `unprivileged` are.
pub fn give_away(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        run(Command::new("chown").arg("nobody:nogroup").arg(path));
    }
}

/// PostgreSQL refuses to run as root.
pub fn unprivileged(program: &Path) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"])
        .arg(program)
        .current_dir("/");
    command
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {done:?}");
}
