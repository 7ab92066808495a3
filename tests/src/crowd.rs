//! Several people at once, away from the servers, each with a token: they ask and approve at whichever server answers, and try again until
//! they are answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::host::Host;
use crate::site::find;
use crate::wait::{self, Deadline};

/// Whoever is not answered at all for so long has lost.
const ANSWERED_WITHIN: u64 = 90;

/// People, and where they are.
#[derive(Debug)]
pub struct Crowd<'h> {
    desk: &'h Host,
    urls: Vec<&'static str>,
    authority: &'static str,
    tokens: BTreeMap<&'static str, String>,
    tries: AtomicUsize,
}

/// What somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The request.
    pub request: String,
    /// What came of it.
    pub grant: String,
    /// Where it counts.
    pub host: String,
}

/// Somebody asks, two approve at the same time; all three say why, or are told why.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Who asks.
    pub asker: &'static str,
    /// Who approve, whoever of them is first.
    pub approvers: [&'static str; 2],
    /// For a login on which host.
    pub host: &'a str,
    /// As nobody else says it.
    pub reason: &'a str,
}

impl<'h> Crowd<'h> {
    /// People with a token each, made at `server`, who are at `desk` and trust the authority whose certificate is there in a file.
    ///
    /// # Errors
    /// There is no such user.
    pub fn gather(
        people: &[&'static str],
        server: &Host,
        desk: &'h Host,
        urls: &[&'static str],
        authority: &'static str,
    ) -> Result<Self> {
        let token = |person: &&'static str| -> Result<(&'static str, String)> {
            let make = ["jit-server", "user", "token", person, "--for", "1h"];
            Ok((person, server.command(&make).text()?.trim().to_owned()))
        };
        Ok(Self {
            desk,
            urls: urls.to_vec(),
            authority,
            tokens: people.iter().map(token).collect::<Result<_>>()?,
            tries: AtomicUsize::new(0),
        })
    }

    /// Asks and approves until both are acknowledged.
    ///
    /// # Errors
    /// Nobody answers, or the two who approve are not told the same.
    pub fn acknowledged(&self, ask: Ask<'_>) -> Result<Acknowledged> {
        let request = self.asks(ask)?;
        let told = thread::scope(|scope| {
            let both = ask
                .approvers
                .map(|approver| scope.spawn(|| self.approves(approver, &request)));
            both.map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("panicked"))))
        });
        let [one, other] = told;
        let (one, other) = (one?, other?);
        ensure!(one == other, "{request} was granted as {one} and {other}");
        Ok(Acknowledged {
            request,
            grant: one,
            host: ask.host.to_owned(),
        })
    }

    /// Whoever is not answered looks first what became of it.
    fn asks(&self, ask: Ask<'_>) -> Result<String> {
        let words = ["request", "operator", "--host", ask.host, "--for", "30m"];
        let words = [&words[..], &["--reason", ask.reason]].concat();
        let mut tried = false;
        self.until("a request to be taken", || {
            if tried {
                let mine = self.said(ask.asker, &["list", "requests", "--all"])?;
                let Some(mine) = mine.as_ref().and_then(Value::as_array) else {
                    return Ok(None);
                };
                let found = mine.iter().find(|request| request["reason"] == ask.reason);
                if let Some(id) = found.and_then(|request| request["id"].as_str()) {
                    return Ok(Some(id.to_owned()));
                }
            }
            tried = true;
            let asked = self.said(ask.asker, &words)?;
            Ok(asked.and_then(|asked| asked["id"].as_str().map(str::to_owned)))
        })
    }

    /// Gives the grant, also where somebody else approved first.
    fn approves(&self, approver: &'static str, request: &str) -> Result<String> {
        self.until("an approval to be taken", || {
            let approved = self.said(approver, &["approve", request])?;
            let shown = match approved {
                Some(approved) if find(&approved, "grants").is_some() => Some(approved),
                _ => self.said(approver, &["show", request])?,
            };
            let grants = shown.as_ref().and_then(|shown| find(shown, "grants"));
            let grants = grants
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            ensure!(grants.len() < 2, "{request} was granted twice: {grants:?}");
            let grant = grants.first().and_then(Value::as_str);
            Ok(grant.map(str::to_owned))
        })
    }

    fn until<T>(&self, what: &str, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        wait::eventually(what, Deadline::seconds(ANSWERED_WITHIN), ask)
    }

    /// What jitctl prints, at the next server; nothing where it prints no JSON.
    fn said(&self, person: &'static str, words: &[&str]) -> Result<Option<Value>> {
        let number = self.tries.fetch_add(1, Ordering::Relaxed);
        let url = self.urls[number % self.urls.len()];
        let token = self.tokens.get(person).context("nobody of that name")?;
        let command = self.desk.command(&["jitctl", "--json"]);
        let outcome = command
            .words(words.iter().copied())
            .environment("JIT_SERVER", url)
            .environment("JIT_TOKEN", token)
            .environment("JIT_CA", self.authority)
            .run()?;
        Ok(serde_json::from_str(&outcome.stdout).ok())
    }
}
