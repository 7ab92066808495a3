//! The record, as the sender follows it: over the server's socket, as the user that its account is.

use std::time::Duration;

use super::message::Page;
use crate::client::Client;
use crate::error::Error;

/// Where events come from. Tests bring their own.
pub(super) trait Record: Send + Sync {
    /// At most `limit` events after number `after`; waits for so long where there are none yet. All or an error, never a part.
    fn read(
        &self,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> impl Future<Output = Result<Page, Error>> + Send;
}

impl Record for Client {
    async fn read(&self, after: u64, limit: u32, wait: Duration) -> Result<Page, Error> {
        let wait = wait.as_secs();
        let path = format!("/v1/audit?whole=true&after={after}&limit={limit}&wait_seconds={wait}");
        self.get(&path).await
    }
}
