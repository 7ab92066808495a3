//! The survivor table: every way out of a session that a person can start, all in one grant's window, counted 5 s after its end.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::group::Promise;
use jit_tests::image::Release;
use jit_tests::packages;
use jit_tests::people::password;
use jit_tests::promises;
use jit_tests::run::Running;
use jit_tests::site::{GATED, Granted, Site};
use jit_tests::ssh::Ssh;
use jit_tests::terminal::Terminal;
use jit_tests::wait::{self, Deadline};

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        nothing_outlives_its_grant,
        nothing_a_person_starts_outlives_a_grant_while_jitd_is_stopped,
        nothing_a_person_starts_outlives_a_grant_when_jitd_is_gone_for_good,
        nothing_a_person_starts_outlives_a_grant_when_jitd_is_removed,
    ];
    jit_tests::group::keep_with("survivors", Site::enforcing, calm, promises)
}

/// Who can start it, and so what is asked of its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// No more than a login: it ends whatever becomes of jitd.
    Login,
    /// An elevation.
    Root,
    /// An elevation, to put it where only root can: it may go on, and is then listed as residue.
    RootToHide,
}
use Needs::{Login, Root, RootToHide};

struct Way {
    name: &'static str,
    /// The command line of its processes without the path, or, of a forwarding, a part of its client's.
    mark: &'static str,
    needs: Needs,
    /// The elevation's residue has it where a path of this kind contains this.
    residue: &'static str,
}

const fn way(name: &'static str, mark: &'static str, needs: Needs) -> Way {
    Way {
        name,
        mark,
        needs,
        residue: "",
    }
}

const fn hidden(name: &'static str, mark: &'static str, residue: &'static str) -> Way {
    Way {
        name,
        mark,
        needs: RootToHide,
        residue,
    }
}

const WAYS: &[Way] = &[
    way("foreground shell", "sleep 8801", Login),
    way("nohup", "sleep 8802", Login),
    way("nohup, then logout", "sleep 8803", Login),
    way("setsid", "sleep 8804", Login),
    way("double fork", "sleep 8805", Login),
    way("disown", "sleep 8806", Login),
    way("tmux", "sleep 8807", Login),
    way("screen", "sleep 8808", Login),
    way("systemd-run --user", "sleep 8809", Login),
    way("... TimeoutStopSec=infinity", "sleep 8810", Login),
    way("systemd-run --user --scope", "sleep 8811", Login),
    way("a lingering user service", "sleep 8812", Login),
    way("a user timer", "sleep 8813", Login),
    way("at", "sleep 8814", Login),
    way("cron", "sleep 8815", Login),
    way("ssh -N -L", "8816:localhost:22", Login),
    way("ControlMaster", "sleep 8817", Login),
    way("... a second channel", "sleep 8818", Login),
    way("sftp in flight", "sftp-server -u 0027", Login),
    way("scp in flight", "scp -f big", Login),
    way("agent forwarding", "sleep 8821", Login),
    way("ssh to localhost from inside", "sleep 8822", Login),
    way("ignored SIGTERM and SIGHUP", "sleep 8823", Login),
    way("a burst of 500", "sleep 8824", Login),
    way("SIGSTOPped", "sleep 8825", Login),
    way("ptraced", "sleep 8826", Login),
    way("a frozen cgroup", "sleep 8827", Login),
    way("sudo -b", "sleep 8840", Root),
    way("sudo -i with jobs", "sleep 8841", Root),
    way("sudo su -, setsid", "sleep 8842", Root),
    way("sudo -i, setsid", "sleep 8843", Root),
    way("su - other from an elevation", "sleep 8844", Root),
    way("sudo inside sudo", "sleep 8845", Root),
    way("su", "sleep 8846", Root),
    way("sudo tmux", "sleep 8847", Root),
    way("moved out when told to go", "sleep 8856", Root),
    way("t15: sudo -u other, a unit", "sleep 8848", Root),
    way("t15: sudo -u other, at", "sleep 8849", Root),
    hidden(
        "t15: sudo -u other, a crontab",
        "sleep 8850",
        "/var/spool/cron/crontabs/alice",
    ),
    hidden("moved to another cgroup", "sleep 8851", "/hidden"),
    hidden("sudo systemd-run", "sleep 8852", "left-8852"),
    hidden("sudo at", "sleep 8853", "/var/spool/cron/at"),
    way("pkexec", "sleep 8854", Root),
    hidden("run0", "sleep 8855", "run-"),
];

