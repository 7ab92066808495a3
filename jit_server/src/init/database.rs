//! The database of a server that is being made.

use std::path::Path;

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
pub(super) async fn join(state: &Path, store: &dyn Store) -> Result<(), Error> {
    let path = state.join("signing.key");
    let loaded = store.load().await?;
    let begun = loaded.place.last_seq > 0;
    if store.is_shared() && begun && !path.exists() {
        return Err(Error::Setup(format!(
            "this database has a record already, and its servers sign with one key: copy {} from one of them to this machine, owned by \
             {} and with mode 0600, and run this again",
            path.display(),
            Layout::USER
        )));
    }
    signer::make(&path)?;
    let signer = signer::load(&path)?;
    if store.is_shared() {
        let mut rotations = loaded.entries.iter().rev();
        let newest = rotations.find_map(|entry| match &entry.event {
            Event::KeyRotated(rotated) => Some(rotated.next),
            _ => None,
        });
        check_key(&signer, store, newest).await?;
        let folder = Mark::beside(state)?;
        let mark = Mark::open(&folder)?;
        if mark
            .found()
            .is_some_and(|mark| mark > loaded.place.last_seq)
        {
            return Err(Error::Setup(format!(
                "this machine's server knew a record that had come further than this database: it is an older copy, or another one. Of an \
                 older copy the server sees to that when it starts; to go on with another one, remove {}",
                folder.display()
            )));
        }
        if begun && mark.found().is_none() {
            mark.begin(loaded.place.last_seq)?;
        }
    }
    Ok(())
}

/// Settings by which the service uses the database that was given, and reaches it.
pub(super) fn service_settings(options: &DatabaseOptions, needs_network: bool) -> String {
    let set = options.environment().into_iter().map(|(variable, value)| {
        // systemd takes % for its own, and a quote or a backslash for more than itself.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("Environment=\"{variable}={}\"\n", value.replace('%', "%%"))
    });
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
}
