//! Logins at which nobody does anything for too long are ended: the grants that hold them open say for how long they may be left alone.
//!
//! A login is looked at now and then for what leaves no time behind, when it would be over if nothing had been done since the last
//! look, and once before that, to tell people.

use std::sync::Arc;

use jiff::Timestamp;
use jit_grant::Code;

use super::end::Why;
use super::held::{Held, Kind};
use super::idle::{Idle, Now, Verdict};
use super::types::SessionId;
use super::{Inner, activity, notice, warn};

impl Inner {
    /// Takes up what the grants say by now. True where that is to be kept.
    pub(super) fn follow_idling(&self, held: &mut Held) -> bool {
        if held.kind != Kind::Login || !held.enforce {
            held.idle = None;
            return false;
        }
        let idling = self.judge.idling(&held.query);
        held.idling_until = idling.until;
        match (&mut held.idle, idling.time) {
            (Some(idle), Some(time)) => idle.allow(time),
            (None, Some(time)) => {
                held.idle = Some(Idle::begin(time, self.clock.boot()));
                true
            }
            (idle, None) => idle.take().is_some(),
        }
    }

    /// Whether it is time to look at it; whoever asks looks then.
    pub(super) fn is_to_look_at(&self, held: &mut Held) -> bool {
        let boot = self.clock.boot();
        let idle = held.idle.as_mut();
        let due = idle.filter(|idle| !idle.being_looked_at && idle.next_look() <= boot);
        due.map(|idle| idle.being_looked_at = true).is_some()
    }

    /// Looks at it, and ends it where nobody did anything for too long.
    pub(super) async fn look_at(self: Arc<Self>, id: SessionId) {
        let Some(held) = self.held(&id) else { return };
        let leader = held.leader;
        let look = tokio::task::spawn_blocking(move || activity::seen(leader));
        let seen = look.await.ok().flatten();
        let now = Now {
            boot: self.clock.boot(),
            wall: self.clock.wall(),
        };
        let verdict = {
            let mut table = self.table();
            let held = table.held.get_mut(&id);
            let Some(held) = held.filter(|held| held.ending.is_none()) else {
                return;
            };
            // What the grants say may have changed meanwhile.
            self.follow_idling(held);
            let verdict = held.idle.as_mut().map(|idle| {
                idle.being_looked_at = false;
                idle.see(seen.as_ref(), now);
                (idle.judge(now.boot), idle.due())
            });
            let _ = self.registry.save(held);
            verdict
        };
        match verdict {
            Some((Verdict::Over, due)) => {
                let why = Why {
                    code: Code::EndIdle,
                    due: self.clock.now() - now.boot.saturating_sub(due),
                };
                Arc::clone(&self).end(&id, why);
            }
            Some((Verdict::Tell(left), _)) => {
                let text = text(&warn::words(left));
                let terminals = seen.map(|seen| seen.terminals).unwrap_or_default();
                // A terminal is not waited for, and neither is whoever writes to it.
                tokio::task::spawn_blocking(move || {
                    for number in terminals.keys() {
                        notice::write(*number, &text);
                    }
                });
            }
            Some((Verdict::Wait, _)) | None => {}
        }
        self.changed.notify_one();
    }

    /// Since when nobody had done anything at what ends because of that.
    pub(super) fn idle_since(&self, held: &Held, code: Code) -> Option<Timestamp> {
        let idle = held.idle.as_ref().filter(|_| code == Code::EndIdle)?;
        Some(self.clock.now() - self.clock.boot().saturating_sub(idle.last()))
    }
}

/// A key counts when a program reads it: a shell that reads whole lines does at Enter, and while a command runs that reads nothing, no
/// key does.
fn text(left: &str) -> String {
    format!(
        "\r\n\u{7}jit: this login ends in {left}, since nobody does anything at it.\r\nTo go on, press Enter at the prompt, or a key in a program that reads it.\r\nWhere a command runs that reads none: Ctrl-Z, then bg and Enter.\r\n"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jit_grant::{IdleTime, Idling, Query};

    use super::super::fixture::{earlier, events, held, kinds, live, restarted, this, unreadable};
    use super::super::types::{Judge, Standing};
    use super::*;

    /// Lets everybody in, who may leave his login alone for so long.
    struct For(Option<u32>);

    impl Judge for For {
        fn standing(&self, query: &Query) -> Standing {
            live().standing(query)
        }

        fn idling(&self, _: &Query) -> Idling {
            Idling {
                time: self.0.map(time),
                until: None,
            }
        }
    }

    fn time(seconds: u32) -> IdleTime {
        seconds.try_into().unwrap()
    }

    /// A login whose sshd has gone, at which nobody has done anything since this machine began.
    fn left_alone() -> Held {
        let mut login = held(Kind::Login, 1, earlier(this()));
        login.scopes = vec![unreadable()];
        login.idle = Some(Idle::begin(time(60), Duration::ZERO));
        login
    }

    #[tokio::test]
    async fn what_was_left_alone_while_jitd_was_away_ends_when_it_is_back_and_the_record_says_since_when()
     {
        let folder = tempfile::tempdir().unwrap();
        let (sessions, record) = restarted(folder.path(), &[left_alone()], For(Some(60))).await;
        let events = events(&record, 1).await;
        assert_eq!(kinds(&events), ["session.ending"]);
        assert_eq!(events[0]["code"], "JIT-306");
        let since: Timestamp = events[0]["idle_since"].as_str().unwrap().parse().unwrap();
        let booted = sessions.0.clock.now() - sessions.0.clock.boot();
        assert!(since.duration_since(booted).abs().as_secs() <= 2, "{since}");
    }

    #[tokio::test]
    async fn nobody_is_ended_whose_grants_say_nothing_of_it_by_now_or_longer_or_who_is_only_watched()
     {
        let hours = u32::try_from(Duration::from_secs(43_200).as_secs()).unwrap();
        let watched = Held {
            enforce: false,
            live: None,
            ..left_alone()
        };
        let just_begun = Held {
            idle: None,
            ..left_alone()
        };
        for (login, says) in [
            (left_alone(), None),
            (just_begun, Some(hours)),
            (watched, Some(60)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (sessions, _record) = restarted(folder.path(), &[login], For(says)).await;
            let looked = Arc::clone(&sessions.0);
            looked.look_at(super::super::fixture::id(1)).await;
            let held = sessions.0.held(&super::super::fixture::id(1)).unwrap();
            assert_eq!(held.ending, None, "{says:?}");
        }
    }

    /// Whoever presses a key at a command that reads none is ended all the same: the notice must not promise otherwise.
    #[test]
    fn what_is_shown_is_printable_ascii_and_says_how_to_go_on() {
        let text = text("1 minute");
        let plain = text.replace("\r\n", "").replace('\u{7}', "");
        let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        assert!(plain.bytes().all(printable), "{plain:?}");
        for said in [
            "ends in 1 minute",
            "Enter at the prompt",
            "in a program that reads it",
            "Ctrl-Z",
        ] {
            assert!(plain.contains(said), "{said}");
        }
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
    }
}
