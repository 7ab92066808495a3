//! A server and its hosts on a network: hosts enrol with a token, hear the server over TLS, and come back after a cut.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::fleet::{Fleet, URL, at, enroll, journal, login, wait_until_current, wait_until_in};
use jit_tests::group::Promise;
use jit_tests::host::Host;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use jit_tests::{packages, promises};
use serde_json::Value;

/// From the healing of a link to what was said meanwhile.
const CURRENT_WITHIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let promises: &[Promise<Fleet>] = promises![
        one_request_opens_one_host_and_not_the_other,
        a_lock_ends_sessions_on_both_hosts_at_once,
        people_ask_and_approve_from_any_host_with_a_token_until_it_is_revoked,
        users_and_labels_are_applied_from_files,
        a_token_is_used_once_and_both_are_on_record,
        a_wrong_authority_and_a_wrong_name_are_refused_at_enrolment,
        a_server_of_another_authority_is_not_listened_to,
        a_restarted_server_is_found_again,
        a_server_that_is_upgraded_or_removed_and_installed_again_is_found_again,
        what_was_said_during_a_cut_holds_within_2_s_of_its_healing,
        t24_a_cut_host_goes_by_what_it_has_for_max_staleness_and_nothing_of_before_comes_back,
        t24_after_a_reboot_without_the_server_nothing_counts_until_it_has_spoken,
        jitd_sync_stays_small,
        one_url_after_the_other_is_tried,
        a_rotated_key_is_followed_at_once_and_after_a_sleep_through_two_rotations,
        a_token_made_before_a_rotation_still_brings_a_host_in,
        a_removed_host_ends_what_is_open_and_comes_back_with_a_token,
        an_older_copy_of_the_database_brings_back_nothing_and_no_host_is_stuck,
        where_the_signing_key_is_lost_init_says_so_and_hosts_enrol_again_by_a_new_one,
        a_host_whose_image_has_a_token_enrols_itself_when_it_boots,
        a_cloned_machine_must_enrol_again_with_a_key_of_its_own,
    ];
    jit_tests::group::keep("fleet", Fleet::enforcing, promises)
}

