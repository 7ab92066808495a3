//! What a registry file that can't be read told of. Nothing says any more until when it may live, so it ends now, as far as PID 1
//! knows of it: by the timer that was armed for it, and by the names of scopes that jitd makes.

use std::sync::Arc;

use serde::Serialize;

use super::Inner;
use super::held::Kind;
use super::pid1::{Pid1, Pid1Error};
use super::registry::Broken;
use super::types::SessionId;
use super::unit::{EndTimer, OwnScope};

impl Inner {
    pub(super) async fn salvage(self: Arc<Self>, all: Vec<Broken>) {
        for broken in all {
            let ended = match &broken.id {
                Some(id) => end(id).await,
                None => Ok(Vec::new()),
            };
            // The timers stand where it could not be done.
            let (ended, problem) = match ended {
                Ok(ended) => (ended, None),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            self.note_broken(&broken, ended, problem);
        }
    }

    fn note_broken(&self, broken: &Broken, ended: Vec<String>, problem: Option<String>) {
        #[derive(Serialize)]
        struct Note<'a> {
            file: &'a str,
            why: &'a str,
            ended: Vec<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            problem: Option<String>,
        }
        tracing::error!(
            file = broken.name,
            why = broken.why,
            "a registry file could not be read and is set aside; what it told of is ended"
        );
        let note = Note {
            file: &broken.name,
            why: &broken.why,
            ended,
            problem,
        };
        if let Err(error) = self.record.write("registry.broken", note) {
            tracing::error!(%error, "a broken registry file goes unrecorded");
        }
    }
}

/// Ends what PID 1 has of `id`. Returns the units that were started or stopped for that.
async fn end(id: &SessionId) -> Result<Vec<String>, Pid1Error> {
    let mut pid1 = Pid1::connect().await?;
    let mut done = Vec::new();
    for timer in pid1.units_like(&EndTimer::names(id)).await? {
        let service = EndTimer::service_of(&timer);
        pid1.run(&service).await?;
        pid1.stop(&timer).await?;
        done.push(service);
    }
    for name in [Kind::Elevation, Kind::Job].map(|kind| OwnScope::name(kind, id)) {
        if pid1.unit(&name).await?.is_some() {
            pid1.stop(&name).await?;
            done.push(name);
        }
    }
    Ok(done)
}
