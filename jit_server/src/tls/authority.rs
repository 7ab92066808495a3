//! The server's own certificate authority. Hosts pin it at enrolment; it issues for this server alone.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use jit_grant::HostName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::error::Error;
use crate::signer::read_private;

/// The authority lasts as long as hosts do: they pin it.
const AUTHORITY_LASTS: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// A certificate of the server lasts so long.
const CERTIFICATE_LASTS: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Certificates count since so long before they were made: a host whose clock is behind by less can connect, and be told the time.
const BACKDATED: SignedDuration = SignedDuration::from_hours(24);
const MOST_NAMES: usize = 32;

/// What hosts reach the server by: a DNS name in lower case, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsName(String);

impl FromStr for TlsName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.parse::<IpAddr>().is_ok() || text.parse::<HostName>().is_ok();
        let name = fits.then(|| Self(text.to_owned()));
        name.ok_or_else(|| "it is neither a DNS name in lower case nor an IP address".to_owned())
    }
}

impl fmt::Display for TlsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The authority and the names it issues for, in a folder: `ca.key`, `ca.crt`, `names`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    names: Vec<TlsName>,
}

/// A certificate with its key.
pub(super) struct Issued {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Authority {
    /// Where the authority is below the server's state.
    #[must_use]
    pub fn folder(state: &Path) -> PathBuf {
        state.join("tls")
    }

    /// Makes an authority in `folder` where there is none, and lets it issue for `names` from now on where any are given.
    ///
    /// # Errors
    /// Where a file can't be written, or there is no name.
    pub fn make(folder: &Path, names: &[TlsName], now: Timestamp) -> Result<(), Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(Error::io(format!("making {}", folder.display())))?;
        let (key, certificate, listed) = (
            folder.join("ca.key"),
            folder.join("ca.crt"),
            folder.join("names"),
        );
        if !names.is_empty() {
            let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
            replace(&listed, lines.as_bytes())?;
        }
        // The key comes last: a folder with a key is whole.
        if !key.exists() {
            let pair = KeyPair::generate().map_err(|error| broken(&error))?;
            let made = authority(&pair, now)?
                .self_signed(&pair)
                .map_err(|error| broken(&error))?;
            replace(&certificate, made.pem().as_bytes())?;
            replace(&key, pair.serialize_pem().as_bytes())?;
        }
        Self::load(folder).map(drop)
    }

    /// Reads the authority in `folder`.
    ///
    /// # Errors
    /// Where a file is missing, mistaken, or the key may be read by others.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let key = folder.join("ca.key");
        let wrong = |why: String| Error::Setup(format!("{}: {why}", key.display()));
        let pem = String::from_utf8(read_private(&key).map_err(wrong)?)
            .map_err(|error| wrong(error.to_string()))?;
        let pair = KeyPair::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
        let params = authority(&pair, Timestamp::UNIX_EPOCH)?;
        Ok(Self {
            issuer: Issuer::new(params, pair),
            certificate: read(&folder.join("ca.crt"))?,
            names: names(&folder.join("names"))?,
        })
    }

    /// The authority's certificate in PEM: what hosts pin.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A new certificate of the server, with a new key that is written nowhere.
    pub(super) fn issue(&self, now: Timestamp) -> Result<Issued, Error> {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(|error| broken(&error))?;
        params.distinguished_name = named("jit-server");
        params.not_before = instant(now - BACKDATED)?;
        params.not_after = instant(now + CERTIFICATE_LASTS)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let pair = KeyPair::generate().map_err(|error| broken(&error))?;
        let certificate = params
            .signed_by(&pair, &self.issuer)
            .map_err(|error| broken(&error))?;
        let key = PrivateKeyDer::try_from(pair.serialize_der())
            .map_err(|error| Error::Setup(error.to_owned()))?;
        Ok(Issued {
            chain: vec![certificate.der().clone()],
            key,
        })
    }
}

/// What the authority of this key says of itself. Its name follows from its key, so that the key alone can issue in it.
fn authority(pair: &KeyPair, now: Timestamp) -> Result<CertificateParams, Error> {
    let digest = Sha256::digest(pair.der_bytes());
    let id: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("jit-server CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = instant(now - BACKDATED)?;
    params.not_after = instant(now + AUTHORITY_LASTS)?;
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn instant(at: Timestamp) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(at.as_second())
        .map_err(|error| Error::Setup(error.to_string()))
}

fn broken(error: &rcgen::Error) -> Error {
    Error::Setup(format!("no certificate could be made: {error}"))
}

fn names(path: &Path) -> Result<Vec<TlsName>, Error> {
    let text = read(path)?;
    let parsed: Result<Vec<TlsName>, String> = text.lines().map(str::parse).collect();
    let names = parsed.map_err(|why| Error::Setup(format!("{}: {why}", path.display())))?;
    match names.len() {
        1..=MOST_NAMES => Ok(names),
        _ => Err(Error::Setup(format!(
            "{} must have 1 to {MOST_NAMES} names; say how hosts reach this server with `jit-server init --name NAME`",
            path.display()
        ))),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(64 * 1024).read_to_string(&mut text));
    read.map_err(Error::io(format!(
        "reading {}; run `jit-server init --name NAME` as root",
        path.display()
    )))?;
    Ok(text)
}

/// Whole or not at all, for its owner only.
fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let unfinished = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished);
    let written =
        written.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    let written = written.and_then(|()| fs::rename(&unfinished, path));
    written.map_err(Error::io(format!("writing {}", path.display())))
}

/// The certificates and the key that PEM texts hold.
pub(super) fn parse(chain: &[u8], key: &[u8]) -> Result<Issued, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = certificates.map_err(|error| format!("the certificates: {error}"))?;
    if chain.is_empty() {
        return Err("the certificates: there is none in PEM".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key: {error}"))?;
    Ok(Issued { chain, key })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn names(names: &[&str]) -> Vec<TlsName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn an_authority_is_made_once_and_its_key_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tls = Authority::folder(folder.path());
        Authority::make(&tls, &names(&["jit.test"]), now()).unwrap();
        let certificate = Authority::load(&tls).unwrap().certificate().to_owned();
        for name in ["ca.key", "ca.crt", "names"] {
            let mode = tls.join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{name}");
        }
        Authority::make(&tls, &names(&["other.test", "192.0.2.1"]), now()).unwrap();
        let again = Authority::load(&tls).unwrap();
        assert_eq!(again.certificate(), certificate, "hosts have pinned it");
        assert_eq!(again.names, names(&["other.test", "192.0.2.1"]));
        fs::set_permissions(tls.join("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Authority::load(&tls).is_err());
    }

    #[test]
    fn an_authority_without_a_name_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let error = Authority::make(folder.path(), &[], now()).unwrap_err();
        assert!(error.to_string().contains("--name"), "{error}");
        for wrong in ["", "Jit.Test", "a b", "*.test", "jit.test:7443"] {
            assert!(wrong.parse::<TlsName>().is_err(), "{wrong}");
        }
    }
}
