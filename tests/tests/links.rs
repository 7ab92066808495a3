//! What stands between a host and its server, or in the server's place: balancers and middle boxes, and a server that is sick or
//! hostile. Nothing of it opens a door, fills a host's memory or outlasts its own end by more than seconds.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::authority::{Authority, NOW};
use jit_tests::fleet::{Fleet, URL, enroll, journal, login, wait_until_current, wait_until_in};
use jit_tests::group::{Promise, Stage};
use jit_tests::host::Host;
use jit_tests::image::Release;
use jit_tests::promises;
use jit_tests::ssh::Ssh;
use jit_tests::stand_in::{Manner, StandIn};
use jit_tests::wait::Deadline;
use serde_json::Value;

/// From what is decided at the server to what holds on the host, by whichever way.
const HOLDS_WITHIN: Duration = Duration::from_secs(2);
/// From the start of the right server to what it says holding on the host.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// A word is asked for after 30 s at most, and waited for 15 s.
const SAID_WITHIN: Duration = Duration::from_secs(60);
/// What jitd-sync may ever have resident, KiB.
const SMALL: u64 = 16 * 1024;
/// The units of the right server.
const UNITS: &str = "jit-server-tls.socket jit-server.socket jit-server.service";

fn main() -> ExitCode {
    let promises: &[Promise<Links>] = promises![
        endless_events_lines_comments_and_keys_are_cut_off_and_jitd_sync_stays_small,
        events_that_are_none_are_refused,
        answers_that_are_none_are_refused,
        a_server_that_answers_byte_by_byte_holds_up_nothing_but_itself,
        a_certificate_that_has_expired_or_is_anothers_is_refused_on_record,
        a_bundle_that_is_cut_in_its_midst_is_none_and_on_record,
        hosts_live_behind_a_balancer_that_ends_tls_as_the_guide_sets_it_up,
        behind_a_proxy_that_holds_streams_back_hosts_hear_as_soon_as_elsewhere,
        behind_a_proxy_that_cuts_what_lasts_hosts_hear_all_the_same,
    ];
    jit_tests::group::keep_with("links", Links::set, calm, promises)
}

/// With the right server at work.
fn calm(links: &Links) -> Result<()> {
    links.fleet.server.sh(&format!("systemctl start {UNITS}"))?;
    let listed = links
        .fleet
        .server
        .command(&["jitctl", "list", "grants", "--json"]);
    let listed: Value = serde_json::from_str(&listed.text()?)?;
    for grant in listed.as_array().into_iter().flatten() {
        if grant["state"] == "active"
            && let Some(id) = grant["id"].as_str()
        {
            links.fleet.revoke(id)?;
        }
    }
    links
        .fleet
        .gated()
        .into_iter()
        .try_for_each(wait_until_current)
}

/// A fleet whose server has a certificate of an authority that is not its own.
struct Links {
    fleet: Fleet,
    authority: Authority,
}

impl Links {
    fn set(release: Release) -> Result<Self> {
        let links = Self {
            fleet: Fleet::with_beside_the_server(release, "nginx")?,
            authority: Authority::make()?,
        };
        let server = &links.fleet.server;
        let issued = links.authority.issue("server", NOW)?;
        server.write("/etc/jit-server/tls.crt", "0644", issued.certificate)?;
        server.write("/etc/jit-server/tls.key", "0600", issued.key)?;
        let settings = "[Service]\nEnvironment=JIT_SERVER_TLS_CERT=/etc/jit-server/tls.crt JIT_SERVER_TLS_KEY=/etc/jit-server/tls.key\n";
        let place = "/etc/systemd/system/jit-server.service.d/tls.conf";
        server.write(place, "0644", settings)?;
        // With an authority of its own gone, init goes by what is enabled.
        server.sh(&format!(
            "chown jit-server: /etc/jit-server/tls.key; systemctl daemon-reload; systemctl stop {UNITS};\
             rm -r /var/lib/jit-server/tls; jit-server init"
        ))?;
        for host in links.fleet.gated() {
            links.enrol(host, URL)?;
        }
        Ok(links)
    }

    /// Enrols `host` with the server at `url`, which the authority vouches for.
    fn enrol(&self, host: &Host, url: &str) -> Result<()> {
        self.fleet.carry(host, &["--name", host.name()])?;
        host.write("/root/own.crt", "0644", self.authority.certificate())?;
        enroll(host, url, "/root/own.crt")?.succeeded()?;
        wait_until_current(host)
    }