/// run0 came with systemd 256. pkexec's own agent never gets an answer from polkit 122, gated or not ("No session for cookie", mended in
/// polkit 125), so that over ssh nobody has pkexec on Debian 12.
fn ways(site: &Site) -> impl Iterator<Item = &'static Way> {
    let missing: &[&str] = match site.host.release() {
        Release::Bookworm => &["run0", "pkexec"],
        Release::Trixie => &[],
    };
    WAYS.iter().filter(|way| !missing.contains(&way.name))
}

/// What needs a login alone; the login stays open.
const AS_BOB: &str = r#"
exec </dev/null >/tmp/survivors-bob.log 2>&1
echo '* * * * * exec sleep 8815' | crontab -
sleep 8801 &
nohup sleep 8802 &
setsid sleep 8804 &
( ( setsid sleep 8805 & ) & )
sleep 8806 & disown
tmux -L survivors new-session -d 'exec sleep 8807'
screen -dmS survivors sh -c 'exec sleep 8808'
systemd-run --user -q sh -c 'exec sleep 8809'
systemd-run --user -q -p KillSignal=SIGCONT -p TimeoutStopSec=infinity sh -c 'exec sleep 8810'
systemd-run --user -q --scope setsid sleep 8811 &
systemd-run --user -q --on-active=1s --timer-property=AccuracySec=100ms sh -c 'exec sleep 8813'
echo 'exec sleep 8814' | at now
ssh -oBatchMode=yes bob@localhost 'exec sleep 8822' &
( trap '' TERM HUP; exec setsid sleep 8823 ) &
( for i in $(seq 500); do sleep 8824 & done; wait ) &
sleep 8825 &
until pgrep -fx "sleep 8825"; do :; done; pkill -STOP -fx "sleep 8825"
strace -o /dev/null sleep 8826 &
systemd-run --user -q --unit=frozen sh -c 'exec sleep 8827'
until [ "$(systemctl --user show -P SubState frozen)" = running ] && pgrep -fx 'sleep 8827'; do :; done
echo 1 > "/sys/fs/cgroup$(systemctl --user show -P ControlGroup frozen)/cgroup.freeze"
mkdir -p ~/.config/systemd/user/default.target.wants
wait"#;

/// What needs an elevation.
const AS_ROOT: &str = r#"
exec </dev/null >/tmp/survivors-root.log 2>&1
echo '* * * * * exec sleep 8850' | sudo -u alice crontab -
sudo -b sleep 8840
sudo -i sh -c 'sleep 8841 & wait' &
sudo su - -c 'setsid sleep 8842 & sleep 3600' &
sudo -i sh -c 'setsid sleep 8843 & sleep 3600' &
sudo su - alice -c 'setsid sleep 8844 & sleep 3600' &
sudo sudo sleep 8845 &
sudo sh -c "tmux -L survivors new-session -d 'exec sleep 8847'; sleep 3600" &
sudo -u alice env XDG_RUNTIME_DIR=/run/user/$(id -u alice) systemd-run --user -q --unit=left-8848 sh -c 'exec sleep 8848'
# A job begins where it was asked for, and Debian 13 lets nobody else into a home.
(cd / && echo 'exec sleep 8849' | sudo -u alice at now)
sudo sh -c 'mkdir -p /sys/fs/cgroup/hidden; echo $$ > /sys/fs/cgroup/hidden/cgroup.procs; setsid sleep 8851 & sleep 3600' &
sudo bash -c 'mkdir -p /sys/fs/cgroup/late; ( trap "" TERM HUP; exec sleep 8856 ) & p=$!; trap "" HUP
    trap "echo $p > /sys/fs/cgroup/late/cgroup.procs" TERM; wait $p; wait $p' &
sudo systemd-run -q --unit=left-8852 sleep 8852
echo 'exec sleep 8853' | sudo at now
wait"#;

/// polkit loses an authentication now and then where several go on at a time ("No session for cookie"). What did start must end.
const MAY_NOT_START: [&str; 2] = ["pkexec", "run0"];

/// What one variant leaves, taken away by root outside of any elevation.
const CLEAN: &str = r#"
for user in alice bob; do crontab -u $user -r 2>/dev/null || true; done
systemctl stop left-8852 2>/dev/null || true
for job in $(atq | cut -f1); do atrm $job; done
pkill -KILL -f '^sleep 88[0-9][0-9]$' || true
rm -rf /var/lib/systemd/linger/bob /home/bob/.config/systemd /tmp/sftp-8819 /tmp/scp-8820
truncate -s 20G /home/bob/big; chown bob: /home/bob/big
rmdir /sys/fs/cgroup/hidden /sys/fs/cgroup/late 2>/dev/null || true"#;

