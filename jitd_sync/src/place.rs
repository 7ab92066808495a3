//! Where the server is, as jitd says: a socket on this machine, or some URLs and the certificates that theirs must come from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jit_local::message::sync::Hello;
use reqwest::{Certificate, Client, ClientBuilder, Url};

use crate::error::SyncError;

/// TCP, the way through a proxy and TLS together.
const CONNECT_TIME: Duration = Duration::from_secs(15);

/// What was sent and is not confirmed for so long was lost with the link, a first packet too. A cut that heals is found within about
/// a second so, however long it was.
const UNCONFIRMED: Duration = Duration::from_millis(1500);

/// The kernel asks after a silent server so often: a stream says nothing for long, and a link that is gone shows in nothing else.
const STILL_THERE: Duration = Duration::from_secs(2);

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    addresses: Vec<String>,
    ca: Option<String>,
}

impl From<&Hello> for Place {
    fn from(hello: &Hello) -> Self {
        let first = std::iter::once(&hello.server);
        Self {
            addresses: first.chain(&hello.more_servers).cloned().collect(),
            ca: hello.ca.clone(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.addresses.join(", "))
    }
}

impl Place {
    /// A client for it, and the URLs that calls begin with, at least one.
    pub(crate) fn reach(&self) -> Result<(ClientBuilder, Vec<String>), SyncError> {
        if let [address] = self.addresses.as_slice()
            && let Some(path) = socket(address)
        {
            let client = Client::builder()
                .unix_socket(path)
                .tls_certs_only([])
                .no_proxy()
                .connect_timeout(CONNECT_TIME);
            return Ok((client, vec!["http://jit-server".to_owned()]));
        }
        let bases: Result<Vec<_>, _> = self.addresses.iter().map(|one| base(one)).collect();
        Ok((self.over_tls()?, bases?))
    }

    /// Servers elsewhere.
    #[cfg(test)]
    pub(crate) fn elsewhere(addresses: &[String], ca: &str) -> Self {
        Self {
            addresses: addresses.to_vec(),
            ca: Some(ca.to_owned()),
        }
    }

    /// Proxies come from the environment of this process, which is its unit's.
    fn over_tls(&self) -> Result<ClientBuilder, SyncError> {
        let pem = self.ca.as_deref().unwrap_or_default();
        let pinned = Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
        if pinned.is_empty() {
            return Err(SyncError::NothingPinned);
        }
        Ok(Client::builder()
            .https_only(true)
            .tls_certs_only(pinned)
            .connect_timeout(CONNECT_TIME)
            .tcp_keepalive(STILL_THERE)
            .tcp_keepalive_interval(STILL_THERE / 2)
            .tcp_user_timeout(UNCONFIRMED))
    }
}

fn socket(address: &str) -> Option<PathBuf> {
    let path = address.strip_prefix("unix:").map(Path::new);
    path.filter(|path| path.is_absolute())
        .map(Path::to_path_buf)
}

/// `https://HOST[:PORT]`, with nothing else in it.
fn base(address: &str) -> Result<String, SyncError> {
    let wrong = || SyncError::Address(address.to_owned());
    let url: Url = address.parse().map_err(|_| wrong())?;
    let plain = url.scheme() == "https"
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let base = plain.then(|| url.as_str().trim_end_matches('/').to_owned());
    base.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    fn bases(addresses: &[&str], ca: Option<&str>) -> Result<Vec<String>, SyncError> {
        let place = Place {
            addresses: addresses.iter().map(|&one| one.to_owned()).collect(),
            ca: ca.map(str::to_owned),
        };
        place.reach().map(|(_, bases)| bases)
    }

    #[test]
    fn a_server_is_an_absolute_socket_or_some_https_urls() {
        assert!(bases(&["unix:/run/jit-server/api.sock"], None).is_ok());
        let urls = ["https://jit.example:7443", "https://10.0.0.1/"];
        assert_eq!(
            bases(&urls, Some(CA)).unwrap(),
            ["https://jit.example:7443", "https://10.0.0.1"]
        );
        for wrong in [
            "",
            "unix:",
            "unix:api.sock",
            "/run/api.sock",
            "http://localhost",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://user@a",
            "https://:password@a",
        ] {
            assert!(
                matches!(bases(&[wrong], Some(CA)), Err(SyncError::Address(_))),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_server_elsewhere_needs_something_pinned() {
        for ca in [None, Some(""), Some("rubbish")] {
            assert!(
                matches!(
                    bases(&["https://jit.example"], ca),
                    Err(SyncError::NothingPinned)
                ),
                "{ca:?}"
            );
        }
    }
}
