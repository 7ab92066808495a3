//! The database of a server that is being made.

use std::path::{Path, PathBuf};

use super::Layout;
use crate::cli::DatabaseOptions;
use crate::error::Error;
use crate::event::Event;
use crate::mark::Mark;
use crate::server::check_key;
use crate::signer;
use crate::store::Store;

/// The service has no network of its own, but a database elsewhere has to be reached. Whoever knows its addresses sets IPAddressDeny=any
/// again, and IPAddressAllow= to them.
const REACHING_A_DATABASE: &str =
    "RestrictAddressFamilies=AF_INET AF_INET6\nPrivateNetwork=no\nIPAddressDeny=\n";

/// Makes the key, or takes the one that is there. Where several servers share the database, all of them sign with the key that it
/// began with or was led to, and each needs a mark of its own: whoever runs this says that the database is no older copy.
///
/// # Errors
/// Where a record that has begun lacks its key, unless `new_key` says that it is lost; and those of disk and database.
pub(super) async fn join(state: &Path, store: &dyn Store, new_key: bool) -> Result<(), Error> {
    let path = state.join("signing.key");
    // Before the record is read: a server that runs here raises its mark meanwhile.
    let folder = Mark::beside(state)?;
    let found = if store.is_shared() {
        Some(Mark::open(&folder)?)
    } else {
        None
    };
    let loaded = store.load().await?;
    let begun = loaded.place.last_seq > 0;
    if begun && path.symlink_metadata().is_err() {
        may_make_a_key(&path, store, new_key)?;
    }
    signer::make(&path)?;
    let signer = signer::load(&path)?;
    if let Some(mark) = found {
        let database = store.identity().await?;
        let mut rotations = loaded.entries.iter().rev();
        let newest = rotations.find_map(|entry| match &entry.event {
            Event::KeyRotated(rotated) => Some(rotated.next),
            _ => None,
        });
        check_key(&signer, store, newest).await?;
        let (known, found) = (mark.found(), loaded.place.last_seq);
        let further = known.filter(|known| known.place.last_seq > found);
        let is_of_this = known.is_some_and(|known| known.database == Some(database));
        // Nor is one of its name that went another way since, such as through a SQLite record.
        let went_on = match known.filter(|_| is_of_this && further.is_none()) {
            Some(known) => store.was_at(known.place).await?,
            None => is_of_this,
        };
        if went_on {
            // The mark stays as it is, so that the server sees to an older copy when it starts.
            if further.is_some() {
                tracing::warn!(
                    "this database is an older copy: the server will end all grants and tokens when it starts"
                );
            }
            return Ok(());
        }
        // A mark of a version before doesn't say of which database it is. An empty one has nothing in it that was taken away since.
        let not_this = if is_of_this { known } else { further };
        if let Some(known) = not_this.filter(|known| begun || known.database.is_none()) {
            return Err(Error::Setup(format!(
                "this machine's server knew a record that had come to event {}, and this database has come to event {found}: it is an older \
                 copy, or another record. To go on with it, remove {} and run this again; where it may be an older copy, run \
                 `jit-server restored --declare` at once after that",
                known.place.last_seq,
                folder.display()
            )));
        }
        if begun || known.is_some() {
            mark.begin(database, loaded.place)?;
        }
    }
    Ok(())
}

/// A record that has begun has a key, which hosts believe: another one in its place, made without a word, would shut all of them out.
fn may_make_a_key(path: &Path, store: &dyn Store, new_key: bool) -> Result<(), Error> {
    let (shown, user) = (path.display(), Layout::USER);
    if store.is_shared() {
        return Err(Error::Setup(format!(
            "this database has a record already, and its servers sign with one key: copy {shown} from one of them, or from a backup, to \
             this machine, owned by {user} and with mode 0600, and run this again"
        )));
    }
    if new_key {
        return Ok(());
    }
    Err(Error::Setup(format!(
        "the record in {} has begun, and its key {shown} is not there: put it back from a backup, with the folder tls beside it, owned by \
         {user} and with mode 0600, and run this again; where it is lost for good, --new-key makes another, and every host must enrol again",
        path.parent().unwrap_or(path).display()
    )))
}

