//! `jit-server copy`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::DatabaseOptions;
use crate::init::Layout;

/// What to do with it.
pub(super) const USES: &str = r#"Run it as the user jit-server: runuser -u jit-server -- jit-server copy ...

A copy that goes along: JIT_SERVER_COPY_TO=/var/lib/jit-server-copy/record in /etc/jit-server/copy.conf, then
systemctl enable --now jit-server-copy. To put it back, stop jit-server's units, put its jit-server.db* in the place of those in
/var/lib/jit-server, and start them: a copy that lacks the last events is taken for what it is, an older one.

From SQLite to PostgreSQL: copy --to-database-file FILE while the server runs, once more after it was stopped, and then
jit-server init --database-file FILE.

Exit status: 0 done, 1 failed, 2 usage."#;

/// Options of `copy`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("place").required(true).multiple(false))]
pub struct CopyOptions {
    /// Copy into a database of SQLite's in this folder, jit-server.db, which is made where there is none
    #[arg(long, value_name = "DIR", group = "place", env = "JIT_SERVER_COPY_TO")]
    pub to: Option<PathBuf>,
    /// Copy into this PostgreSQL; without a password
    #[arg(long, value_name = "ADDRESS", group = "place")]
    pub to_database: Option<String>,
    /// Copy into the PostgreSQL whose address is in this file
    #[arg(
        long,
        value_name = "FILE",
        group = "place",
        env = "JIT_SERVER_COPY_TO_DATABASE_FILE"
    )]
    pub to_database_file: Option<PathBuf>,
    /// Go on with what is new, each second, until it is told to stop
    #[arg(long)]
    pub follow: bool,
    /// Where the record is, unless it is in a PostgreSQL
    #[arg(long, value_name = "DIR", default_value = Layout::STATE)]
    pub state: PathBuf,
    /// The mark of the server there, where serve has one with --mark
    #[arg(long, value_name = "DIR", env = "JIT_SERVER_COPY_MARK")]
    pub mark: Option<PathBuf>,
    /// The record, where it is in a PostgreSQL.
    #[command(flatten)]
    pub database: DatabaseOptions,
}

impl CopyOptions {
    /// The PostgreSQL to copy into.
    #[must_use]
    pub fn to_database(&self) -> DatabaseOptions {
        DatabaseOptions {
            database: self.to_database.clone(),
            database_file: self.to_database_file.clone(),
        }
    }
}
