//! Promises that hosts of both releases must keep: a group shares one host a release, the releases run side by side.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::image::Release;

/// What promises are tried on.
pub trait Stage {
    /// What the stage itself says of the last minute, for whoever has to find out why a promise was broken.
    fn last_words(&self) -> String;
}

/// A promise by name, and the trial that tries to break it.
pub type Promise<S> = (&'static str, fn(&S) -> Result<()>);

/// Lists promises with the names of the functions that try them.
#[macro_export]
macro_rules! promises {
    ($($function:ident),* $(,)?) => { &[$((stringify!($function), $function)),*] };
}

/// What the command line asks for: promises whose name has any of these in it, on these releases.
pub(crate) struct Wanted {
    pub(crate) words: Vec<String>,
    pub(crate) releases: Vec<Release>,
    pub(crate) list: bool,
}

impl Wanted {
    /// Reads what cargo test passes on. `bookworm` and `trixie` choose a release; flags of the usual test harness mean nothing here.
    pub(crate) fn read() -> Self {
        let (flags, words): (Vec<_>, Vec<_>) = std::env::args()
            .skip(1)
            .partition(|word| word.starts_with("--"));
        let (releases, words): (Vec<_>, Vec<_>) = words
            .into_iter()
            .partition(|word| Release::ALL.iter().any(|r| r.name() == word));
        let chosen = |release: &Release| {
            releases.is_empty() || releases.iter().any(|name| name == release.name())
        };
        Self {
            words,
            releases: Release::ALL.into_iter().filter(chosen).collect(),
            list: flags.iter().any(|flag| flag == "--list"),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word))
    }
}

/// Sets the stage once a release, then tries every promise on it, one after the other; the releases at the same time.
pub fn keep<S: Stage>(
    group: &str,
    stage: fn(Release) -> Result<S>,
    promises: &[Promise<S>],
) -> ExitCode {
    keep_with(group, stage, |_| Ok(()), promises)
}

/// As [`keep`], with `calm` run before every promise to undo what the one before left.
pub fn keep_with<S: Stage>(
    group: &str,
    stage: fn(Release) -> Result<S>,
    calm: fn(&S) -> Result<()>,
    promises: &[Promise<S>],
) -> ExitCode {
    let wanted = Wanted::read();
    let promises: Vec<_> = promises
        .iter()
        .filter(|(name, _)| wanted.has(name))
        .collect();
    if wanted.list {
        promises
            .iter()
            .for_each(|(name, _)| say(&format!("{name}: test")));
        return ExitCode::SUCCESS;
    }
    if promises.is_empty() {
        return ExitCode::SUCCESS;
    }
    let tried = promises.len() * wanted.releases.len();
    let broken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for release in wanted.releases {
            let (promises, broken) = (&promises, &broken);
            scope.spawn(move || {
                let failures = on_release(group, release, stage, calm, promises);
                broken
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .extend(failures);
            });
        }
    });
    let broken = broken
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for (name, why) in &broken {
        say(&format!("\n---- {name}\n{why}"));
    }
    say(&format!(
        "\n{group}: {} passed, {} failed",
        tried - broken.len(),
        broken.len()
    ));
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn on_release<S: Stage>(
    group: &str,
    release: Release,
    stage: fn(Release) -> Result<S>,
    calm: fn(&S) -> Result<()>,
    promises: &[&Promise<S>],
) -> Vec<(String, String)> {
    let name = |promise: &str| format!("{group}::{promise} ({})", release.name());
    let began = Instant::now();
    let stage = match guarded(|| stage(release)) {
        Ok(stage) => stage,
        // Without a stage none of them was seen to hold.
        Err(error) => {
            let why = format!("the stage: {error:#}");
            let failed = |(promise, _): &&Promise<S>| (name(promise), why.clone());
            return promises.iter().map(failed).collect();
        }
    };
    say(&format!("{} {:.1?}", name("the stage"), began.elapsed()));
    let mut broken = Vec::new();
    for (promise, trial) in promises {
        let began = Instant::now();
        let kept = guarded(|| {
            calm(&stage)
                .map_err(|e| e.context("calming down after the promise before"))
                .and_then(|()| trial(&stage))
        });
        say(&format!(
            "{} … {} {:.1?}",
            name(promise),
            if kept.is_ok() { "kept" } else { "BROKEN" },
            began.elapsed()
        ));
        if let Err(error) = kept {
            broken.push((name(promise), format!("{error:#}\n{}", stage.last_words())));
        }
    }
    broken
}

/// A panic in a trial is that trial's failure, and the hosts are still taken down.
pub(crate) fn guarded<T>(trial: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(trial)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(anyhow!("panicked: {}", text.unwrap_or_default()))
    })
}

pub(crate) fn say(line: &str) {
    // Nobody listening is no reason to fail.
    writeln!(io::stdout(), "{line}").ok();
}
