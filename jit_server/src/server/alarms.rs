//! Alarms on their way into the record.

use std::sync::Arc;

use jit_grant::HostName;

use super::{Server, Writer};
use crate::alarm::Alarm;
use crate::error::Error;
use crate::event::{Actor, Event};

impl Server {
    /// Records that `host`, or this server where there is none, gave cause for `alarm`. See [`crate::alarm`] for how often.
    ///
    /// # Errors
    /// That it could not be kept.
    pub async fn raise(
        self: &Arc<Self>,
        host: Option<HostName>,
        alarm: Alarm,
    ) -> Result<(), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.raise_with(&mut writer, host, alarm).await
        })
        .await
    }

    /// The same, for whoever is the writer already.
    pub(super) async fn raise_with(
        &self,
        writer: &mut Writer,
        host: Option<HostName>,
        alarm: Alarm,
    ) -> Result<(), Error> {
        let now = self.now();
        let Some(left_out) = writer.alarms.another(host.as_ref(), &alarm, now) else {
            return Ok(());
        };
        let about = host.as_ref().map_or("this server", HostName::as_str);
        tracing::warn!(left_out, "alarm: {about}: {alarm}");
        let event = Event::Alarm {
            host,
            alarm,
            left_out,
        };
        self.keep(writer, now, Actor::Server, vec![event])
            .await
            .map(drop)
    }
}
