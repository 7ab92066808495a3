//! Where the record is kept.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Error;
use crate::store::{Address, PostgresStore, SqliteStore, Store};

/// The database. Neither option: a file of SQLite's beside the signing key.
#[derive(Debug, Clone, Default, Args)]
pub struct DatabaseOptions {
    /// Keep the record in this PostgreSQL, which any number of servers may share, as postgres://jit@db.example.org/jit?sslmode=verify-full;
    /// without a password, which may be in the environment (PGPASSWORD)
    #[arg(long, value_name = "ADDRESS", env = "JIT_SERVER_DATABASE")]
    pub database: Option<Address>,
    /// Read that address from a file, with its password; neither others nor the group may change it, and others not read it
    #[arg(
        long,
        value_name = "FILE",
        env = "JIT_SERVER_DATABASE_FILE",
        conflicts_with = "database"
    )]
    pub database_file: Option<PathBuf>,
}

impl DatabaseOptions {
    /// The address of the PostgreSQL, where there is to be one.
    ///
    /// # Errors
    /// Where the file has none that may be used.
    pub fn address(&self) -> Result<Option<Address>, Error> {
        match &self.database_file {
            Some(file) => Address::read(file)
                .map(Some)
                .map_err(|error| Error::Setup(error.to_string())),
            None => Ok(self.database.clone()),
        }
    }

    /// The same as variables of the environment, for another program or the service.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = self.database.as_ref().and_then(Address::text);
        let database = text.map(|text| ("JIT_SERVER_DATABASE", text.to_owned()));
        let file = self.database_file.as_deref().map(|path| {
            // Only a folder that is gone makes no path absolute.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            ("JIT_SERVER_DATABASE_FILE", path.display().to_string())
        });
        database.into_iter().chain(file).collect()
    }

    /// Opens the database; SQLite's is in the folder `state`.
    ///
    /// # Errors
    /// Where it can't be used.
    pub async fn open(&self, state: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(match self.address()? {
            Some(address) => Box::new(PostgresStore::open(&address).await?),
            None => Box::new(SqliteStore::open(&state.join("jit-server.db")).await?),
        })
    }
}