/// What helps to find out why a way did not start, or did not end.
const LOGS: &str = r#"
tail -n 20 /tmp/survivors-*.log
journalctl --no-pager --quiet --since=-30s | grep -E 'user@|polkit|jit-end' | cut -c 1-400 | tail -n 40
systemctl status --no-pager "user@$(id -u bob).service" 2>&1 | tail -n 30 || true"#;

fn calm(site: &Site) -> Result<()> {
    site.calm()?;
    site.host.sh(CLEAN).map(drop)
}

/// Connections that stay open as long as the host lets them.
#[derive(Default)]
struct Started {
    clients: Vec<Running>,
    terminals: Vec<Terminal>,
    /// What those said that did not ask for a password.
    unasked: Vec<String>,
}

/// Starts every way under the grant of bob's; alice's own lasts longer.
fn start(site: &Site) -> Result<Started> {
    let ssh = || Ssh::new(&site.host, "bob");
    let mut started = Started::default();
    site.host.sh(
        "install -d -o bob -g bob /home/bob/.config/systemd/user/default.target.wants
         printf '[Service]\nExecStart=/bin/sleep 8812\n' > /home/bob/.config/systemd/user/linger.service",
    )?;
    started.clients.push(ssh().start(AS_BOB)?);
    started.clients.push(ssh().start(AS_ROOT)?);
    site.host.sh("loginctl enable-linger bob")?;
    ssh().run("nohup setsid sleep 8803 >/dev/null 2>&1 </dev/null & systemctl --user daemon-reload; systemctl --user start linger")?
        .succeeded()?;
    started
        .clients
        .push(ssh().option("-N").option("-L8816:localhost:22").start("")?);
    let master = ssh()
        .option("-oControlMaster=yes")
        .option("-oControlPath=/tmp/master-8817");
    started.clients.push(master.start("exec sleep 8817")?);
    site.wait_until_runs("sleep 8817", Deadline::seconds(10))?;
    let second = ssh().option("-oControlPath=/tmp/master-8817");
    started.clients.push(second.start("exec sleep 8818")?);
    for (words, input) in [
        (
            &[
                "sftp",
                "-l",
                "100",
                "-s",
                "/usr/lib/openssh/sftp-server -u 0027",
                "-b",
                "-",
                "bob@localhost",
            ][..],
            "get big /tmp/sftp-8819\n",
        ),
        (
            &[
                "scp",
                "-O",
                "-B",
                "-l",
                "100",
                "bob@localhost:big",
                "/tmp/scp-8820",
            ][..],
            "",
        ),
        (
            &[
                "ssh-agent",
                "ssh",
                "-A",
                "-oBatchMode=yes",
                "bob@localhost",
                "test -S $SSH_AUTH_SOCK && exec sleep 8821",
            ][..],
            "",
        ),
    ] {
        started
            .clients
            .push(site.host.command(words).user("bob").input(input).start()?);
    }
    let mut asked = vec!["su -c 'exec sleep 8846'"];
    if site.host.release() == Release::Trixie {
        asked.extend(["pkexec sleep 8854", "run0 sleep 8855"]);
    }
    for command in asked {
        let mut terminal = ssh().open(command)?;
        // A way that asks for nothing shows as not started.
        if let Err(error) = terminal.answers("assword", &password("root"), Deadline::seconds(10)) {
            started.unasked.push(format!("{command}: {error:#}"));
        }
        started.terminals.push(terminal);
    }
    Ok(started)
}

/// How many processes of each way live.
fn count(site: &Site) -> Result<Vec<usize>> {
    let lines = site
        .host
        .command(&["ps", "-eww", "-o", "stat=,args="])
        .text()?;
    let commands: Vec<&str> = lines
        .lines()
        .filter(|line| !line.trim_start().starts_with('Z'))
        .filter_map(|line| {
            line.trim()
                .split_once(' ')
                .map(|(_, command)| command.trim())
        })
        .collect();
    Ok(ways(site)
        .map(|way| {
            // By whatever path it was called; a client's end says less than its server's, since it drains its pipes first.
            let own = |command: &&&str| {
                command.rsplit('/').next() == Some(way.mark)
                    || (way.mark.contains(":localhost:") && command.contains(way.mark))
            };
            commands.iter().filter(own).count()
        })
        .collect())
}

/// A window that has a whole minute in it, for cron, and time enough for all to start.
fn window(site: &Site) -> Result<u64> {
    let second: u64 = site.host.sh("date +%S")?.trim().parse()?;
    let minute = 60 - second;
    let minute = if minute < 12 { minute + 60 } else { minute };
    Ok((minute + 12).max(50))
}