    /// In the midst of a session a server of this kind takes the right one's place until the host has `said` so.
    fn withstands(&self, manner: Manner, said: &str) -> Result<()> {
        let (fleet, host) = (&self.fleet, &self.fleet.web1);
        let grant = fleet.grant("alice", host)?;
        wait_until_in(host, "alice", Instant::now(), HOLDS_WITHIN)?;
        let session = login(host, "alice")?;
        fleet.server.sh(&format!("systemctl stop {UNITS}"))?;
        let log = journal(host)?;
        let stand_in = StandIn::start(fleet, &self.authority, manner)?;
        log.says(said, Deadline::within(SAID_WITHIN))?;
        Ssh::new(host, "alice")
            .run("true")?
            .succeeded()
            .context("what was in force is not any more")?;
        ensure!(session.alive()?, "the session ended");
        drop(stand_in);
        fleet.server.sh(&format!("systemctl start {UNITS}"))?;
        let back = Instant::now();
        fleet.revoke(&grant)?;
        ensure!(
            session.ended(Deadline::within(BACK_WITHIN))?,
            "{:.1?} after the right server is back the host has not heard of it; jitd-sync said: {}",
            back.elapsed(),
            log.stdout()
        );
        is_small(host).with_context(|| log.stdout())
    }

    /// The same, and the host's record has what was said.
    fn withstands_on_record(&self, manner: Manner, said: &str) -> Result<()> {
        let host = &self.fleet.web1;
        // Of what jitd-sync says it takes so much, and after that a line a minute: the promises before this one may have used it up.
        host.sh("systemctl restart jitd.service")?;
        wait_until_current(host)?;
        let before = troubles(host)?.len();
        self.withstands(manner, said)?;
        let troubles = troubles(host)?;
        ensure!(
            troubles.iter().skip(before).any(|what| what.contains(said)),
            "the record has nothing of it, but {troubles:?}"
        );
        Ok(())
    }
}

impl Stage for Links {
    fn last_words(&self) -> String {
        let nginx = self.fleet.server.sh("tail -n 20 /var/log/nginx/error.log");
        let nginx = nginx.unwrap_or_else(|error| format!("{error:#}"));
        format!("{}\n-- nginx\n{nginx}", self.fleet.last_words())
    }
}

/// What jitd-sync said to keep it from hearing the server, as `host` has it on record.
fn troubles(host: &Host) -> Result<Vec<String>> {
    let script = r#"grep -h -F '"kind":"sync.trouble"' /var/lib/jit/events/*.jsonl || true"#;
    let lines = host.sh(script)?;
    let said = |line: &str| -> Result<String> {
        let line: Value = serde_json::from_str(line)?;
        let said = line["event"]["said_by_jitd_sync"].as_str();
        Ok(said.with_context(|| line.to_string())?.to_owned())
    };
    lines.lines().map(said).collect()
}

/// What jitd-sync said since it serves the server that it was enrolled with last.
fn since_enrolled(log: &str) -> Result<&str> {
    let parts = log.rsplit_once("carrying between");
    parts.map(|(_, since)| since).context("not enrolled anew")
}

/// Whatever jitd-sync has been through since it started.
fn is_small(host: &Host) -> Result<()> {
    let script = "grep VmHWM /proc/$(systemctl show --value --property=MainPID jitd-sync)/status";
    let said = host.sh(script)?;
    let kib: u64 = said.split_whitespace().nth(1).unwrap_or_default().parse()?;
    ensure!(kib <= SMALL, "{kib} KiB were resident");
    Ok(())
}

fn endless_events_lines_comments_and_keys_are_cut_off_and_jitd_sync_stays_small(
    links: &Links,
) -> Result<()> {
    for manner in [
        Manner::EndlessEvent,
        Manner::EndlessLine,
        Manner::EndlessComments,
        Manner::ManyKeys,
    ] {
        links
            .withstands(manner, "server: sent more than")
            .with_context(|| format!("{manner:?}"))?;
    }
    Ok(())
}

fn events_that_are_none_are_refused(links: &Links) -> Result<()> {
    for (manner, said) in [
        (Manner::WrongType, "the stream is no text/event-stream"),
        (Manner::NotText, "an event is not UTF-8"),
        (Manner::Nul, "jitd did not take the server's bundle"),
        (Manner::BadRevision, "a bundle without its revision as id"),
    ] {
        links
            .withstands(manner, said)
            .with_context(|| format!("{manner:?}"))?;
    }
    Ok(())
}

fn answers_that_are_none_are_refused(links: &Links) -> Result<()> {
    for (manner, said) in [
        (Manner::Redirects, "server: answered 307"),
        (Manner::Fails, "server: answered 503"),
        (Manner::EndlessHead, "server: message head is too large"),
        // Nothing is inflated.
        (Manner::Bomb, "server: answer not understood"),
    ] {
        links
            .withstands(manner, said)
            .with_context(|| format!("{manner:?}"))?;
    }
    Ok(())
}

fn a_server_that_answers_byte_by_byte_holds_up_nothing_but_itself(links: &Links) -> Result<()> {
    for (manner, said) in [
        (
            Manner::SilentHandshake,
            "server: not reached: operation timed out",
        ),
        (
            Manner::SlowHandshake,
            "server: not reached: operation timed out",
        ),
        (Manner::SlowHead, "server: silent for"),
        (Manner::SlowBody, "server: silent for"),
    ] {
        links
            .withstands(manner, said)
            .with_context(|| format!("{manner:?}"))?;
    }
    Ok(())
}

