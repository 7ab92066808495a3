//! Where the database is. A password comes in a file, never as an argument, which everybody on the machine can read.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

const MAX_BYTES: u64 = 4096;

/// `postgres://USER@HOST/NAME`, checked.
#[derive(Clone)]
pub struct Address {
    options: PgConnectOptions,
}

/// A text is no address of a database that may be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of this form.
    #[error(
        "is no address of a database: it begins with postgres://, as postgres://jit@db.example.org/jit?sslmode=verify-full"
    )]
    Form,
    /// What the driver says of it.
    #[error("is no address of a database: {0}")]
    Wrong(String),
    /// Whom the database is to take the server for.
    #[error(
        "names no user; put it in, as postgres://jit@db.example.org/jit or postgres:///jit?user=jit-server&host=/run/postgresql"
    )]
    Nobody,
    /// It has a password.
    #[error(
        "has a password, which everybody on this machine can read in a list of processes; put the address into a file and give --database-file"
    )]
    Password,
    /// Anybody between could be the database.
    #[error(
        "is on another machine, so that it needs sslmode=verify-full, and sslrootcert=FILE with the authority that vouches for it (those of the system are in /etc/ssl/certs/ca-certificates.crt)"
    )]
    Unverified,
    /// The file.
    #[error("{0}")]
    File(String),
}

impl Address {
    /// Reads the address in `path`, with a password or without.
    ///
    /// # Errors
    /// Where it is none, or everybody can read the file or change it.
    pub fn read(path: &Path) -> Result<Self, AddressError> {
        let wrong =
            |why: &dyn fmt::Display| AddressError::File(format!("{}: {why}", path.display()));
        let file = File::open(path).map_err(|error| wrong(&error))?;
        let metadata = file.metadata().map_err(|error| wrong(&error))?;
        if !metadata.is_file() {
            return Err(wrong(&"is not a regular file"));
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o027 != 0 {
            return Err(wrong(&format_args!(
                "has mode {mode:04o}, so others may read the password or change it; make it 0640 or less"
            )));
        }
        let mut text = String::new();
        file.take(MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| wrong(&error))?;
        Self::parse(text.trim()).map_err(|error| wrong(&error))
    }

    /// Whether a network is needed to reach it.
    #[must_use]
    pub fn needs_network(&self) -> bool {
        !is_socket(&self.options)
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    fn parse(text: &str) -> Result<Self, AddressError> {
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            return Err(AddressError::Form);
        }
        // The driver would not take the account's name, as other programs of PostgreSQL's do, but one that it makes up.
        if user(text).is_empty() && !text.contains("user=") {
            return Err(AddressError::Nobody);
        }
        let options: PgConnectOptions = text
            .parse()
            .map_err(|error: sqlx::Error| AddressError::Wrong(error.to_string()))?;
        let here = ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&options.get_host());
        if !is_socket(&options) && !here && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull)
        {
            return Err(AddressError::Unverified);
        }
        Ok(Self {
            // The driver would say at the beginning how many digits it wants of numbers that are not here, and poolers know that for no setting.
            options: options
                .application_name("jit-server")
                .extra_float_digits(None),
        })
    }
}

/// What is before the host: a user, perhaps with his password.
fn user(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or("", |(user, _)| user)
}

fn is_socket(options: &PgConnectOptions) -> bool {
    options.get_socket().is_some() || options.get_host().starts_with('/')
}

impl FromStr for Address {
    type Err = AddressError;

    /// One that may be an argument: without a password.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if user(text).contains(':') || text.contains("password=") {
            return Err(AddressError::Password);
        }
        Self::parse(text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.options.get_database().unwrap_or_default();
        let socket = self.options.get_socket();
        let place = socket.map_or_else(
            || self.options.get_host().to_owned(),
            |socket| socket.display().to_string(),
        );
        write!(f, "database {name} at {place}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_an_argument() {
        for with in [
            "postgres://jit:secret@db.example.org/jit?sslmode=verify-full",
            "postgres:///jit?host=/run/postgresql&password=secret",
        ] {
            let refused = with.parse::<Address>().unwrap_err();
            assert_eq!(refused, AddressError::Password, "{with}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database");
        std::fs::write(&path, "postgres://jit:secret@localhost/jit\n").unwrap();
        for mode in [0o644, 0o660, 0o604] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert!(matches!(Address::read(&path), Err(AddressError::File(_))));
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let read = Address::read(&path).unwrap();
        assert!(!format!("{read} {read:?}").contains("secret"));
    }

    #[test]
    fn an_address_says_who_the_server_is_and_a_database_elsewhere_shows_who_it_is() {
        let address = |text: &str| text.parse::<Address>().map(drop);
        for weak in [
            "",
            "?sslmode=require",
            "?sslmode=disable",
            "?sslmode=verify-ca",
        ] {
            assert_eq!(
                address(&format!("postgres://jit@db.example.org/jit{weak}")),
                Err(AddressError::Unverified)
            );
        }
        address("postgres://jit@db.example.org/jit?sslmode=verify-full").unwrap();
        address("postgres:///jit?user=jit-server&host=/run/postgresql").unwrap();
        for nobody in [
            "postgres:///jit?host=/run/postgresql",
            "postgres://localhost/jit",
        ] {
            assert_eq!(address(nobody), Err(AddressError::Nobody));
        }
        assert_eq!(address("mysql://db/jit"), Err(AddressError::Form));
        assert_eq!(address(""), Err(AddressError::Form));
    }
}
