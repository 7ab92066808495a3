//! Where the record is kept.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Error;
use crate::store::{Address, PostgresStore, SqliteStore, Store};

/// The database. Neither option: a file of SQLite's beside the signing key.
#[derive(Debug, Clone, Default, Args)]
pub struct DatabaseOptions {
    /// Keep the record in this PostgreSQL, which any number of servers may share, as postgres://jit@db.example.org/jit?sslmode=verify-full;
    /// without a password: an address that has one is read from a file
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "JIT_SERVER_DATABASE",
        hide_env_values = true
    )]
    pub database: Option<String>,
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
        let read = match (&self.database_file, &self.database) {
            (Some(file), _) => Address::read(file),
            // Parsed only here: an argument that is wrong would be printed, with a password perhaps.
            (None, Some(text)) => text.parse(),
            (None, None) => return Ok(None),
        };
        read.map(Some)
            .map_err(|error| Error::Setup(format!("the database: {error}")))
    }

    /// The same as variables of the environment, for another program or the service.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = self.database.clone();
        let database = text.map(|text| ("JIT_SERVER_DATABASE", text));
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
