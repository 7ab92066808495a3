//! What comes over sync.sock is believed for its signature, host, revision and size, and for nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jit_grant::{Allow, Bundle, Grant, HostId, Limits, RequestNote, SigningKey};
use jit_tests::group::Promise;
use jit_tests::intruder::Intruder;
use jit_tests::promises;
use jit_tests::site::{self, Site};
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use serde_json::Value;

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const SOCKET: &str = "/run/jit/sync.sock";

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        a_bundle_signed_by_an_unknown_key_is_refused,
        a_bundle_with_one_byte_changed_is_refused,
        a_bundle_for_another_host_is_refused,
        an_older_bundle_is_refused,
        an_oversized_bundle_is_refused,
        a_truncated_bundle_is_refused,
        a_bundle_that_is_not_utf_8_is_refused,
        an_empty_bundle_is_refused,
        the_courier_reaches_no_other_socket,
        the_same_bundle_signed_by_the_server_is_taken,
    ];
    jit_tests::group::keep_with("bundles", Site::enforcing, Site::calm, promises)
}

/// How the host stands, and what a forger would need to know of it.
struct Standing {
    host: HostId,
    revision: u64,
    grants: Value,
}

impl Standing {
    fn of(site: &Site) -> Result<Self> {
        let status: Value = serde_json::from_str(&site.admin(&["status", "--json"])?.stdout)?;
        let field = |key| {
            site::find(&status, key)
                .cloned()
                .with_context(|| format!("no {key} in {status}"))
        };
        let host = field("host_id")?.as_str().context("no host id")?.parse()?;
        let revision = field("revision")?.as_u64().context("no revision")?;
        Ok(Self {
            host,
            revision,
            grants: field("grants")?,
        })
    }

    /// A bundle that would open everything to alice.
    fn bundle(&self, host: &HostId, revision: u64, now: jiff::Timestamp) -> Result<Bundle> {
        let grant = Grant {
            id: "g999999".parse()?,
            principal: "alice".parse()?,
            login: "alice".parse()?,
            role: "keeper".parse()?,
            not_before: now,
            expires: now + Duration::from_secs(3600),
            allow: Allow {
                ssh: true,
                sudo: true,
                su: true,
                jobs: true,
            },
            keys: Vec::new(),
            shared: false,
            limits: Limits::default(),
            request: RequestNote {
                id: "r999999".parse()?,
                reason: "none".to_owned(),
                ticket: None,
            },
            approvals: Vec::new(),
            crit: Vec::new(),
            statement: None,
            signatures: Vec::new(),
            extendable_until: None,
            end_login_with_elevation: false,
        };
        Ok(Bundle {
            host: host.clone(),
            revision,
            issued_at: now,
            grants: vec![grant],
            void: Vec::new(),
        })
    }
}

/// The time on the host, which is this machine's.
fn now(site: &Site) -> Result<jiff::Timestamp> {
    Ok(site
        .host
        .sh("date --utc +%Y-%m-%dT%H:%M:%SZ")?
        .trim()
        .parse()?)
}

/// The server's own signing key, as root there could steal it.
fn server_key(site: &Site) -> Result<SigningKey> {
    let path = site.host.outside("/var/lib/jit-server/signing.key")?;
    Ok(SigningKey::from_pkcs8(&std::fs::read(path)?)?)
}

/// The bundle in force, as signed.
fn genuine(site: &Site) -> Result<Vec<u8>> {
    Ok(std::fs::read(
        site.host.outside("/var/lib/jit/bundle.jws")?,
    )?)
}

