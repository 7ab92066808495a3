//! A program with an account of its own, on a machine of its own: it asks as docs/services.md has it, gets in while that is granted, and not
//! otherwise.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::fleet::{Fleet, URL, at, wait_until_lets_in};
use jit_tests::group::{Promise, Stage};
use jit_tests::host::Host;
use jit_tests::image::Release;
use jit_tests::promises;
use jit_tests::run::Outcome;
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};

/// Nobody has to approve what it asks for.
const ROLE: &str = r#"
[roles.web-deploy]
description = "Bring out what was built"
hosts = ["web*"]
actions = ["ssh"]
longest = "1h"
may_ask = { groups = ["automation"] }
approve = { auto = true, because = "what it may run there is in its account's hands alone" }
"#;

/// What the program does, and when. A bundle may be on its way when the grant is there, so it waits until the host lets it in.
const SERVICE: &str = r#"[Service]
Type=oneshot
User=deploy
ExecStart=jitctl ensure web-deploy --host web1 --min-left 20m --for 30m --reason "the nightly deployment"
ExecStart=timeout 30 sh -c 'until ssh -oBatchMode=yes deploy@web1 true; do sleep 1; done'
ExecStart=ssh -oBatchMode=yes deploy@web1 "date >> deployed"
"#;
const TIMER: &str = "[Timer]\nOnActiveSec=1s\nAccuracySec=100ms\n";
const ENSURE: [&str; 8] = [
    "ensure",
    "web-deploy",
    "--host",
    "web1",
    "--min-left",
    "20m",
    "--for",
    "30m",
];
/// Where its key is on the server's machine.
const KEY: &str = "/root/deploy.pub";
/// A grant that was taken away is not believed by the host for longer.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let promises: &[Promise<Automation>] = promises![
        at_the_socket_it_is_nobody,
        a_token_is_for_its_scope_alone,
        its_timer_gets_it_in_and_its_key_alone,
        it_is_refused_when_its_grant_is_taken_away,
        it_goes_on_with_the_token_that_it_rotated_and_with_the_one_that_root_did,
        outside_of_its_hours_it_is_refused,
        without_its_token_it_is_nobody,
    ];
    jit_tests::group::keep("service_accounts", Automation::set, promises)
}

/// The hosts, and the machine that the program runs on.
struct Automation {
    fleet: Fleet,
    desk: Host,
}

impl Automation {
    fn set(release: Release) -> Result<Self> {
        let fleet = Fleet::enforcing(release)?;
        let desk = fleet.desk("deploy")?;
        let server = &fleet.server;
        let policy = server.read("/etc/jit-server/policy.toml")? + ROLE;
        server.write("/etc/jit-server/policy.toml", "0644", policy)?;
        let key = desk.read("/home/deploy/.ssh/id_ed25519.pub")?;
        server.write(KEY, "0644", key)?;
        let add = "jit-server user add deploy --login deploy --group automation --service";
        server.sh(&format!("jit-server policy check; {add} --key {KEY}"))?;
        desk.write("/etc/systemd/system/deploy.service", "0644", SERVICE)?;
        desk.write("/etc/systemd/system/deploy.timer", "0644", TIMER)?;
        desk.sh("systemctl daemon-reload")?;
        Ok(Self { fleet, desk })
    }

    /// The program takes a token out of a file, and is known by it from then on.
    fn logs_in(&self, token: String) -> Result<()> {
        let desk = &self.desk;
        desk.write("/home/deploy/token", "0600", token)?;
        desk.sh("chown deploy: /home/deploy/token")?;
        let login = ["login", "--server", URL, "--ca", "/etc/jit-server-ca.crt"];
        let login = at(desk, "deploy", &login).words(["--token-file", "/home/deploy/token"]);
        let login = login.run()?.succeeded()?;
        ensure!(login.said("deploy"), "{login}");
        Ok(())
    }

    fn logs_in_with_scope(&self, scope: &str) -> Result<()> {
        let make = ["jit-server", "user", "token", "deploy", "--scope", scope];
        let make = self.fleet.server.command(&make);
        self.logs_in(make.words(["--scope", "read", "--for", "90d"]).text()?)
    }

    /// What comes of asking, now.
    fn ensures(&self) -> Result<Outcome> {
        let ensure = at(&self.desk, "deploy", &ENSURE);
        ensure.words(["--reason", "a test needs it"]).run()
    }

