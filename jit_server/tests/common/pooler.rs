//! A pooler in between, pgbouncer of Debian's package: each transaction may have another session of the database, and nobody hears of NOTIFY.
//! It ends with the process that started it, however that ends.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::postgres::{Postgres, give_away, unprivileged};

const LONGEST_START: Duration = Duration::from_secs(30);
const PROGRAM: &str = "/usr/sbin/pgbouncer";
/// The end of the pipe ends it.
const KEEPER: &str = r#"
"$1" --quiet "$2/pooler.ini" >>"$2/log" 2>&1 &
read -r _
kill "$!"; wait "$!"
rm -rf "$2"
"#;

pub struct Pooler {
    folder: PathBuf,
    _keeper: Child,
}

impl Pooler {
    /// One that gives each database `sessions` at most.
    pub fn before(postgres: &Postgres, sessions: u32) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "this test needs pgbouncer: apt-get install pgbouncer, or packaging/install-needs as root"
        );
        let folder = tempfile::tempdir().unwrap().keep();
        give_away(&folder);
        let settings = format!(
            "[databases]\n* = host={} user=jit\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {}\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {sessions}\nmax_client_conn = 100\n",
            postgres.socket().parent().unwrap().display(),
            folder.display(),
        );
        std::fs::write(folder.join("pooler.ini"), settings).unwrap();
        let keeper = unprivileged(Path::new("/bin/sh"))
            .args(["-c", KEEPER, "keeper", PROGRAM])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self {
            folder,
            _keeper: keeper,
        };
        let until = Instant::now() + LONGEST_START;
        while UnixStream::connect(pooler.folder.join(".s.PGSQL.6432")).is_err() {
            let log = std::fs::read_to_string(pooler.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "pgbouncer does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }

    /// Where the database of this address is found through it.
    pub fn address(&self, direct: &str) -> String {
        let (address, _) = direct.split_once("&host=").unwrap();
        format!("{address}&host={}&port=6432", self.folder.display())
    }
}
