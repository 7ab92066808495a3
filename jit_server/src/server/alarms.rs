//! Alarms on their way into the record.

use jit_grant::HostName;

use super::{Server, Writer};
use crate::alarm::Alarm;
use crate::error::Error;
use crate::event::{Actor, Event};

/// Says in the server's own log which alarms are among `events`: also where they can't be recorded then.
pub(super) fn tell(events: &[Event]) {
    for event in events {
        if let Event::Alarm { alarm, .. } = event {
            tracing::warn!("alarm: {alarm}");
        }
    }
}

impl Server {
    /// Records that `host`, or this server where there is none, gave cause for `alarm`. See [`crate::alarm`] for how often.
    ///
    /// # Errors
    /// That it could not be kept.
    pub(super) async fn raise_with(
        &self,
        writer: &mut Writer,
        host: Option<HostName>,
        alarm: Alarm,
    ) -> Result<(), Error> {
        let (now, cause) = (self.now(), alarm.cause());
        let Some(left_out) = writer.bound.another(&host, cause, now) else {
            return Ok(());
        };
        let about = host.as_ref().map_or("this server", HostName::as_str);
        tracing::warn!(left_out, "alarm: {about}: {alarm}");
        let event = Event::Alarm {
            host: host.clone(),
            alarm,
            left_out,
        };
        let kept = self.keep(writer, now, Actor::Server, vec![event]).await;
        if kept.is_err() {
            writer.bound.give_back(&host, cause, left_out);
        }
        kept.map(drop)
    }
}
