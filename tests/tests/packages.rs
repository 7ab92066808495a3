//! Installing, upgrading, removing and purging the packages leaves a host that lets people in, and no trace that it should not.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use jit_tests::fleet::wait_until_current;
use jit_tests::group::Promise;
use jit_tests::host::{Host, Options};
use jit_tests::image::Release;
use jit_tests::site::Site;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use jit_tests::{packages, people, promises};

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        an_installed_host_runs_its_daemons_and_nothing_failed,
        installing_again_changes_nothing,
        what_the_old_module_began_the_upgraded_daemon_decides_and_ends,
        an_upgrade_keeps_mode_grants_and_sessions,
        the_sender_of_webhooks_runs_as_the_guide_sets_it_up_and_tells_what_happens,
        a_copy_of_the_record_goes_along_and_is_put_back_as_the_guide_has_it,
        t8_a_package_that_brings_its_own_pam_file_is_told_on_the_terminal_and_upstream,
        a_host_reboots_with_everything_up,
        removing_an_enforcing_host_ungates_it_first_and_lets_people_in,
        installed_again_after_removal_it_watches_and_refuses_nobody,
    ];
    let sites = jit_tests::group::keep("packages", Site::enforcing, promises);
    let promises: &[Promise<Host>] = promises![
        without_a_server_an_installed_host_lets_people_in,
        a_server_that_was_purged_is_made_again_from_its_backup_as_the_guide_has_it,
        purged_the_packages_leave_no_trace,
    ];
    let hosts = jit_tests::group::keep("packages", bare, promises);
    if sites == ExitCode::SUCCESS {
        hosts
    } else {
        sites
    }
}

fn bare(release: Release) -> Result<Host> {
    let host = Host::boot(release, &Options::default())?;
    people::settle(&host)?;
    Ok(host)
}

fn nothing_failed(host: &Host) -> Result<()> {
    let failed = host.sh("systemctl --failed --no-legend --plain")?;
    ensure!(failed.trim().is_empty(), "failed: {failed}");
    Ok(())
}

fn an_installed_host_runs_its_daemons_and_nothing_failed(site: &Site) -> Result<()> {
    for unit in [
        "jitd.service",
        "jitd-sync.service",
        "jit-server.service",
        "jitd-pam.socket",
        "jitd-ctl.socket",
        "jitd-sync.socket",
    ] {
        site.host
            .run(&["systemctl", "is-active", unit])?
            .succeeded()?;
    }
    for page in ["jitd.8", "jitctl.1", "jit-server.8"] {
        let pages = site
            .host
            .sh(&format!("find /usr/share/man -name '{page}*' | wc -l"))?;
        // mmdebstrap's image keeps man pages; a host that drops them (localepurge, docker) would show none.
        ensure!(
            pages.trim() != "0" || page == "jit-server.8",
            "no man page {page}"
        );
    }
    nothing_failed(&site.host)
}

fn installing_again_changes_nothing(site: &Site) -> Result<()> {
    let before = site
        .host
        .sh("cat /etc/pam.d/sshd /etc/pam.d/sudo /etc/jit/*; find /etc/jit-server -type f -exec cat {} +")?;
    packages::install_both(&site.host)?;
    let after = site
        .host
        .sh("cat /etc/pam.d/sshd /etc/pam.d/sudo /etc/jit/*; find /etc/jit-server -type f -exec cat {} +")?;
    ensure!(before == after, "settings changed:\n{before}\n---\n{after}");
    site.wait_until_current()?;
    Ssh::new(&site.host, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])
        .map(drop)
}

