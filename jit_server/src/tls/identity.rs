//! The certificate that the server shows now.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::authority::{Authority, Issued, parse};
use crate::error::Error;
use crate::signer::read_private;

/// A certificate of our own authority is renewed after so long, a third of its time.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);
const MAX_CHAIN: u64 = 256 * 1024;

/// A certificate and key that somebody else makes and renews, in PEM.
#[derive(Debug, Clone)]
pub struct Given {
    /// The certificate, and those between it and what hosts pin.
    pub certificate: PathBuf,
    /// Its key, which nobody else may read.
    pub key: PathBuf,
}

/// What the server shows to whoever connects.
pub struct Identity {
    source: Source,
    shown: RwLock<Shown>,
}

enum Source {
    Ours(Box<Authority>),
    Given(Given),
}

/// The certificate and what tells that there should be another.
struct Shown {
    certificate: Arc<CertifiedKey>,
    age: Age,
}

#[derive(Debug, PartialEq, Eq)]
enum Age {
    IssuedAt(Timestamp),
    /// When the files were last written.
    Written([Option<SystemTime>; 2]),
}

impl Identity {
    /// With certificates of our own authority.
    ///
    /// # Errors
    /// Where none can be made.
    pub fn ours(authority: Authority, now: Timestamp) -> Result<Self, Error> {
        Self::new(Source::Ours(Box::new(authority)), now)
    }

    /// With a certificate that is given and renewed by somebody else.
    ///
    /// # Errors
    /// Where it can't be read or used.
    pub fn given(given: Given, now: Timestamp) -> Result<Self, Error> {
        Self::new(Source::Given(given), now)
    }

    fn new(source: Source, now: Timestamp) -> Result<Self, Error> {
        let shown = RwLock::new(source.show(now)?);
        Ok(Self { source, shown })
    }

    /// Shows another certificate where it is time for one. Connections that are open are not touched.
    ///
    /// # Errors
    /// Where there should be another and it can't be had; the one before is shown on.
    pub fn renew(&self, now: Timestamp) -> Result<(), Error> {
        let due = match (
            &self.source,
            &self
                .shown
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .age,
        ) {
            // A clock that was set back shows in a certificate from the future.
            (Source::Ours(_), Age::IssuedAt(at)) => now >= *at + RENEWED_AFTER || now < *at,
            (Source::Given(given), age) => given.age() != *age,
            (Source::Ours(_), Age::Written(_)) => true,
        };
        if due {
            let shown = self.source.show(now)?;
            *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
            tracing::info!("another TLS certificate is shown from now on");
        }
        Ok(())
    }
}

impl Source {
    fn show(&self, now: Timestamp) -> Result<Shown, Error> {
        match self {
            Self::Ours(authority) => {
                let certificate = certified(authority.issue(now)?).map_err(Error::Setup)?;
                Ok(Shown {
                    certificate,
                    age: Age::IssuedAt(now),
                })
            }
            Self::Given(given) => {
                // Before the files: what is written in between is looked at again.
                let age = given.age();
                let certificate = given
                    .read()
                    .map_err(|why| Error::Setup(format!("the given TLS certificate: {why}")))?;
                Ok(Shown { certificate, age })
            }
        }
    }
}

impl Given {
    fn age(&self) -> Age {
        let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        Age::Written([written(&self.certificate), written(&self.key)])
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, String> {
        let mut chain = Vec::new();
        let read = File::open(&self.certificate)
            .and_then(|file| file.take(MAX_CHAIN).read_to_end(&mut chain));
        read.map_err(|error| format!("{}: {error}", self.certificate.display()))?;
        let key =
            read_private(&self.key).map_err(|why| format!("{}: {why}", self.key.display()))?;
        certified(parse(&chain, &key)?)
    }
}

/// Ready for use; refused where the key is not the certificate's.
fn certified(issued: Issued) -> Result<Arc<CertifiedKey>, String> {
    let Issued { chain, key } = issued;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    certified.map(Arc::new).map_err(|error| error.to_string())
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self
                .shown
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .certificate,
        ))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn authority(folder: &Path) -> Authority {
        Authority::make(folder, &["jit.test".parse().unwrap()], now()).unwrap();
        Authority::load(folder).unwrap()
    }

    fn shown(identity: &Identity) -> Vec<u8> {
        let shown = identity.shown.read().unwrap();
        shown.certificate.cert[0].to_vec()
    }

    #[test]
    fn a_certificate_is_renewed_long_before_it_ends_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::ours(authority(folder.path()), now()).unwrap();
        let first = shown(&identity);
        let day = SignedDuration::from_hours(24);
        identity.renew(now() + 29 * day).unwrap();
        assert_eq!(shown(&identity), first);
        identity.renew(now() + 30 * day).unwrap();
        let second = shown(&identity);
        assert_ne!(second, first);
        identity.renew(now()).unwrap();
        assert_ne!(shown(&identity), second, "after a clock was set back");
    }

    #[test]
    fn a_given_certificate_is_read_again_when_it_changes_and_kept_where_the_new_one_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(&folder.path().join("tls"));
        let given = Given {
            certificate: folder.path().join("crt"),
            key: folder.path().join("key"),
        };
        let write = |seconds: u64| {
            let issued = authority.issue(now()).unwrap();
            write_pem(&given.certificate, "CERTIFICATE", &issued.chain[0]);
            write_pem(&given.key, "PRIVATE KEY", issued.key.secret_der());
            touch(&given.certificate, seconds);
        };
        write(1);
        let identity = Identity::given(given.clone(), now()).unwrap();
        let first = shown(&identity);
        identity.renew(now()).unwrap();
        assert_eq!(shown(&identity), first);
        write(2);
        identity.renew(now()).unwrap();
        let second = shown(&identity);
        assert_ne!(second, first);
        // The key of another certificate.
        let other = authority.issue(now()).unwrap();
        write_pem(&given.key, "PRIVATE KEY", other.key.secret_der());
        touch(&given.certificate, 3);
        assert!(identity.renew(now()).is_err());
        assert_eq!(shown(&identity), second);
        write(4);
        fs::set_permissions(&given.key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = identity.renew(now()).unwrap_err().to_string();
        assert!(error.contains("mode 0640"), "{error}");
    }

    fn write_pem(path: &Path, kind: &str, der: &[u8]) {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
        fs::write(path, pem).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn touch(path: &Path, seconds: u64) {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(at)
            .unwrap();
    }
}
