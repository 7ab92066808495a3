//! A bundle as it travels: signed by the server, verified by the host that it is for.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::bundle::{Bundle, Grant, VoidGrant};
use crate::envelope::{
    DocumentRefused, Kind, NotSigned, Sealed, check_not_from_the_future, clean, seal, unparsable,
};
use crate::key::{SigningKey, TrustedKeys};
use crate::name::HostId;

const BUNDLE: Kind = Kind {
    typ: "jit-bundle+jwt",
    max_bytes: Bundle::MAX_BYTES,
};

/// What this version enforces: the names that a grant's `crit` may hold without voiding it here. `statement` and
/// `signatures` are not among them, since nobody checks those yet.
pub const ENFORCED: &[&str] = &[
    "allow.jobs",
    "allow.ssh",
    "allow.su",
    "allow.sudo",
    "expires",
    "groups",
    "idle",
    "keys",
    "login",
    "login_from",
    "not_before",
    "principal",
    "shared",
    "single_use",
];

#[derive(Serialize)]
struct ClaimsToSign<'a> {
    aud: &'a HostId,
    revision: u64,
    issued_at: Timestamp,
    grants: &'a [Grant],
}

#[derive(Deserialize)]
struct ClaimsToCheck<'a> {
    aud: String,
    revision: u64,
    issued_at: Timestamp,
    #[serde(borrow)]
    grants: Vec<&'a RawValue>,
}

impl Bundle {
    /// The signed form, as a host verifies it. `void` is not part of it: it is what a host made of the rest.
    ///
    /// # Errors
    /// [`NotSigned::WouldBeRefused`] where every host would refuse it: too many grants, too large, an id twice.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NotSigned> {
        check_count(self.grants.len())?;
        check_ids_differ(&self.grants, &[])?;
        let claims = ClaimsToSign {
            aud: &self.host,
            revision: self.revision,
            issued_at: self.issued_at,
            grants: &self.grants,
        };
        seal(BUNDLE, &claims, key)
    }

    /// Believes `document` only if a trusted key signed it for `host`, it is no older than `after_revision`, and it is
    /// not dated ahead of `now`.
    ///
    /// A bundle of exactly `after_revision` is returned too: a host that starts reads its own copy back so. A host that
    /// already holds that revision has nothing to change.
    ///
    /// # Errors
    /// The first that applies, in the order size, UTF-8, JWS, algorithm and type, key, signature, host, revision, date, grants.
    pub fn verify(
        document: &[u8],
        trusted: &TrustedKeys,
        host: &HostId,
        after_revision: u64,
        now: Timestamp,
    ) -> Result<Self, DocumentRefused> {
        let sealed = Sealed::parse(BUNDLE, document)?;
        let key = trusted
            .find(&sealed.kid)
            .ok_or_else(|| DocumentRefused::UnknownKey(clean(&sealed.kid, 64)))?;
        sealed.check_signature(key)?;
        let claims: ClaimsToCheck<'_> = sealed.claims()?;
        if claims.aud != host.as_str() {
            return Err(DocumentRefused::OtherAudience(clean(&claims.aud, 64)));
        }
        if claims.revision < after_revision {
            return Err(DocumentRefused::LowerRevision {
                offered: claims.revision,
                seen: after_revision,
            });
        }
        check_not_from_the_future(claims.issued_at, now)?;
        let (grants, void) = read_grants(&claims.grants)?;
        Ok(Self {
            host: host.clone(),
            revision: claims.revision,
            issued_at: claims.issued_at,
            grants,
            void,
        })
    }
}

fn read_grants(raw: &[&RawValue]) -> Result<(Vec<Grant>, Vec<VoidGrant>), DocumentRefused> {
    check_count(raw.len())?;
    let malformed = |error: serde_json::Error| unparsable(&format!("grant: {error}"));
    let mut grants = Vec::with_capacity(raw.len());
    let mut void = Vec::new();
    for grant in raw {
        let demands: Demands<'_> = serde_json::from_str(grant.get()).map_err(malformed)?;
        let crit = demands.crit();
        let unknown = crit.iter().find(|name| !ENFORCED.contains(&name.as_str()));
        match (unknown, serde_json::from_str(grant.get())) {
            (Some(unknown), _) => void.push(demands.unheeded(unknown)),
            (None, Ok(grant)) => grants.push(grant),
            // What is known by its name may have a shape of a later version, with more in it than this one holds.
            (None, Err(_)) if !crit.is_empty() => void.push(demands.unheeded(&crit.join(", "))),
            (None, Err(error)) => return Err(malformed(error)),
        }
    }
    check_ids_differ(&grants, &void)?;
    Ok((grants, void))
}

/// What can be read of a grant of any version, whatever shape the rest of it has: what it demands, and enough to name it.
#[derive(Deserialize)]
struct Demands<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    login: Option<&'a RawValue>,
    #[serde(borrow)]
    crit: Option<&'a RawValue>,
}

impl Demands<'_> {
    /// The names in `crit`; none where it demands nothing.
    fn crit(&self) -> Vec<String> {
        let Some(crit) = self.crit else {
            return Vec::new();
        };
        // Of another shape, it demands something that is not known here.
        serde_json::from_str(crit.get()).unwrap_or_else(|_| vec!["crit".to_owned()])
    }

    fn unheeded(&self, unknown: &str) -> VoidGrant {
        VoidGrant {
            id: clean(self.id.map_or("", RawValue::get).trim_matches('"'), 64),
            login: self
                .login
                .and_then(|login| serde_json::from_str(login.get()).ok()),
            unknown: clean(unknown, 64),
        }
    }
}

fn check_count(grants: usize) -> Result<(), DocumentRefused> {
    if grants > Bundle::MAX_GRANTS {
        return Err(DocumentRefused::TooManyGrants {
            grants,
            limit: Bundle::MAX_GRANTS,
        });
    }
    Ok(())
}

/// Void grants count only against the others: of a shape that is not known here, several may have no readable id.
fn check_ids_differ(grants: &[Grant], void: &[VoidGrant]) -> Result<(), DocumentRefused> {
    let mut seen = HashSet::with_capacity(grants.len());
    let twice = grants
        .iter()
        .map(|grant| grant.id.as_str())
        .find(|id| !seen.insert(*id));
    let twice = twice.or_else(|| {
        void.iter()
            .map(|grant| grant.id.as_str())
            .find(|id| seen.contains(id))
    });
    match twice {
        Some(id) => Err(unparsable(&format!("grant {id} is in it twice"))),
        None => Ok(()),
    }
}