    /// Its key, from its machine.
    fn connects(&self) -> Ssh<'_> {
        Ssh::new(&self.desk, "deploy").to("web1")
    }

    fn hours(&self, from: i32, to: i32) -> Result<()> {
        let hour = |hours: i32| {
            self.fleet
                .server
                .sh(&format!("date -u -d '{hours} hours' +%H:%M"))
        };
        let hours = format!("mon-sun {} to {} UTC", hour(from)?.trim(), hour(to)?.trim());
        let add = ["jit-server", "user", "add", "deploy", "--login", "deploy"];
        let add = self.fleet.server.command(&add);
        let as_before = ["--group", "automation", "--service", "--key", KEY];
        add.words(as_before)
            .words(["--hours", &hours])
            .run()?
            .succeeded()
            .map(drop)
    }

    /// A call was refused with this code, and the record has it.
    fn refused_on_record(&self, code: &str) -> Result<()> {
        let list = self
            .fleet
            .server
            .command(&["jitctl", "audit", "list", "--json"]);
        let record = list.text()?;
        let found = record.contains(&format!("\"{code}\""));
        ensure!(found, "no {code} in the record: {record}");
        Ok(())
    }

    /// The newest of its tokens that counts.
    fn newest_token(&self) -> Result<String> {
        let list = ["jit-server", "user", "token", "deploy", "--list"];
        let listed = self.fleet.server.command(&list).text()?;
        let ids = listed
            .split_whitespace()
            .filter_map(|word| word.strip_prefix('u')?.parse().ok());
        let newest: u32 = ids.max().with_context(|| format!("no token: {listed}"))?;
        Ok(format!("u{newest}"))
    }
}

impl Stage for Automation {
    fn last_words(&self) -> String {
        let desk = format!("-- desk\n{}", self.desk.last_words());
        [self.fleet.last_words(), desk].join("\n")
    }
}

fn at_the_socket_it_is_nobody(automation: &Automation) -> Result<()> {
    let asks = automation
        .fleet
        .server
        .command(&["jitctl", "list", "requests"]);
    asks.user("deploy").run()?.refused_saying(&["token"])?;
    automation.refused_on_record("service-needs-token")
}

fn a_token_is_for_its_scope_alone(automation: &Automation) -> Result<()> {
    automation.logs_in_with_scope("ask:web-deploy@web-*")?;
    automation.ensures()?.refused_saying(&["token"])?;
    automation
        .connects()
        .run("true")?
        .refused_saying(&["JIT-101"])?;
    automation.logs_in_with_scope("ask:web-deploy@web*")
}

fn its_timer_gets_it_in_and_its_key_alone(automation: &Automation) -> Result<()> {
    automation.hours(-1, 2)?;
    automation.desk.sh("systemctl start deploy.timer")?;
    wait::eventually("the timer to have it done", Deadline::seconds(60), || {
        let done = automation
            .fleet
            .web1
            .run(&["test", "-s", "/home/deploy/deployed"])?;
        Ok((done.code == Some(0)).then_some(()))
    })?;
    // The same login opens to nobody else's key, though sshd takes that one.
    Ssh::new(&automation.fleet.web1, "dora")
        .login("deploy")
        .run("true")?
        .refused_saying(&["JIT-"])
        .map(drop)
}

fn it_is_refused_when_its_grant_is_taken_away(automation: &Automation) -> Result<()> {
    automation.ensures()?.succeeded()?;
    wait_until_lets_in(&automation.connects(), Instant::now(), HEARD_WITHIN)?;
    let open = automation.connects().start("echo in; sleep 7003")?;
    open.says("in", Deadline::seconds(10))?;
    let server = &automation.fleet.server;
    let grants = "jitctl list grants --json | grep -o '\"id\": *\"g[0-9]*\"' | grep -o 'g[0-9]*'";
    for grant in server.sh(grants)?.split_whitespace() {
        let revoke = [
            "jitctl",
            "revoke",
            grant,
            "--reason",
            "a test takes it back",
        ];
        server.run(&revoke)?;
    }
    ensure!(
        open.ended(Deadline::within(HEARD_WITHIN))?,
        "it goes on without its grant"
    );
    automation
        .connects()
        .run("true")?
        .refused_saying(&["JIT-"])
        .map(drop)
}

fn it_goes_on_with_the_token_that_it_rotated_and_with_the_one_that_root_did(
    automation: &Automation,
) -> Result<()> {
    let kept = "/home/deploy/.config/jit/login.json";
    let before = automation.desk.read(kept)?;
    at(&automation.desk, "deploy", &["login", "--rotate"])
        .run()?
        .succeeded()?;
    ensure!(before != automation.desk.read(kept)?, "it kept the token");
    automation.ensures()?.succeeded()?;
    let rotate = ["jit-server", "user", "token", "deploy", "--rotate"];
    let newest = automation.newest_token()?;
    let rotate = automation.fleet.server.command(&rotate);
    automation.logs_in(rotate.words([newest.as_str(), "--overlap", "10m"]).text()?)?;
    automation.ensures()?.succeeded()?;
    automation
        .desk
        .sh("systemctl start deploy.service")
        .map(drop)
}

fn outside_of_its_hours_it_is_refused(automation: &Automation) -> Result<()> {
    automation.hours(2, 3)?;
    let ask = ["request", "web-deploy", "--host", "web2", "--for", "10m"];
    let ask = at(&automation.desk, "deploy", &ask);
    let asked = ask.words(["--reason", "a test needs it"]).run()?;
    asked.refused_saying(&["hours"])?;
    automation.refused_on_record("outside-own-hours")?;
    automation.hours(-1, 2)
}

fn without_its_token_it_is_nobody(automation: &Automation) -> Result<()> {
    let newest = automation.newest_token()?;
    let revoke = ["jit-server", "user", "token", "deploy", "--revoke", &newest];
    automation.fleet.server.run(&revoke)?.succeeded()?;
    automation.ensures()?.refused_saying(&["token"]).map(drop)
}