/// A sudo that waits for a password has its modules already, so an upgrade leaves it with the old one. Real is the old file that is still
/// mapped, and its calls to the new jitd; both are of the same source, so how they differ is for the golden files of jit_local.
fn what_the_old_module_began_the_upgraded_daemon_decides_and_ends(site: &Site) -> Result<()> {
    let granted = site.open("alice", "operator", 600)?;
    let mut login = Ssh::new(&site.host, "alice")
        .open("sudo -k sh -c 'id -u; echo is the user; sleep 7403'")?;
    login.sees("assword", Deadline::seconds(10))?;
    let folder = tempfile::tempdir()?;
    let later = packages::raised(&packages::built("jitd")?, folder.path())?;
    packages::install(&site.host, &later)?.succeeded()?;
    for program in ["sudo", "sshd"] {
        let script = format!(
            "for pid in $(pgrep {program}); do grep 'pam_jit.so (deleted)' /proc/$pid/maps || true; done"
        );
        ensure!(
            !site.host.sh(&script)?.is_empty(),
            "no {program} has the old module"
        );
    }
    site.wait_until_current()?;
    login.types(&people::password("alice"))?;
    login.sees("is the user", Deadline::seconds(10))?;
    site.wait_until_runs("sleep 7403", Deadline::seconds(5))?;
    let held = site.admin(&["list", "sessions"])?;
    ensure!(held.said("elevation"), "not held: {held}");
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 7403", Deadline::seconds(4))?;
    // What was installed before, for whoever comes next.
    packages::install_both(&site.host)?;
    site.wait_until_current()
}

/// Answers every call with 204, and writes down what came.
const RECEIVER: &str = r#"
use IO::Socket::INET;
my $door = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", LocalPort => 8099, ReuseAddr => 1) or die $!;
open my $came, ">>", "/root/hooks" or die $!;
$came->autoflush(1);
while (my $call = $door->accept) {
    my $length = 0;
    while (my $line = <$call>) {
        print $came $line;
        $length = $1 if $line =~ /^content-length: (\d+)/i;
        last if $line =~ /^\r?\n$/;
    }
    read $call, my $body, $length;
    print $came "$body\n";
    print $call "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    close $call;
}
"#;

