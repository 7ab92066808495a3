//! `jit-server copy`.

use std::fs::DirBuilder;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Uid, User, geteuid};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::say;
use crate::cli::{CopyOptions, DatabaseOptions};
use crate::copy::Copying;
use crate::error::Error;
use crate::mark::Mark;
use crate::serve::{only_for_ourselves, tell_systemd};
use crate::store::{Id, Store};

/// So often it looks whether there is more.
const LOOK: Duration = Duration::from_secs(1);
/// So often somebody at a terminal hears how far it is.
const TELL: Duration = Duration::from_secs(2);

/// Copies the record, and goes on with that until it is told to stop where `--follow` says so.
///
/// # Errors
/// Those of either database.
pub async fn copy(options: CopyOptions, out: &mut impl Write) -> Result<(), Error> {
    only_for_ourselves();
    let (record, in_use) = record(&options).await?;
    let copy = match &options.to {
        Some(folder) => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(Error::io(format!("making {}", folder.display())))?;
            DatabaseOptions::default().open(folder).await?
        }
        None => options.to_database().open(&options.state).await?,
    };
    let copied = follow(&*record, &in_use, &*copy, options.follow, out).await;
    record.close().await;
    copy.close().await;
    copied
}

async fn record(options: &CopyOptions) -> Result<(Box<dyn Store>, InUse), Error> {
    if options.database.address()?.is_none() {
        let file = options.state.join("jit-server.db");
        owned_by_us(&file)?;
        let itself = |to: &Path| to.canonicalize().ok() == options.state.canonicalize().ok();
        if options.to.as_deref().is_some_and(itself) {
            return Err(Error::Setup(format!(
                "{} is the record itself",
                file.display()
            )));
        }
    }
    let record = options.database.open(&options.state).await?;
    let in_use = match record.is_shared() {
        true => InUse::Shared,
        false => InUse::of(options, &*record).await?,
    };
    Ok((record, in_use))
}

/// Whether the server goes by the record that is copied. A file that it goes by no more gets nothing new, and who copies it would believe
/// that he has a copy that goes along.
#[derive(Debug)]
enum InUse {
    /// Whoever goes by it is not of this machine alone.
    Shared,
    /// Where the server of this machine writes down of which database it is.
    Here {
        state: PathBuf,
        mark: PathBuf,
        ours: Id,
    },
}

impl InUse {
    async fn of(options: &CopyOptions, record: &dyn Store) -> Result<Self, Error> {
        let state = options.state.canonicalize();
        let state = state.map_err(Error::io(format!("finding {}", options.state.display())))?;
        let mark = match &options.mark {
            Some(mark) => mark.clone(),
            None => Mark::beside(&state)?,
        };
        let ours = record.identity().await?;
        Ok(Self::Here { state, mark, ours })
    }

    fn check(&self) -> Result<(), Error> {
        let Self::Here { state, mark, ours } = self else {
            return Ok(());
        };
        let known = Mark::look(mark)?;
        // One that was made of this one is called the same; its writes have ids, and those here have none.
        let elsewhere = known.is_some_and(|known| {
            known.place.write.is_some() || known.database.is_some_and(|of| of != *ours)
        });
        if elsewhere {
            return Err(Error::Setup(format!(
                "the server in {} goes by another database than the jit-server.db there: name it with --database-file, or use its own ways (docs/database.md)",
                state.display()
            )));
        }
        Ok(())
    }
}

/// SQLite makes files beside the database, and the server must be able to use them.
fn owned_by_us(file: &Path) -> Result<(), Error> {
    let shown = file.display();
    let found = file
        .metadata()
        .map_err(Error::io(format!("looking for the record, {shown}")))?;
    if found.uid() == geteuid().as_raw() {
        return Ok(());
    }
    let user = User::from_uid(Uid::from_raw(found.uid())).ok().flatten();
    let name = user.map_or_else(|| found.uid().to_string(), |user| user.name);
    Err(Error::Setup(format!(
        "{shown} belongs to {name}; run this as that user: runuser -u {name} -- jit-server copy …"
    )))
}

async fn follow(
    record: &dyn Store,
    in_use: &InUse,
    copy: &dyn Store,
    on: bool,
    out: &mut impl Write,
) -> Result<(), Error> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Error::io("waiting for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("waiting for SIGINT"))?;
    in_use.check()?;
    let mut copying = Copying::begin(record, copy).await?;
    let mut told = Instant::now();
    loop {
        while copying.some().await? {
            if told.elapsed() >= TELL && std::io::stderr().is_terminal() {
                tracing::info!("copied to event {}", copying.come_to());
                told = Instant::now();
            }
        }
        if !on {
            let text = format!("The copy has come to event {}.\n", copying.come_to());
            return say(out, &text);
        }
        tell_systemd(&[
            NotifyState::Ready,
            NotifyState::Status(&format!("come to event {}", copying.come_to())),
        ]);
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = record.told() => {}
            () = sleep(LOOK) => {}
        }
        in_use.check()?;
    }
}
