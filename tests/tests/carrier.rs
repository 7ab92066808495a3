//! Somebody else in jitd-sync's place tries all that he can: only withholding works, and that for `max_staleness`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_grant::{Bundle, HostId, NextKey, Nonce, SigningKey, Word};
use jit_tests::group::Promise;
use jit_tests::intruder::Intruder;
use jit_tests::promises;
use jit_tests::site::{Site, find};
use jit_tests::ssh::Ssh;
use jit_tests::wait::Deadline;
use serde_json::{Value, json};

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const SOCKET: &str = "/run/jit/sync.sock";
/// What the shortest `max_staleness` is.
const STALENESS: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        t24_words_that_are_forged_replayed_or_for_another_host_are_refused,
        t24_a_revocation_that_is_hidden_behind_older_bundles_stays_in_force,
        keys_of_his_own_and_of_a_thief_s_are_refused,
        t26_what_he_says_of_the_host_is_no_call,
        a_flood_leaves_jitd_small_and_answering_and_its_record_short,
        callers_who_say_half_or_never_listen_hold_up_nobody,
        t24_what_is_withheld_stops_the_grants_within_max_staleness,
    ];
    jit_tests::group::keep_with("carrier", Site::enforcing, calm, promises)
}

/// With the real jitd-sync at work.
fn calm(site: &Site) -> Result<()> {
    site.host
        .sh("systemctl start jitd-sync.path jitd-sync.service")?;
    site.wait_until_current()?;
    site.calm()
}

/// Takes its place.
fn replace(site: &Site) -> Result<Intruder<'_>> {
    site.host
        .sh("systemctl stop jitd-sync.path jitd-sync.service")?;
    Intruder::courier(&site.host, PEER)
}

fn status(site: &Site) -> Result<Value> {
    Ok(serde_json::from_str(
        &site.admin(&["status", "--json"])?.stdout,
    )?)
}

fn host_id(site: &Site) -> Result<HostId> {
    let status = status(site)?;
    let id = find(&status, "host_id").and_then(Value::as_str);
    Ok(id.context("no host id")?.parse()?)
}

fn server_key(site: &Site) -> Result<SigningKey> {
    let path = site.host.outside("/var/lib/jit-server/signing.key")?;
    Ok(SigningKey::from_pkcs8(&std::fs::read(path)?)?)
}

fn genuine(site: &Site) -> Result<Vec<u8>> {
    Ok(std::fs::read(
        site.host.outside("/var/lib/jit/bundle.jws")?,
    )?)
}

/// Calls a method that offers something; it must be refused with this code, and recorded.
fn refused(
    site: &Site,
    carrier: &Intruder<'_>,
    method: &str,
    what: &Value,
    code: &str,
) -> Result<()> {
    let recorded = || -> Result<usize> {
        let record = site.host.sh("cat /var/lib/jit/events/*")?;
        Ok(record.matches(code).count())
    };
    let before = recorded()?;
    let output = carrier.calls(SOCKET, method, &what.to_string())?;
    let answer: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    ensure!(
        answer["taken"] == false && answer["code"] == code,
        "{method} was answered {answer}, not with {code}"
    );
    ensure!(recorded()? > before, "{code} is not in the record");
    Ok(())
}

fn t24_words_that_are_forged_replayed_or_for_another_host_are_refused(site: &Site) -> Result<()> {
    let carrier = replace(site)?;
    let (host, key) = (host_id(site)?, server_key(site)?);
    let word = |nonce: Nonce, host: &HostId, key: &SigningKey| -> Result<Value> {
        let word = Word {
            revision: 1,
            at: "2026-11-22T12:00:00Z".parse()?,
            nonce,
        };
        Ok(json!({ "word": word.sign(host, key)? }))
    };
    let hello = carrier.calls(SOCKET, "io.jit.Sync.Hello", "{}")?;
    let hello: Value = serde_json::from_slice(&hello.stdout)?;
    let nonce: Nonce = hello["nonce"].as_str().context("no nonce")?.parse()?;
    let other = "h0123456789abcdef0123456789abcdef".parse()?;
    let method = "io.jit.Sync.Word";
    for (what, code) in [
        (
            word(nonce.clone(), &host, &SigningKey::generate()?)?,
            "JIT-202",
        ),
        (word(nonce.clone(), &other, &key)?, "JIT-203"),
        (word(Nonce::generate()?, &host, &key)?, "JIT-211"),
        (json!({ "word": "x".repeat(5000) }), "JIT-206"),
        (json!({ "word": "a.b.c" }), "JIT-207"),
        (
            json!({ "word": String::from_utf8(genuine(site)?)? }),
            "JIT-208",
        ),
    ] {
        refused(site, &carrier, method, &what, code)?;
    }
    // The genuine one counts once.
    let genuine = word(nonce, &host, &key)?;
    let output = carrier.calls(SOCKET, method, &genuine.to_string())?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(answer["taken"] == true, "{answer}");
    refused(site, &carrier, method, &genuine, "JIT-211")
}