fn one_request_opens_one_host_and_not_the_other(fleet: &Fleet) -> Result<()> {
    let grant = fleet.grant("alice", &fleet.web1)?;
    wait_until_in(&fleet.web1, "alice", Instant::now(), Duration::from_secs(1))?;
    Ssh::new(&fleet.web2, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    fleet.revoke(&grant)
}

fn a_lock_ends_sessions_on_both_hosts_at_once(fleet: &Fleet) -> Result<()> {
    let mut open = Vec::new();
    for host in fleet.gated() {
        fleet.grant("bob", host)?;
        wait_until_in(host, "bob", Instant::now(), Duration::from_secs(1))?;
        open.push(login(host, "bob")?);
    }
    let lock = ["jitctl", "lock", "bob", "--reason", "a test locks him"];
    fleet.server.run(&lock)?.succeeded()?;
    let deadline = Deadline::seconds(5);
    for login in open {
        ensure!(login.ended(deadline)?, "a session outlived the lock");
    }
    fleet
        .server
        .run(&["jitctl", "unlock", "bob"])?
        .succeeded()
        .map(drop)
}

fn people_ask_and_approve_from_any_host_with_a_token_until_it_is_revoked(
    fleet: &Fleet,
) -> Result<()> {
    for (host, person) in [(&fleet.web2, "alice"), (&fleet.web1, "carol")] {
        let make = ["jit-server", "user", "token", person, "--for", "1h"];
        let token = fleet.server.command(&make).text()?;
        // The host pins that server's authority already.
        let login = at(host, person, &["login", "--server", URL]);
        let login = login.input(token).run()?.succeeded()?;
        ensure!(login.said(&format!("You are {person}")), "{login}");
        host.sh(&format!(
            "test $(stat -c %a /home/{person}/.config/jit/login.json) = 600"
        ))?;
    }
    let listed = at(&fleet.web2, "alice", &["list", "hosts"]).run()?;
    ensure!(listed.said("web1") && listed.said("web2"), "{listed}");
    let ask = ["request", "operator", "--host", "web1", "--for", "10m"];
    let ask = at(&fleet.web2, "alice", &ask).words(["--reason", "asked from afar", "--json"]);
    let asked: serde_json::Value = serde_json::from_str(&ask.run()?.stdout)?;
    let request = asked["id"].as_str().context("no id")?;
    at(&fleet.web2, "alice", &["approve", request])
        .run()?
        .refused_saying(&["your own"])?;
    at(&fleet.web1, "carol", &["approve", request])
        .run()?
        .succeeded()?;
    wait_until_in(&fleet.web1, "alice", Instant::now(), Duration::from_secs(1))?;
    let revoke = ["jit-server", "user", "token", "carol", "--revoke", "u2"];
    fleet.server.run(&revoke)?.succeeded()?;
    at(&fleet.web1, "carol", &["list", "requests"])
        .run()?
        .refused_saying(&["was revoked", "jitctl login"])?;
    let shown = at(&fleet.web2, "alice", &["show", request, "--json"]).text()?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let grant = shown["grants"][0].as_str().context("no grant")?;
    at(&fleet.web2, "alice", &["release", grant])
        .run()?
        .succeeded()?;
    let record = fleet.server.command(&["jitctl", "audit", "list"]).text()?;
    for kind in [
        "user_token_made",
        "user_token_revoked",
        "user_token_refused",
    ] {
        ensure!(record.contains(kind), "no {kind} in the record: {record}");
    }
    Ok(())
}

fn users_and_labels_are_applied_from_files(fleet: &Fleet) -> Result<()> {
    let server = &fleet.server;
    let grant = fleet.grant("alice", &fleet.web1)?;
    wait_until_in(&fleet.web1, "alice", Instant::now(), Duration::from_secs(1))?;
    let session = login(&fleet.web1, "alice")?;
    server.sh(
        "umask 022; mkdir /root/wanted; cp /etc/jit-server/policy.toml /root/before.toml
        sed 's/longest = .1h./longest = \"2h\"/' /root/before.toml > /root/wanted/policy.toml",
    )?;
    let users = "[users.bob]\nlogin = \"bob\"\ngroups = [\"engineers\"]\n[users.carol]\nlogin = \"carol\"\ngroups = [\"approvers\"]\n";
    let label = "[hosts.web1]\nlabels = { site = \"berlin\" }\n";
    server.write("/root/wanted/users.toml", "0644", users)?;
    server.write("/root/wanted/hosts.toml", "0644", label)?;
    let apply = ["jit-server", "apply", "/root/wanted"];
    let dry_run = || server.command(&apply).words(["--dry-run"]).run();

    let dry = dry_run()?;
    ensure!(dry.code == Some(5), "{dry}");
    let lost = format!("grant {grant} of alice");
    for part in [
        "~ role operator",
        "alice",
        "+ label site=berlin",
        lost.as_str(),
    ] {
        ensure!(dry.said(part), "no {part} in {dry}");
    }
    ensure!(session.alive()?, "a dry run ended a session");
    let known = server.run(&["jit-server", "user", "list"])?;
    ensure!(known.said("alice"), "{known}");

    server.run(&apply)?.succeeded()?;
    ensure!(
        session.ended(Deadline::seconds(5))?,
        "a session outlived its user"
    );
    Ssh::new(&fleet.web1, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    let hosts = server.run(&["jit-server", "host", "list"])?;
    ensure!(hosts.said("site=berlin"), "{hosts}");
    let installed = server.sh("stat --format=%a:%U /etc/jit-server/policy.toml; cmp /etc/jit-server/policy.toml /root/wanted/policy.toml; ls /etc/jit-server")?;
    ensure!(
        installed.starts_with("644:root") && !installed.contains("new"),
        "{installed}"
    );
    for again in [server.run(&apply)?, dry_run()?] {
        ensure!(
            again.code == Some(0) && again.said("nothing to do"),
            "{again}"
        );
    }

    // As before, with nothing of hers coming back with her name.
    let alice = "[users.alice]\nlogin = \"alice\"\ngroups = [\"engineers\"]\n";
    server.write("/root/wanted/users.toml", "0644", format!("{users}{alice}"))?;
    server.write(
        "/root/wanted/hosts.toml",
        "0644",
        "[hosts.web1]\nlabels = {}\n",
    )?;
    server.sh("mv /root/before.toml /root/wanted/policy.toml")?;
    server.run(&apply)?.succeeded()?;
    Ssh::new(&fleet.web1, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    let anew = fleet.grant("alice", &fleet.web1)?;
    ensure!(anew != grant, "{grant} is given twice");
    wait_until_in(&fleet.web1, "alice", Instant::now(), Duration::from_secs(1))?;
    fleet.revoke(&anew)?;
    server.sh("rm -r /root/wanted").map(drop)
}

fn a_token_is_used_once_and_both_are_on_record(fleet: &Fleet) -> Result<()> {
    // /root/token is the one that web2 enrolled with. It is for that name, and it is used.
    enroll(&fleet.web2, URL, "/root/ca.crt")?.succeeded()?;
    let token = fleet.web2.read("/root/token")?;
    fleet.web1.write("/root/token", "0600", token)?;
    enroll(&fleet.web1, URL, "/root/ca.crt")?.refused_saying(&["enrolment token"])?;
    let record = fleet.server.command(&["jitctl", "audit", "list"]).text()?;
    for kind in ["token_made", "host_enrolled", "enrolment_refused"] {
        ensure!(record.contains(kind), "no {kind} in the record: {record}");
    }
    Ok(())
}

/// The certificate of an authority that is not the server's, on `host`.
fn other_authority(fleet: &Fleet, host: &Host) -> Result<String> {
    let script = "rm -rf /root/other; mkdir -m 0700 /root/other; jit-server prepare --state /root/other --name server";
    let certificate = fleet.server.sh(script)?;
    host.write("/root/other.crt", "0644", certificate.clone())?;
    Ok(certificate)
}

fn a_wrong_authority_and_a_wrong_name_are_refused_at_enrolment(fleet: &Fleet) -> Result<()> {
    let host = &fleet.web2;
    fleet.carry(host, &["--name", "web2"])?;
    other_authority(fleet, host)?;
    let before = host.read("/etc/jit/trust.json")?;
    enroll(host, URL, "/root/other.crt")?.refused_saying(&["UnknownIssuer"])?;
    enroll(host, "https://10.77.0.1:7443", "/root/ca.crt")?.refused_saying(&["not valid for"])?;
    ensure!(
        host.read("/etc/jit/trust.json")? == before,
        "trust.json changed"
    );
    Ok(())
}

fn a_server_of_another_authority_is_not_listened_to(fleet: &Fleet) -> Result<()> {
    let host = &fleet.web2;
    let other = other_authority(fleet, host)?;
    let before = host.read("/etc/jit/trust.json")?;
    let ours = host.read("/root/ca.crt")?;
    let line = |text: &str| text.replace('\n', "\\n");
    ensure!(before.contains(&line(&ours)), "nothing pinned in {before}");
    let log = journal(host)?;
    trust(host, &before.replace(&line(&ours), &line(&other)))?;
    log.says("certificate is refused", Deadline::seconds(10))?;
    trust(host, &before)?;
    log.says("carrying between", Deadline::seconds(10))?;
    wait_until_current(host)
}

fn trust(host: &Host, text: &str) -> Result<()> {
    host.write("/etc/jit/trust.json", "0644", text)?;
    host.sh("systemctl restart jitd.service jitd-sync.service")
        .map(drop)
}

fn a_restarted_server_is_found_again(fleet: &Fleet) -> Result<()> {
    fleet.server.sh("systemctl restart jit-server.service")?;
    let restarted = Instant::now();
    let grant = fleet.grant("alice", &fleet.web1)?;
    wait_until_in(&fleet.web1, "alice", restarted, Duration::from_secs(5))?;
    fleet.revoke(&grant)
}

fn a_server_that_is_upgraded_or_removed_and_installed_again_is_found_again(
    fleet: &Fleet,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let built = packages::built("jit-server")?;
    let later = packages::raised(&built, folder.path())?;
    let grant = fleet.grant("alice", &fleet.web1)?;
    wait_until_in(&fleet.web1, "alice", Instant::now(), Duration::from_secs(1))?;
    let session = login(&fleet.web1, "alice")?;
    packages::install(&fleet.server, &later)?.succeeded()?;
    fleet.grant("bob", &fleet.web1)?;
    wait_until_in(&fleet.web1, "bob", Instant::now(), Duration::from_secs(5))?;
    packages::apt(&fleet.server, &["remove", "jit-server"])?.succeeded()?;
    packages::install(&fleet.server, &built)?.succeeded()?;
    ensure!(
        session.alive()?,
        "a session ended with the server's package"
    );
    fleet.revoke(&grant)?;
    let deadline = Deadline::seconds(40);
    ensure!(
        session.ended(deadline)?,
        "the host does not hear the server that was installed again"
    );
    Ok(())
}

fn what_was_said_during_a_cut_holds_within_2_s_of_its_healing(fleet: &Fleet) -> Result<()> {
    let host = &fleet.web1;
    let taken = fleet.grant("alice", host)?;
    wait_until_in(host, "alice", Instant::now(), Duration::from_secs(1))?;
    let session = login(host, "alice")?;
    let log = journal(host)?;
    fleet.network.cut("web1")?;
    log.says("server: ", Deadline::seconds(30))?;
    fleet.revoke(&taken)?;
    fleet.grant("bob", host)?;
    Ssh::new(host, "alice").run("true")?.succeeded()?;
    ensure!(session.alive()?, "the session ended with the link");
    fleet.network.mend("web1")?;
    let healed = Instant::now();
    ensure!(
        session.ended(Deadline::within(CURRENT_WITHIN))?,
        "the revoked session lives on {:.1?} after the healing",
        healed.elapsed()
    );
    wait_until_in(host, "bob", healed, CURRENT_WITHIN)?;
    Ssh::new(host, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

fn t24_a_cut_host_goes_by_what_it_has_for_max_staleness_and_nothing_of_before_comes_back(
    fleet: &Fleet,
) -> Result<()> {
    let host = &fleet.web2;
    host.sh("cp --preserve /etc/jit/jitd.toml /root/jitd.toml
        printf 'max_staleness = \"60s\"\n' >> /etc/jit/jitd.toml
        systemctl restart jitd.service")?;
    wait_until_current(host)?;
    let kept = fleet.grant("alice", host)?;
    let taken = fleet.grant("bob", host)?;
    wait_until_in(host, "alice", Instant::now(), Duration::from_secs(1))?;
    let session = login(host, "alice")?;
    fleet.network.cut("web2")?;
    let cut = Instant::now();
    fleet.revoke(&taken)?;
    Ssh::new(host, "bob").run("true")?.succeeded()?;
    ensure!(session.alive()?, "the session ended with the link");
    ensure!(
        session.ended(Deadline::seconds(65))?,
        "the session lives on {:.1?} after the cut",
        cut.elapsed()
    );
    Ssh::new(host, "alice")
        .run("true")?
        .refused_saying(&["JIT-111", "nothing heard from https://server:7443"])?;
    fleet.network.mend("web2")?;
    wait_until_in(host, "alice", Instant::now(), CURRENT_WITHIN)?;
    Ssh::new(host, "bob")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    host.sh("mv /root/jitd.toml /etc/jit/jitd.toml; systemctl restart jitd.service")?;
    fleet.revoke(&kept)
}

fn t24_after_a_reboot_without_the_server_nothing_counts_until_it_has_spoken(
    fleet: &Fleet,
) -> Result<()> {
    let host = &fleet.web1;
    let grant = fleet.grant("alice", host)?;
    wait_until_in(host, "alice", Instant::now(), Duration::from_secs(1))?;
    fleet.network.cut("web1")?;
    host.reboot()?;
    Ssh::new(host, "alice")
        .run("true")?
        .refused_saying(&["JIT-112", "nothing heard from https://server:7443 since"])?;
    // A call that nobody answers takes its time to fail.
    wait::eventually(
        "the host to say what is in the way",
        Deadline::seconds(30),
        || {
            let status = host.run(&["jitctl", "status"])?;
            let silent = status.said("nothing heard since this host started");
            Ok((silent && status.said("Trouble")).then_some(()))
        },
    )?;
    fleet.network.mend("web1")?;
    wait_until_in(host, "alice", Instant::now(), CURRENT_WITHIN)?;
    fleet.revoke(&grant)
}

fn jitd_sync_stays_small(fleet: &Fleet) -> Result<()> {
    // It has been cut off and has followed streams by now.
    let script = "grep VmRSS /proc/$(systemctl show --value --property=MainPID jitd-sync)/status";
    let said = fleet.web1.sh(script)?;
    let kib: u64 = said.split_whitespace().nth(1).unwrap_or_default().parse()?;
    ensure!(kib <= 16 * 1024, "{kib} KiB are resident");
    Ok(())
}

fn one_url_after_the_other_is_tried(fleet: &Fleet) -> Result<()> {
    let host = &fleet.web2;
    fleet.carry(host, &["--name", "web2"])?;
    // Nobody has that address.
    let urls = ["--server", "https://10.77.0.9:7443", "--server", URL];
    let enroll = host.command(&["jitctl", "enroll"]).words(urls);
    enroll
        .words(["--token-file", "/root/token", "--ca", "/root/ca.crt"])
        .run()?
        .succeeded()?;
    wait_until_current(host)
}

/// `jit-server key rotate`; gives the id of the key that signs from now on.
fn rotate(fleet: &Fleet) -> Result<String> {
    let rotated = fleet
        .server
        .command(&["jit-server", "key", "rotate", "--json"])
        .text()?;
    let rotated: Value = serde_json::from_str(&rotated)?;
    let kid = rotated["kid"].as_str().context("no kid")?;
    Ok(kid.to_owned())
}

/// Waits until that key is the only one that `host` believes.
fn wait_until_only(host: &Host, kid: &str) -> Result<()> {
    wait::eventually("the old key to go", Deadline::seconds(10), || {
        let trust: Value = serde_json::from_str(&host.read("/etc/jit/trust.json")?)?;
        let keys = trust["keys"].as_array().context("no keys")?;
        Ok((keys.len() == 1 && keys[0]["kid"] == kid).then_some(()))
    })
}

fn a_rotated_key_is_followed_at_once_and_after_a_sleep_through_two_rotations(
    fleet: &Fleet,
) -> Result<()> {
    let grant = fleet.grant("alice", &fleet.web1)?;
    wait_until_in(&fleet.web1, "alice", Instant::now(), Duration::from_secs(1))?;
    let session = login(&fleet.web1, "alice")?;
    fleet.network.cut("web2")?;
    let first = rotate(fleet)?;
    wait_until_only(&fleet.web1, &first)?;
    let second = rotate(fleet)?;
    wait_until_only(&fleet.web1, &second)?;
    ensure!(session.alive()?, "a rotation ended a session");
    fleet.network.mend("web2")?;
    wait_until_only(&fleet.web2, &second)?;
    for host in fleet.gated() {
        // What is on disk is by the new key, too.
        host.sh("systemctl restart jitd.service")?;
        wait_until_current(host)?;
        let mode = host.sh("stat --format=%a:%U /etc/jit/trust.json")?;
        ensure!(mode.trim() == "644:root", "{mode}");
    }
    let record = fleet.web2.sh("cat /var/lib/jit/events/*")?;
    for kind in ["keys.taken", "keys.proved"] {
        ensure!(record.contains(kind), "no {kind} in the record");
    }
    fleet.revoke(&grant)?;
    ensure!(
        session.ended(Deadline::seconds(5))?,
        "a revocation by the new key ended nothing"
    );
    Ok(())
}

fn a_token_made_before_a_rotation_still_brings_a_host_in(fleet: &Fleet) -> Result<()> {
    fleet.carry(&fleet.web2, &["--name", "web2"])?;
    let kid = rotate(fleet)?;
    let anew = "rm /etc/jit/trust.json /var/lib/jit/host.key; systemctl restart jitd.service";
    fleet.web2.sh(anew)?;
    enroll(&fleet.web2, URL, "/root/ca.crt")?.succeeded()?;
    wait_until_current(&fleet.web2)?;
    wait_until_only(&fleet.web2, &kid)
}

fn a_removed_host_ends_what_is_open_and_comes_back_with_a_token(fleet: &Fleet) -> Result<()> {
    let host = &fleet.web2;
    fleet.grant("bob", host)?;
    wait_until_in(host, "bob", Instant::now(), Duration::from_secs(1))?;
    let session = login(host, "bob")?;
    let log = journal(host)?;
    let remove = ["jit-server", "host", "remove", "web2"];
    fleet.server.run(&remove)?.succeeded()?;
    ensure!(
        session.ended(Deadline::seconds(5))?,
        "a session outlived its host's removal"
    );
    log.says("answered 401", Deadline::seconds(10))?;
    wait_until_unknown(host)?;
    fleet.carry(host, &["--label", "site=berlin"])?;
    enroll(host, URL, "/root/ca.crt")?.succeeded()?;
    wait_until_current(host)?;
    Ssh::new(host, "bob")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    let listed = fleet.server.run(&["jit-server", "host", "list"])?;
    ensure!(listed.said("site=berlin"), "{listed}");
    let grant = fleet.grant("alice", host)?;
    wait_until_in(host, "alice", Instant::now(), Duration::from_secs(1))?;
    fleet.revoke(&grant)
}

/// As docs/fleet.md has it.
const COPY: &str = "set -e
    systemctl stop jit-server-tls.socket jit-server.socket jit-server.service
    cp --archive /var/lib/jit-server /root/jit-server.copy
    systemctl start jit-server-tls.socket jit-server.socket jit-server.service";
const PUT_BACK: &str = "set -e
    systemctl stop jit-server-tls.socket jit-server.socket jit-server.service
    mv /var/lib/jit-server /root/jit-server.before
    cp --archive /root/jit-server.copy /var/lib/jit-server
    systemctl start jit-server-tls.socket jit-server.socket jit-server.service";

fn an_older_copy_of_the_database_brings_back_nothing_and_no_host_is_stuck(
    fleet: &Fleet,
) -> Result<()> {
    let (server, web1, web2) = (&fleet.server, &fleet.web1, &fleet.web2);
    let taken_away = fleet.grant("alice", web1)?;
    wait_until_in(web1, "alice", Instant::now(), Duration::from_secs(1))?;
    server.sh(COPY)?;
    fleet.revoke(&taken_away)?;
    // web2 is another host for the server now, of which the copy does not know.
    let anew = "rm /etc/jit/trust.json /var/lib/jit/host.key; systemctl restart jitd.service";
    web2.sh(anew)?;
    fleet.enrol(web2)?;
    let after = fleet.grant("bob", web1)?;
    wait_until_in(web1, "bob", Instant::now(), Duration::from_secs(5))?;
    let session = login(web1, "bob")?;
    let ahead = revision(web1)?;

    server.sh(PUT_BACK)?;
    ensure!(
        session.ended(Deadline::seconds(10))?,
        "a grant of which the server knows nothing goes on"
    );
    wait_until_current(web1)?;
    ensure!(revision(web1)? > ahead, "the host was rolled back");
    for person in ["alice", "bob"] {
        Ssh::new(web1, person)
            .run("true")?
            .refused_saying(&["JIT-101"])?;
    }
    wait_until_unknown(web2)?;
    let standing = server.run(&["jit-server", "restored"])?.succeeded()?;
    for told in [
        "Hosts that were told more: web1",
        "Hosts not heard of since:  web2",
    ] {
        ensure!(standing.said(told), "{standing}");
    }
    let alarms = server.run(&["jitctl", "audit", "list", "--alarms"])?;
    ensure!(
        alarms.said("an older copy of the database was put back"),
        "{alarms}"
    );
    let log = server.sh("journalctl --unit=jit-server --output=cat")?;
    ensure!(log.contains("this database is an older copy"), "{log}");
    let ask = [
        "jitctl", "request", "operator", "--host", "web1", "--for", "10m", "--reason", "too soon",
    ];
    server
        .command(&ask)
        .user("alice")
        .run()?
        .refused_saying(&["older copy"])?;
    // The host's chain goes on: its newest lines are stored, too.
    wait::eventually("web1's events", Deadline::seconds(20), || {
        let record = server
            .command(&["jitctl", "--json", "audit", "list"])
            .text()?;
        Ok(record
            .contains(&format!("\"grant\": \"{after}\""))
            .then_some(()))
    })?;

    server
        .run(&["jit-server", "restored", "--confirm"])?
        .succeeded()?;
    fleet.enrol(web2)?;
    for host in fleet.gated() {
        let grant = fleet.grant("alice", host)?;
        ensure!(
            grant.len() == "g20001".len(),
            "{grant} may be an id of before"
        );
        wait_until_in(host, "alice", Instant::now(), Duration::from_secs(5))?;
        fleet.revoke(&grant)?;
    }
    server
        .sh("rm -r /root/jit-server.copy /root/jit-server.before")
        .map(drop)
}

fn revision(host: &Host) -> Result<u64> {
    let status = host.command(&["jitctl", "status", "--json"]).text()?;
    let status: Value = serde_json::from_str(&status)?;
    status["jitd"]["revision"]
        .as_u64()
        .with_context(|| format!("no revision in {status}"))
}

/// Waits until `host` says that its server does not know it, and what to do about that.
fn wait_until_unknown(host: &Host) -> Result<()> {
    wait::eventually(
        "the host to say that it is unknown",
        Deadline::seconds(10),
        || {
            let status = host.run(&["jitctl", "status"])?;
            Ok(status
                .said("not enrolled here, or was replaced; on that host run `jitctl enroll`")
                .then_some(()))
        },
    )
}

/// As docs/database.md has it.
fn where_the_signing_key_is_lost_init_says_so_and_hosts_enrol_again_by_a_new_one(
    fleet: &Fleet,
) -> Result<()> {
    let server = &fleet.server;
    server.sh(
        "systemctl stop jit-server-tls.socket jit-server.socket jit-server.service; rm /var/lib/jit-server/signing.key",
    )?;
    let unasked = server.run(&["jit-server", "init"])?;
    ensure!(
        unasked.code == Some(1) && unasked.said("--new-key"),
        "a new key was made unasked: {unasked}"
    );
    server
        .run(&["jit-server", "init", "--new-key"])?
        .succeeded()?;
    for host in fleet.gated() {
        fleet.carry(host, &["--name", host.name()])?;
        host.sh("rm /etc/jit/trust.json; systemctl restart jitd.service")?;
        enroll(host, URL, "/root/ca.crt")?.succeeded()?;
        wait_until_current(host)?;
    }
    let grant = fleet.grant("alice", &fleet.web1)?;
    wait_until_in(&fleet.web1, "alice", Instant::now(), Duration::from_secs(1))?;
    let next = rotate(fleet)?;
    for host in fleet.gated() {
        wait_until_only(host, &next)?;
    }
    fleet.revoke(&grant)
}

fn a_host_whose_image_has_a_token_enrols_itself_when_it_boots(fleet: &Fleet) -> Result<()> {
    let host = &fleet.web2;
    let remove = ["jit-server", "host", "remove", "web2"];
    fleet.server.run(&remove)?.succeeded()?;
    fleet.carry(host, &["--uses", "10", "--label", "image=golden"])?;
    let image = "rm /etc/jit/trust.json /var/lib/jit/host.key
        install -d -m 0700 /etc/jit/enrol
        mv /root/token /root/ca.crt /etc/jit/enrol
        echo https://server:7443 > /etc/jit/enrol/server";
    host.sh(image)?;
    host.reboot()?;
    wait_until_current(host)?;
    host.sh("test ! -e /etc/jit/enrol/token")?;
    let listed = fleet.server.run(&["jit-server", "host", "list"])?;
    ensure!(listed.said("image=golden"), "{listed}");
    Ok(())
}

fn a_cloned_machine_must_enrol_again_with_a_key_of_its_own(fleet: &Fleet) -> Result<()> {
    let host = &fleet.web2;
    let key = || host.sh("sha256sum /var/lib/jit/host.key");
    let original = key()?;
    fleet.grant("alice", host)?;
    wait_until_in(host, "alice", Instant::now(), Duration::from_secs(1))?;
    host.write(
        "/etc/machine-id",
        "0444",
        "0123456789abcdef0123456789abcdef\n",
    )?;
    host.sh("systemctl restart jitd.service")?;
    Ssh::new(host, "alice")
        .run("true")?
        .refused_saying(&["JIT-110"])?;
    fleet.enrol(host)?;
    ensure!(key()? != original, "the key of another machine");
    wait_until_in(host, "alice", Instant::now(), Duration::from_secs(1)).map(drop)
}