/// The table, printed; the ways that did not start, ended early or outlived their grant without leave.
fn table(
    site: &Site,
    variant: &str,
    harm: impl FnOnce(&Site) -> Result<()>,
    with_jitd: bool,
) -> Result<()> {
    site.open("alice", "keeper", 900)?;
    let _alice = Ssh::new(&site.host, "alice").start("exec sleep 3600")?;
    let granted = site.open("bob", "keeper", window(site)?)?;
    let mut started = start(site)?;
    let before = |margin| granted.left().saturating_sub(Duration::from_secs(margin));
    thread::sleep(before(8));
    let running = count(site)?;
    thread::sleep(before(3));
    harm(site)?;
    let at_harm = count(site)?;
    let early = granted.left().is_zero();
    thread::sleep(granted.left() + Duration::from_secs(5));
    let alive = count(site)?;
    let listed = if with_jitd {
        residue(site, &granted)?
    } else {
        String::new()
    };
    let unasked = std::mem::take(&mut started.unasked).join("\n");
    drop(started);
    let mut text = format!(
        "\n{variant} ({})\n{:<32} {:>7} {:>9} {:>9} residue\n",
        site.host.release().name(),
        "way",
        "started",
        "3 s left",
        "after 5 s"
    );
    let mut wrong = Vec::new();
    for (index, way) in ways(site).enumerate() {
        let in_residue = !way.residue.is_empty() && listed.contains(way.residue);
        let (ran, left, outlived) = (running[index], at_harm[index], alive[index]);
        text += &format!(
            "{:<32} {ran:>7} {left:>9} {outlived:>9} {}\n",
            way.name,
            if in_residue { "listed" } else { "" }
        );
        // Without jitd nothing is asked of what needs an elevation.
        let asked = with_jitd || way.needs == Login;
        if ran == 0 && asked && !MAY_NOT_START.contains(&way.name) {
            wrong.push(format!("{} did not start", way.name));
        }
        if !early && left < ran {
            wrong.push(format!("{} ended early", way.name));
        }
        let allowed = match way.needs {
            Login => false,
            Root => !with_jitd,
            RootToHide => !with_jitd || in_residue,
        };
        if outlived > 0 && !allowed {
            wrong.push(format!("{}: {outlived} outlived the grant", way.name));
        }
    }
    writeln!(io::stdout(), "{text}")?;
    let logs = if wrong.is_empty() {
        String::new()
    } else {
        site.host.sh(LOGS)?
    };
    ensure!(wrong.is_empty(), "{}\n{unasked}\n{logs}", wrong.join("\n"));
    Ok(())
}

/// What is listed of the grant once every elevation of it has been looked at, or 15 s have gone.
fn residue(site: &Site, granted: &Granted) -> Result<String> {
    let mut listed = String::new();
    wait::eventually("the residue", Deadline::seconds(15), || {
        let audit = site.audit()?;
        let lines = audit.iter().filter(|event| {
            event["kind"] == "elevation.residue" && event["subject"] == granted.grant.as_str()
        });
        listed = lines.map(ToString::to_string).collect();
        Ok(["left-8852", "/var/spool/cron/at", "crontabs/alice"]
            .iter()
            .all(|path| listed.contains(path))
            .then_some(()))
    })
    .ok();
    Ok(listed)
}

fn nothing_outlives_its_grant(site: &Site) -> Result<()> {
    table(site, "jitd alive", |_| Ok(()), true)
}

fn nothing_a_person_starts_outlives_a_grant_while_jitd_is_stopped(site: &Site) -> Result<()> {
    let table = table(
        site,
        "jitd stopped",
        |site| {
            site.host
                .sh("kill -STOP $(systemctl show -P MainPID jitd)")
                .map(drop)
        },
        false,
    );
    site.host.sh("pkill -CONT -x jitd || true")?;
    site.mend_jitd()?;
    table
}

fn nothing_a_person_starts_outlives_a_grant_when_jitd_is_gone_for_good(site: &Site) -> Result<()> {
    let kill = "systemctl mask --runtime --quiet jitd.service; systemctl kill --signal=KILL jitd";
    let table = table(
        site,
        "jitd killed",
        |site| site.host.sh(kill).map(drop),
        false,
    );
    site.mend_jitd()?;
    table
}

/// The lines in /etc/pam.d go first, so the host is open to everybody afterwards; what is open must end on time all the same.
fn nothing_a_person_starts_outlives_a_grant_when_jitd_is_removed(site: &Site) -> Result<()> {
    let table = table(
        site,
        "jitd removed",
        |site| site.host.sh("dpkg --remove jitd").map(drop),
        false,
    );
    packages::install(&site.host, &packages::built("jitd")?)?.succeeded()?;
    site.mend_jitd()?;
    site.admin(&[&["gate"], &GATED[..]].concat())?;
    site.enforce()?;
    table
}