fn a_certificate_that_has_expired_or_is_anothers_is_refused_on_record(links: &Links) -> Result<()> {
    for (manner, said) in [
        (
            Manner::ExpiredCertificate,
            "certificate is refused: certificate expired",
        ),
        (
            Manner::OtherName,
            "certificate is refused: certificate not valid for name \"server\"",
        ),
    ] {
        links
            .withstands_on_record(manner, said)
            .with_context(|| format!("{manner:?}"))?;
    }
    Ok(())
}

fn a_bundle_that_is_cut_in_its_midst_is_none_and_on_record(links: &Links) -> Result<()> {
    links.withstands_on_record(Manner::HalfABundle, "server: peer closed connection")
}

/// What nginx is given to pass on to the server, and the port that it does it at.
struct Balancer<'a> {
    links: &'a Links,
    name: &'static str,
}

impl Balancer<'_> {
    /// The guide's, to the word.
    fn of_the_guide() -> Result<String> {
        let guide = include_str!("../../docs/fleet.md");
        let settings = guide
            .split_once("```nginx\n")
            .and_then(|(_, rest)| rest.split_once("```"));
        settings
            .map(|(settings, _)| settings.to_owned())
            .context("docs/fleet.md has no settings of nginx")
    }

    /// Sets nginx up, with a certificate for the name that the guide has, and enrols `host` through it.
    fn before<'a>(links: &'a Links, host: &Host, settings: &str) -> Result<Balancer<'a>> {
        let name = "jit.example";
        let server = &links.fleet.server;
        let issued = links.authority.issue(name, NOW)?;
        server.write("/etc/nginx/jit.crt", "0644", issued.certificate)?;
        server.write("/etc/nginx/jit.key", "0600", issued.key)?;
        server.write(
            "/etc/nginx/jit-server-ca.crt",
            "0644",
            links.authority.certificate(),
        )?;
        server.write("/etc/nginx/conf.d/jit.conf", "0644", settings)?;
        // Restarted rather than reloaded: nothing of the settings before is at work any more.
        server.sh("nginx -t; systemctl restart nginx.service")?;
        host.sh(&format!(
            "grep -q {name} /etc/hosts || echo 10.77.0.1 {name} >> /etc/hosts"
        ))?;
        let balancer = Balancer { links, name };
        links.enrol(host, &format!("https://{name}"))?;
        Ok(balancer)
    }

    /// A grant opens `host`, and its end ends what is open there, each as soon as without anybody in between.
    fn grants_and_revokes(&self, host: &Host) -> Result<()> {
        let fleet = &self.links.fleet;
        let grant = fleet.grant("bob", host)?;
        wait_until_in(host, "bob", Instant::now(), Duration::from_secs(1))?;
        let session = login(host, "bob")?;
        fleet.revoke(&grant)?;
        ensure!(
            session.ended(Deadline::within(HOLDS_WITHIN))?,
            "through {} a revocation takes longer than {HOLDS_WITHIN:?}",
            self.name
        );
        Ok(())
    }
}

fn hosts_live_behind_a_balancer_that_ends_tls_as_the_guide_sets_it_up(links: &Links) -> Result<()> {
    let host = &links.fleet.web2;
    let log = journal(host)?;
    let balancer = Balancer::before(links, host, &Balancer::of_the_guide()?)?;
    balancer.grants_and_revokes(host)?;
    links.fleet.server.sh("systemctl reload nginx.service")?;
    balancer.grants_and_revokes(host)?;
    links.fleet.server.sh("systemctl restart nginx.service")?;
    wait_until_current(host)?;
    balancer.grants_and_revokes(host)?;
    let said = log.stdout();
    ensure!(!since_enrolled(&said)?.contains("one by one"), "{said}");
    Ok(())
}

fn behind_a_proxy_that_holds_streams_back_hosts_hear_as_soon_as_elsewhere(
    links: &Links,
) -> Result<()> {
    let host = &links.fleet.web2;
    let log = journal(host)?;
    let settings = Balancer::of_the_guide()?.replace("proxy_buffering off", "proxy_buffering on");
    let balancer = Balancer::before(links, host, &settings)?;
    log.says("asked for one by one", Deadline::seconds(20))?;
    for _ in 0..3 {
        balancer.grants_and_revokes(host)?;
    }
    let said = log.stdout();
    let (_, since) = said
        .rsplit_once("carrying between")
        .context("not enrolled")?;
    let why = "its stream said nothing for 4 s while another call was answered";
    ensure!(since.contains(why), "{said}");
    ensure!(since.matches("one by one").count() == 1, "{said}");
    Ok(())
}

fn behind_a_proxy_that_cuts_what_lasts_hosts_hear_all_the_same(links: &Links) -> Result<()> {
    let host = &links.fleet.web2;
    let guide = Balancer::of_the_guide()?;
    let settings = guide.replace("proxy_read_timeout 60s", "proxy_read_timeout 3s");
    ensure!(settings != guide, "the guide has another time");
    let balancer = Balancer::before(links, host, &settings)?;
    let log = journal(host)?;
    log.says("asked for one by one", Deadline::seconds(40))?;
    for _ in 0..3 {
        balancer.grants_and_revokes(host)?;
    }
    Ok(())
}