/// Offered by whoever jitd-sync is, it is refused with one of these codes, recorded, and changes nothing.
fn refused(site: &Site, bundle: &[u8], codes: &[&str]) -> Result<()> {
    let before = Standing::of(site)?;
    let mark = site.mark()?;
    let output = Intruder::courier(&site.host, PEER)?.offers(SOCKET, bundle)?;
    let (said, failed) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let answer: Value =
        serde_json::from_str(&said).with_context(|| format!("no answer: {failed}"))?;
    ensure!(answer["taken"] == false, "it was taken: {answer}");
    let code = answer["code"].as_str().unwrap_or_default();
    ensure!(
        codes.contains(&code),
        "refused with {code:?}, not with one of {codes:?}"
    );
    let after = Standing::of(site)?;
    ensure!(
        after.revision == before.revision && after.grants == before.grants,
        "something changed"
    );
    wait::eventually("the refusal to be recorded", Deadline::seconds(5), || {
        let recorded = site.host.sh("cat /var/lib/jit/events/*")?.contains(code)
            && site.log_since(&mark)?.contains(code);
        Ok(recorded.then_some(()))
    })?;
    Ssh::new(&site.host, "alice")
        .run("id")?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

fn a_bundle_signed_by_an_unknown_key_is_refused(site: &Site) -> Result<()> {
    let standing = Standing::of(site)?;
    let bundle = standing.bundle(&standing.host, standing.revision + 1, now(site)?)?;
    refused(
        site,
        bundle.sign(&SigningKey::generate()?)?.as_bytes(),
        &["JIT-202"],
    )
}

fn a_bundle_with_one_byte_changed_is_refused(site: &Site) -> Result<()> {
    let standing = Standing::of(site)?;
    let bundle = standing
        .bundle(&standing.host, standing.revision + 1, now(site)?)?
        .sign(&server_key(site)?)?;
    let mut signature_changed = bundle.clone().into_bytes();
    let last_dot = bundle.rfind('.').context("no JWS")?;
    signature_changed[last_dot + 5] = if signature_changed[last_dot + 5] == b'A' {
        b'B'
    } else {
        b'A'
    };
    refused(site, &signature_changed, &["JIT-201"])?;
    let mut claims_changed = bundle.into_bytes();
    claims_changed[last_dot - 20] = if claims_changed[last_dot - 20] == b'A' {
        b'B'
    } else {
        b'A'
    };
    refused(site, &claims_changed, &["JIT-201"])
}

fn a_bundle_for_another_host_is_refused(site: &Site) -> Result<()> {
    let standing = Standing::of(site)?;
    let other = "h0123456789abcdef0123456789abcdef".parse()?;
    let bundle = standing.bundle(&other, standing.revision + 1, now(site)?)?;
    refused(
        site,
        bundle.sign(&server_key(site)?)?.as_bytes(),
        &["JIT-203"],
    )
}

fn an_older_bundle_is_refused(site: &Site) -> Result<()> {
    let standing = Standing::of(site)?;
    let bundle = standing.bundle(&standing.host, standing.revision - 1, now(site)?)?;
    refused(
        site,
        bundle.sign(&server_key(site)?)?.as_bytes(),
        &["JIT-204"],
    )
}

fn an_oversized_bundle_is_refused(site: &Site) -> Result<()> {
    let mut bundle = genuine(site)?;
    bundle.resize(Bundle::MAX_BYTES + 1, b'A');
    refused(site, &bundle, &["JIT-206"])
}

fn a_truncated_bundle_is_refused(site: &Site) -> Result<()> {
    let bundle = genuine(site)?;
    refused(site, &bundle[..bundle.len() - 1], &["JIT-201", "JIT-207"])?;
    refused(site, &bundle[..bundle.len() / 2], &["JIT-201", "JIT-207"])
}

fn a_bundle_that_is_not_utf_8_is_refused(site: &Site) -> Result<()> {
    let mut bundle = genuine(site)?;
    let middle = bundle.len() / 2;
    bundle[middle] = 0xff;
    refused(site, &bundle, &["JIT-207"])
}

fn an_empty_bundle_is_refused(site: &Site) -> Result<()> {
    refused(site, b"", &["JIT-207"])
}

fn the_courier_reaches_no_other_socket(site: &Site) -> Result<()> {
    let courier = Intruder::courier(&site.host, PEER)?;
    let output = courier.calls("/run/jit/pam.sock", "io.jit.Pam.Account", "{}")?;
    ensure!(!output.status.success(), "it reached pam.sock");
    for method in [
        "io.jit.Pam.Account",
        "io.jit.Control.Enroll",
        "io.jit.Control.Sessions",
    ] {
        let output = courier.calls(SOCKET, method, "{}")?;
        ensure!(
            !output.status.success(),
            "sync.sock answered {method}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(())
}

/// Without this one the refusals above would show nothing: they could all have failed for a reason of the test's own.
fn the_same_bundle_signed_by_the_server_is_taken(site: &Site) -> Result<()> {
    let standing = Standing::of(site)?;
    let bundle = standing
        .bundle(&standing.host, standing.revision + 1, now(site)?)?
        .sign(&server_key(site)?)?;
    let output = Intruder::courier(&site.host, PEER)?.offers(SOCKET, bundle.as_bytes())?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(answer["taken"] == true, "it was refused: {answer}");
    Ssh::new(&site.host, "alice")
        .run("id")?
        .succeeded()
        .map(drop)
}
