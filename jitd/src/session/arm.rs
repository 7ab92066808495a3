//! The timer in PID 1 that stands behind each end, moved without a moment in which none stands.

use std::time::Duration;

use jiff::Timestamp;

use super::Inner;
use super::held::{Armed, Held};
use super::pid1::{Pid1, Pid1Error};
use super::types::SessionId;
use super::unit::EndTimer;

/// So long after an end is due PID 1 sees to it: a jitd that is alive has told the terminals why by then.
const BEHIND: Duration = Duration::from_millis(250);

/// A timer number that is taken is passed over, this often.
const ATTEMPTS: u32 = 3;

impl Inner {
    /// Makes PID 1's timer what it should be by now: the new one is started, then the old one is stopped.
    pub(super) async fn arm(&self, id: &SessionId) -> Result<(), Pid1Error> {
        let Some(arming) = self.held(id).map(|held| held.arming) else {
            return Ok(());
        };
        let _alone = arming.lock().await;
        let Some((held, wanted)) = self
            .held(id)
            .and_then(|held| Some((held.clone(), held.to_arm()?)))
        else {
            return Ok(());
        };
        if held.armed.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let mut pid1 = Pid1::connect().await?;
        let number = self.start_timer(&mut pid1, &held, &wanted).await?;
        for old in held.timers.iter().filter(|old| **old != number) {
            pid1.stop(&EndTimer::name(id, *old)).await?;
        }
        self.change(id, |held| {
            held.timers = vec![number];
            held.armed = Some(wanted);
        });
        Ok(())
    }

    async fn start_timer(
        &self,
        pid1: &mut Pid1,
        held: &Held,
        wanted: &Armed,
    ) -> Result<u32, Pid1Error> {
        let mut number = held.timers.iter().max().map_or(1, |last| last + 1);
        for _ in 1..ATTEMPTS {
            match self.try_start_timer(pid1, held, wanted, number).await {
                Err(Pid1Error::UnitExists(_)) => number += 1,
                other => return other.map(|()| number),
            }
        }
        self.try_start_timer(pid1, held, wanted, number)
            .await
            .map(|()| number)
    }

    async fn try_start_timer(
        &self,
        pid1: &mut Pid1,
        held: &Held,
        wanted: &Armed,
        number: u32,
    ) -> Result<(), Pid1Error> {
        // Noted first, so that a timer that was started just before jitd died is known and stopped later.
        self.change(&held.id, |held| held.timers.push(number));
        let timer = EndTimer {
            id: &held.id,
            number,
            after: self.clock.until(wanted.until) + BEHIND,
            at: wanted.until.checked_add(BEHIND).unwrap_or(Timestamp::MAX),
            scopes: wanted.scopes.iter().map(String::as_str).collect(),
        };
        pid1.start_end_timer(&timer).await
    }

    /// Takes away the timers behind a session that is over. What fails here fires at its time and finds nothing to end.
    pub(super) async fn disarm(&self, id: &SessionId) {
        if self.held(id).is_none_or(|held| held.timers.is_empty()) {
            return;
        }
        let _turn = self.turns.acquire().await;
        if let Ok(mut pid1) = Pid1::connect().await {
            let _ = self.disarm_by(id, &mut pid1).await;
        }
    }

    pub(super) async fn disarm_by(&self, id: &SessionId, pid1: &mut Pid1) -> Result<(), Pid1Error> {
        let Some(arming) = self.held(id).map(|held| held.arming) else {
            return Ok(());
        };
        let _alone = arming.lock().await;
        for number in self.held(id).map(|held| held.timers).unwrap_or_default() {
            pid1.stop(&EndTimer::name(id, number)).await?;
            self.change(id, |held| held.timers.retain(|timer| *timer != number));
        }
        Ok(())
    }
}