fn the_sender_of_webhooks_runs_as_the_guide_sets_it_up_and_tells_what_happens(
    site: &Site,
) -> Result<()> {
    let host = &site.host;
    let settings = "[[endpoint]]\nname = \"here\"\nurl = \"http://127.0.0.1:8099/\"\nsecret_file = \"here\"\nevents = [\"approval\", \"revocation\"]\n";
    host.write("/etc/jit-server/webhooks.toml", "0644", settings)?;
    host.write("/root/receiver.pl", "0644", RECEIVER)?;
    host.sh(concat!(
        "jit-server user add jit-webhooks --login jit-webhooks >/dev/null;",
        "cp -p /etc/jit-server/policy.toml /root/policy.toml;",
        "sed -i '1i may_audit = { users = [\"jit-webhooks\"] }' /etc/jit-server/policy.toml;",
        "(umask 077; echo \"whsec_$(head -c 32 /dev/urandom | base64)\" > /etc/jit-server/webhook-secrets/here);",
        "jit-server webhooks --check;",
        "systemd-run --quiet --unit=receiver perl /root/receiver.pl;",
        "systemctl restart jit-server-webhooks.service",
    ))?;
    let opened = site.open("alice", "operator", 600)?;
    site.revoke(&opened.grant)?;
    let (granted, revoked) = (r#""kind":"granted""#, r#""kind":"revoked""#);
    let came = wait::eventually(
        "the end of the grant to be told",
        Deadline::seconds(20),
        || {
            let came = host.sh("cat /root/hooks 2>/dev/null || true")?;
            let compact = came.replace(": ", ":").replace(", ", ",");
            Ok(compact.contains(revoked).then_some(compact))
        },
    )?;
    for part in ["webhook-id:msg_here_", "webhook-signature:v1,"] {
        ensure!(came.contains(part), "no {part} in {came}");
    }
    ensure!(
        came.find(granted) < came.find(revoked),
        "out of order: {came}"
    );
    nothing_failed(host)?;
    host.sh("systemctl stop jit-server-webhooks.service receiver.service; cp -p /root/policy.toml /etc/jit-server/policy.toml; rm /etc/jit-server/webhooks.toml /root/hooks")?;
    Ok(())
}

fn a_copy_of_the_record_goes_along_and_is_put_back_as_the_guide_has_it(site: &Site) -> Result<()> {
    let host = &site.host;
    let state = "/var/lib/jit-server";
    let record = "/var/lib/jit-server-copy/record";
    let conf = format!("JIT_SERVER_COPY_TO={record}\n");
    host.write("/etc/jit-server/copy.conf", "0644", conf)?;
    host.sh("systemctl enable --quiet --now jit-server-copy")?;
    let granted = site.open("alice", "operator", 600)?;
    let login = Ssh::new(host, "alice").start("sleep 7411")?;
    site.wait_until_runs("sleep 7411", Deadline::seconds(5))?;
    // Nothing may come between the copy and the stop: a copy without it is an older one.
    host.sh("systemctl stop jitd-sync.service")?;
    let last = site.admin(&["audit", "list", "--json"])?;
    let last: serde_json::Value = serde_json::from_str(&last.stdout)?;
    let events = last.as_array().context("no list of events")?;
    let last = events
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .max();
    let last = last.context("no event")?;
    wait::eventually("the copy to come along", Deadline::seconds(10), || {
        let status = host.sh("systemctl show --property=StatusText --value jit-server-copy")?;
        let come_to = status.trim().strip_prefix("come to event ");
        let come_to = come_to.and_then(|number| number.parse::<u64>().ok());
        Ok(come_to.is_some_and(|come_to| come_to >= last).then_some(()))
    })?;
    host.sh(&format!(
        "systemctl stop jit-server-tls.socket jit-server.socket jit-server.service;\
         if systemctl is-active --quiet jit-server-copy; then exit 1; fi;\
         mkdir /root/before; mv {state}/jit-server.db* /root/before/;\
         cp --archive {record}/jit-server.db* {state}/;\
         mv {record} /root/copy-that-was-put-back;\
         systemctl start jit-server-tls.socket jit-server.socket jit-server.service;\
         systemctl start jitd-sync.service"
    ))?;
    // Made without --name it has no certificate, so that it could not start where it were handed that socket.
    let listens = host.run(&["systemctl", "is-active", "jit-server-tls.socket"])?;
    ensure!(listens.code == Some(3), "it listens for TLS: {listens}");
    site.wait_until_current()?;
    ensure!(login.alive()?, "the login ended, though nothing was lost");
    Ssh::new(host, "alice").run("true")?.succeeded()?;
    let standing = host.command(&["jit-server", "restored", "--json"]).text()?;
    ensure!(
        standing.contains(r#""unconfirmed": null"#),
        "it was taken for an older copy: {standing}"
    );
    site.revoke(&granted.grant)?;
    ensure!(login.ended(Deadline::seconds(5))?, "the end is not heard");
    nothing_failed(host)?;
    host.sh("systemctl disable --quiet --now jit-server-copy; rm -r /etc/jit-server/copy.conf /root/before /root/copy-that-was-put-back").map(drop)
}

fn an_upgrade_keeps_mode_grants_and_sessions(site: &Site) -> Result<()> {
    let granted = site.open("bob", "operator", 600)?;
    let login = Ssh::new(&site.host, "bob").start("sudo sleep 7401 & sleep 7402")?;
    site.wait_until_runs("sleep 7401", Deadline::seconds(5))?;
    site.wait_until_runs("sleep 7402", Deadline::seconds(5))?;
    let folder = tempfile::tempdir()?;
    for name in ["jit-server", "jitd"] {
        let later = packages::raised(&packages::built(name)?, folder.path())?;
        packages::install(&site.host, &later)?.succeeded()?;
        let version = site
            .host
            .sh(&format!("dpkg-query -W -f '${{Version}}' {name}"))?;
        ensure!(version.ends_with("+later"), "{name} is still {version}");
    }
    site.wait_until_current()?;
    ensure!(
        login.alive()? && site.runs("sleep 7401")?,
        "the upgrade ended a session"
    );
    Ssh::new(&site.host, "bob")
        .run("sudo -n true")?
        .succeeded()?;
    Ssh::new(&site.host, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 740[12]", Deadline::seconds(4))?;
    nothing_failed(&site.host)
}

/// A package with a PAM file of its own, which `version` of it changes.
fn install_probe(host: &Host, version: &str) -> Result<String> {
    let script = format!(
        r#"
        rm -rf /root/probe; mkdir -p /root/probe/DEBIAN /root/probe/etc/pam.d
        printf 'Package: probe\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: probe\n' \
            > /root/probe/DEBIAN/control
        echo /etc/pam.d/probe > /root/probe/DEBIAN/conffiles
        printf '# {version}\naccount required pam_permit.so\n' > /root/probe/etc/pam.d/probe
        dpkg-deb --root-owner-group --build /root/probe /root/probe.deb >&2
        dpkg --force-confnew --install /root/probe.deb 2>&1
    "#
    );
    host.sh(&script)
}

fn t8_a_package_that_brings_its_own_pam_file_is_told_on_the_terminal_and_upstream(
    site: &Site,
) -> Result<()> {
    let host = &site.host;
    install_probe(host, "1")?;
    host.run(&["jitctl", "gate", "probe"])?.succeeded()?;
    let listed = || host.command(&["jitctl", "list", "hosts"]).text();
    let upstream = |what: &str, here: &dyn Fn(&str) -> bool| {
        // How the host stands goes up with each heartbeat; a fresh jitd-sync begins with one.
        host.sh("systemctl restart jitd-sync.service")?;
        wait::eventually(what, Deadline::seconds(40), || {
            Ok(here(&listed()?).then_some(()))
        })
    };
    upstream("the new gate upstream", &|hosts| {
        hosts.contains("1 monitor")
    })?;
    let said = install_probe(host, "2")?;
    ensure!(
        said.contains("gates became weaker, and not by jitctl: probe (was monitor)"),
        "nothing on the terminal: {said}"
    );
    let record = host.sh("cat /var/lib/jit/events/*")?;
    ensure!(
        record.contains(r#""kind":"gate.changed","service":"probe","was":"monitor""#),
        "not in the host's record"
    );
    upstream("an alarm upstream", &|hosts| hosts.contains("alarm"))?;
    let alarms = ["jitctl", "audit", "list", "--alarms"];
    let alarms = host.command(&alarms).text()?;
    ensure!(
        alarms.contains("the gate of probe is weaker: it was monitor and is not gated"),
        "{alarms}"
    );
    let doctor = host.run(&["jitctl", "doctor"])?;
    ensure!(
        doctor.code == Some(1) && doctor.said("gates became weaker"),
        "{doctor}"
    );
    host.run(&["jitctl", "ungate", "probe"])?.succeeded()?;
    let status = host.command(&["jitctl", "status"]).text()?;
    ensure!(!status.contains("Gates lost"), "{status}");
    host.sh("dpkg --purge probe").map(drop)
}

fn a_host_reboots_with_everything_up(site: &Site) -> Result<()> {
    site.host.reboot()?;
    site.wait_until_current()?;
    site.open("alice", "visitor", 600)?;
    site.calm()?;
    nothing_failed(&site.host)
}

fn removing_an_enforcing_host_ungates_it_first_and_lets_people_in(site: &Site) -> Result<()> {
    Ssh::new(&site.host, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    packages::apt(&site.host, &["remove", "jitd"])?.succeeded()?;
    let lines = site
        .host
        .run(&["grep", "--recursive", "jit", "/etc/pam.d"])?;
    ensure!(lines.code == Some(1), "PAM files still name it: {lines}");
    Ssh::new(&site.host, "alice").run("true")?.succeeded()?;
    Ssh::new(&site.host, "bob")
        .run("sudo -n true")?
        .succeeded()?;
    nothing_failed(&site.host)
}

fn installed_again_after_removal_it_watches_and_refuses_nobody(site: &Site) -> Result<()> {
    packages::install_both(&site.host)?;
    Ssh::new(&site.host, "alice").run("true")?.succeeded()?;
    site.wait_until_current()?;
    site.admin(&["gate", "sshd", "sudo", "su"])?;
    site.enforce()?;
    Ssh::new(&site.host, "alice")
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    site.open("alice", "visitor", 600).map(drop)
}

fn without_a_server_an_installed_host_lets_people_in(host: &Host) -> Result<()> {
    host.sh(&format!("{{ {TRACES}; }} > /root/before"))?;
    packages::install_both(host)?;
    nothing_failed(host)?;
    Ssh::new(host, "alice").run("true")?.succeeded()?;
    // Gated before it is enrolled it watches, and will not be made to enforce: no grant could ever open it again.
    host.run(&["jitctl", "gate", "sshd", "sudo", "su"])?
        .succeeded()?;
    Ssh::new(host, "alice").run("true")?.succeeded()?;
    let enforce = host.run(&["jitctl", "enforce"])?;
    ensure!(
        enforce.code == Some(3),
        "it enforces without a server: {enforce}"
    );
    host.run(&["jit-server", "init"])?.succeeded()?;
    host.run(&["jit-server", "init"])?.succeeded()?;
    host.run(&[
        "jitctl",
        "enroll",
        "--server",
        "unix:/run/jit-server/api.sock",
    ])?
    .succeeded()
    .map(drop)
}

/// What docs/operations.md has root type: the block of code with this in it, as it is there.
fn typed(word: &str) -> Result<&'static str> {
    let guide = include_str!("../../docs/operations.md");
    let mut blocks = guide.split("\n```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains(word));
    block.with_context(|| format!("no block of the guide has {word}"))
}

fn a_server_that_was_purged_is_made_again_from_its_backup_as_the_guide_has_it(
    host: &Host,
) -> Result<()> {
    let add = ["jit-server", "user", "add", "alice", "--login", "alice"];
    host.run(&add)?.succeeded()?;
    let policy = host.read("/etc/jit-server/policy.toml")? + "# kept\n";
    host.write("/etc/jit-server/policy.toml", "0644", policy.clone())?;
    host.sh(typed("tar --create")?)?;
    packages::apt(host, &["purge", "jit-server"])?.succeeded()?;
    packages::install(host, &packages::built("jit-server")?)?.succeeded()?;
    host.sh(typed("tar --extract")?)?;
    ensure!(host.read("/etc/jit-server/policy.toml")? == policy);
    let users = host.run(&["jit-server", "user", "list"])?.succeeded()?;
    ensure!(users.said("alice"), "{users}");
    // The mark went with the package, so that the server can't know that nothing is missing.
    let restored = host.run(&["jit-server", "restored", "--confirm"])?;
    restored.succeeded()?;
    // The host believes it as before.
    host.sh("systemctl restart jitd-sync.service")?;
    wait_until_current(host)?;
    host.sh("rm -r /root/jit-server.tar /root/jit-server.before")
        .map(drop)
}

/// Every file, account, group, unit and timer. What changes by itself is left out.
const TRACES: &str = r"
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/tmp -o -path /root -o -path /home -o -path /var/cache \
        -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path '/var/lib/systemd/*' -o -path '/etc/*-' \
        -o -path /usr/share/man \) -prune -o -print | sort
    find /run/jit* /run/systemd/transient/*jit* 2>/dev/null || true
    sort /etc/passwd /etc/group
    systemctl list-units --all --plain --no-legend 'jit*' || true";

fn purged_the_packages_leave_no_trace(host: &Host) -> Result<()> {
    // As `init --database` has it. Left there, the next installation's init would go by a database that it was not told of.
    let settings = "/etc/systemd/system/jit-server.service.d";
    host.sh(&format!("mkdir {settings}"))?;
    host.write(
        &format!("{settings}/database.conf"),
        "0644",
        "[Service]\nEnvironment=\"JIT_SERVER_DATABASE=postgres:///jit?user=jit-server&host=/run/postgresql\"\n",
    )?;
    packages::apt(host, &["purge", "jitd", "jit-server"])?.succeeded()?;
    host.sh(&format!("{{ {TRACES}; }} > /root/after"))?;
    let traces = host.run(&["diff", "/root/before", "/root/after"])?;
    ensure!(
        traces.code == Some(0),
        "purging left (or took) something: {traces}"
    );
    Ssh::new(host, "alice").run("true")?.succeeded()?;
    host.reboot()?;
    Ssh::new(host, "alice").run("true")?.succeeded()?;
    nothing_failed(host)
}