fn t24_a_revocation_that_is_hidden_behind_older_bundles_stays_in_force(site: &Site) -> Result<()> {
    let granted = site.open("alice", "visitor", 600)?;
    let before = genuine(site)?;
    site.revoke(&granted.grant)?;
    Ssh::new(&site.host, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    let carrier = replace(site)?;
    let output = carrier.offers(SOCKET, &before)?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(answer["code"] == "JIT-204", "{answer}");
    // Also after jitd was restarted: what it has seen is on its disk.
    site.host.sh("systemctl restart jitd.service")?;
    let output = carrier.offers(SOCKET, &before)?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(answer["code"] == "JIT-204", "{answer}");
    Ssh::new(&site.host, "alice")
        .run("true")?
        .refused_saying(&["JIT-1"])
        .map(drop)
}

fn keys_of_his_own_and_of_a_thief_s_are_refused(site: &Site) -> Result<()> {
    let stolen = server_key(site)?;
    site.host.sh("jit-server key rotate")?;
    let grown = Instant::now();
    loop {
        let trust: Value = serde_json::from_str(&site.host.read("/etc/jit/trust.json")?)?;
        let keys = trust["keys"].as_array().context("no keys")?;
        if keys.len() == 1 && keys[0]["kid"] != stolen.public().kid() {
            break;
        }
        ensure!(
            grown.elapsed() < Duration::from_secs(10),
            "the host did not follow the rotation: {trust}"
        );
    }
    let carrier = replace(site)?;
    let before = site.host.read("/etc/jit/trust.json")?;
    let own = SigningKey::generate()?;
    let step = |by: &SigningKey| -> Result<String> {
        let next = NextKey {
            seq: 2,
            at: "2026-11-22T12:00:00Z".parse()?,
            next: own.public(),
        };
        Ok(next.sign(by)?)
    };
    for (chain, code) in [
        (vec![step(&own)?], "JIT-213"),
        (vec![step(&stolen)?], "JIT-213"),
        (vec!["a.b.c".to_owned()], "JIT-207"),
        (vec![step(&stolen)?; 33], "JIT-206"),
    ] {
        let what = json!({ "chain": chain });
        refused(site, &carrier, "io.jit.Sync.Keys", &what, code)?;
    }
    ensure!(
        site.host.read("/etc/jit/trust.json")? == before,
        "trust.json changed"
    );
    Ok(())
}

fn t26_what_he_says_of_the_host_is_no_call(site: &Site) -> Result<()> {
    let carrier = replace(site)?;
    let before = site.host.sh("tail -n 1 /var/lib/jit/events/*")?;
    for method in [
        "io.jit.Sync.Request",
        "io.jit.Sync.Event",
        "io.jit.Sync.Link",
        "io.jit.Control.Gated",
        "io.jit.Control.Reload",
        "io.jit.Control.Enroll",
    ] {
        let output = carrier.calls(SOCKET, method, "{}")?;
        ensure!(!output.status.success(), "sync.sock answered {method}");
    }
    ensure!(
        site.host.sh("tail -n 1 /var/lib/jit/events/*")? == before,
        "he wrote into the record"
    );
    Ok(())
}

/// A size of jitd's in KiB.
fn size(site: &Site, of: &str) -> Result<u64> {
    let script =
        format!("grep {of}: /proc/$(systemctl show --value --property=MainPID jitd)/status");
    let said = site.host.sh(&script)?;
    Ok(said.split_whitespace().nth(1).context("no size")?.parse()?)
}

fn refusals(site: &Site) -> Result<usize> {
    let record = site.host.sh("cat /var/lib/jit/events/*")?;
    Ok(record.matches(".refused\"").count())
}

fn a_flood_leaves_jitd_small_and_answering_and_its_record_short(site: &Site) -> Result<()> {
    let carrier = replace(site)?;
    let header = genuine(site)?;
    let header = header
        .split(|byte| *byte == b'.')
        .next()
        .unwrap_or_default();
    // As large as it may be, and taken apart up to its signature.
    let mut large = [header, b"."].concat();
    large.resize(Bundle::MAX_BYTES - 87, b'A');
    large.push(b'.');
    large.resize(Bundle::MAX_BYTES, b'A');
    let garbage = vec![0xff; Bundle::MAX_BYTES];
    site.host
        .sh("echo 5 > /proc/$(systemctl show --value --property=MainPID jitd)/clear_refs")?;
    let (resident, recorded) = (size(site, "VmRSS")?, refusals(site)?);
    thread::scope(|scope| -> Result<()> {
        let offering: Vec<_> = (0..12)
            .map(|number| {
                let (carrier, bytes) = (&carrier, if number % 2 == 0 { &large } else { &garbage });
                scope.spawn(move || -> Result<()> {
                    for _ in 0..8 {
                        let output = carrier.offers(SOCKET, bytes)?;
                        let answer: Value = serde_json::from_slice(&output.stdout)?;
                        ensure!(answer["taken"] == false, "{answer}");
                    }
                    Ok(())
                })
            })
            .collect();
        // Meanwhile everybody else is answered.
        Ssh::new(&site.host, "alice")
            .run("true")?
            .refused_saying(&["JIT-101"])?;
        for one in offering {
            one.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        }
        Ok(())
    })?;
    let peak = size(site, "VmHWM")?;
    ensure!(
        peak <= resident + 32 * 1024,
        "jitd grew from {resident} to {peak} KiB"
    );
    let recorded = refusals(site)? - recorded;
    ensure!(recorded <= 25, "{recorded} lines for 96 refusals");
    Ok(())
}

fn callers_who_say_half_or_never_listen_hold_up_nobody(site: &Site) -> Result<()> {
    let carrier = replace(site)?;
    let hello = r#"{"method":"io.jit.Sync.Hello"}\0"#;
    let half = carrier.crowds(SOCKET, 8, r#"{"method":"io.jit.Sync"#)?;
    let deaf = carrier.crowds(SOCKET, 8, &hello.repeat(1000))?;
    Ssh::new(&site.host, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    site.host
        .sh("systemctl start jitd-sync.path jitd-sync.service")?;
    site.wait_until_current()?;
    site.open("alice", "visitor", 600)?;
    drop((half, deaf));
    Ok(())
}

fn t24_what_is_withheld_stops_the_grants_within_max_staleness(site: &Site) -> Result<()> {
    let settings = "cp --preserve /etc/jit/jitd.toml /root/jitd.toml
        printf 'max_staleness = \"60s\"\\n' >> /etc/jit/jitd.toml
        systemctl restart jitd.service";
    site.host.sh(settings)?;
    site.wait_until_current()?;
    site.open("alice", "visitor", 600)?;
    let session = Ssh::new(&site.host, "alice").start("echo in; sleep 7004")?;
    session.says("in", Deadline::seconds(10))?;
    let carrier = replace(site)?;
    let withheld = Instant::now();
    // A nonce asked for and a bundle offered again keep nothing fresh.
    carrier.calls(SOCKET, "io.jit.Sync.Hello", "{}")?;
    carrier.offers(SOCKET, &genuine(site)?)?;
    ensure!(
        session.ended(Deadline::within(STALENESS + Duration::from_secs(5)))?,
        "the session lives on {:.1?} after the last word",
        withheld.elapsed()
    );
    Ssh::new(&site.host, "alice")
        .run("true")?
        .refused_saying(&["JIT-111", "nothing heard from unix:"])?;
    site.host
        .sh("mv /root/jitd.toml /etc/jit/jitd.toml; systemctl restart jitd.service")
        .map(drop)
}