/// The database that the service uses by its settings, where they name one: who runs `init` again need not name it again.
///
/// # Errors
/// Where they can't be read, or name one in another way than `init` writes it.
pub(super) fn of_service(settings: &Path) -> Result<Option<DatabaseOptions>, Error> {
    let shown = settings.display();
    let text = match std::fs::read_to_string(settings) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::io(format!("reading {shown}")))?,
    };
    let mut found = DatabaseOptions {
        database: None,
        database_file: None,
    };
    for line in text.lines().map(str::trim) {
        let set = line.strip_prefix("Environment=\"").and_then(|set| {
            let (variable, value) = set.strip_suffix('"')?.split_once('=')?;
            Some((variable, unquoted(value)?))
        });
        match set {
            Some(("JIT_SERVER_DATABASE", address)) => found.database = Some(address),
            Some(("JIT_SERVER_DATABASE_FILE", file)) => {
                found.database_file = Some(PathBuf::from(file));
            }
            _ if line.contains("JIT_SERVER_DATABASE") && !line.starts_with(['#', ';']) => {
                return Err(Error::Setup(format!(
                    "{shown} says which database this server uses, and not as init writes it: name it with --database or --database-file"
                )));
            }
            _ => {}
        }
    }
    let named = found.database.is_some() || found.database_file.is_some();
    Ok(named.then_some(found))
}

/// A value between quotes as systemd reads it: it takes % for its own, and a quote or a backslash for more than itself.
fn quoted(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('%', "%%")
}

/// What [`quoted`] made this text of. None: it is of another's making.
fn unquoted(quoted_text: &str) -> Option<String> {
    let text = quoted_text.replace("%%", "%");
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        value.push(match character {
            '\\' => characters.next()?,
            other => other,
        });
    }
    (quoted(&value) == quoted_text).then_some(value)
}

/// Settings by which the service uses the database that was given, and reaches it.
pub(super) fn service_settings(options: &DatabaseOptions, needs_network: bool) -> String {
    let set = options
        .environment()
        .into_iter()
        .map(|(variable, value)| format!("Environment=\"{variable}={}\"\n", quoted(&value)));
    let reaching = if needs_network {
        REACHING_A_DATABASE
    } else {
        ""
    };
    format!("[Service]\n{}{reaching}", set.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_gets_the_address_as_it_was_given_and_a_network_where_it_needs_one() {
        let options = |database: &str| DatabaseOptions {
            database: Some(database.to_owned()),
            database_file: None,
        };
        let here = "postgres:///jit?host=%2Frun%2Fpostgresql";
        let settings = service_settings(&options(here), false);
        assert_eq!(
            settings,
            "[Service]\nEnvironment=\"JIT_SERVER_DATABASE=postgres:///jit?host=%%2Frun%%2Fpostgresql\"\n"
        );
        let elsewhere = service_settings(&options(r#"a"b\c"#), true);
        assert!(elsewhere.contains(r#"=a\"b\\c""#), "{elsewhere}");
        assert!(elsewhere.ends_with("IPAddressDeny=\n"));
    }

    #[test]
    fn init_again_without_a_word_on_the_database_goes_on_with_the_one_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database.conf");
        let in_use = || of_service(&path);
        assert!(in_use().unwrap().is_none(), "a new server");
        let at = |database: &str| DatabaseOptions {
            database: Some(database.to_owned()),
            database_file: None,
        };
        let in_file = DatabaseOptions {
            database: None,
            database_file: Some(PathBuf::from("/etc/jit-server/data\"base")),
        };
        for options in [
            at("postgres:///jit?host=%2Frun%2Fpostgresql"),
            at(r#"a"b\c%%25"#),
            in_file,
        ] {
            std::fs::write(&path, service_settings(&options, true)).unwrap();
            let found = in_use().unwrap().unwrap();
            assert_eq!(found.environment(), options.environment());
        }
        std::fs::write(&path, "[Service]\nEnvironment=OTHER=1\n").unwrap();
        assert!(in_use().unwrap().is_none());
        for other in [
            "Environment=\"JIT_SERVER_DATABASE_FILE=%d/database\"",
            "Environment=JIT_SERVER_DATABASE=postgres:///jit",
        ] {
            std::fs::write(&path, format!("[Service]\n{other}\n")).unwrap();
            let refused = in_use().unwrap_err().to_string();
            assert!(refused.contains("--database-file"), "{refused}");
        }
    }
}
