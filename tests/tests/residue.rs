//! What root leaves behind when its window closes is in the record of that elevation, and in what `jitctl show` says of the grant.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use jit_tests::group::Promise;
use jit_tests::promises;
use jit_tests::site::{Granted, Site};
use jit_tests::ssh::Ssh;
use jit_tests::wait::{self, Deadline};
use serde_json::Value;

fn main() -> ExitCode {
    let promises: &[Promise<Site>] = promises![
        whatever_root_leaves_is_listed_in_the_story_of_the_grant,
        an_elevation_that_leaves_nothing_shows_nothing,
        what_may_be_of_either_of_two_elevations_is_listed_for_both,
        a_restart_of_jitd_in_the_window_hides_nothing,
        t17_a_descriptor_that_root_hands_to_the_login_is_listed,
        churn_elsewhere_is_not_listed_and_a_flood_is_counted,
    ];
    jit_tests::group::keep_with("residue", Site::enforcing, calm, promises)
}

/// What the promises leave, taken away by root outside of any elevation.
const CLEAN: &str = "
systemctl stop left.service 2>/dev/null || true
rm -rf /etc/systemd/system/left.service /etc/systemd/system/multi-user.target.wants/left.service /etc/cron.d/left* \
    /var/spool/cron/crontabs/root /root/.ssh /etc/sudoers.d/left /var/tmp/left* /home/carol/left /etc/profile.d/left.sh \
    /var/lib/systemd/linger/carol /home/carol/.config /var/lib/left /etc/left
sed -i /left/d /home/carol/.ssh/authorized_keys
for job in $(atq | cut -f1); do atrm $job; done
id left >/dev/null 2>&1 && userdel left
true";

fn calm(site: &Site) -> Result<()> {
    site.calm()?;
    site.host.sh(CLEAN).map(drop)
}

/// What is listed of a thing: its kind, its path, and what became of it.
type Listed = (&'static str, &'static str, &'static str);

/// Each thing that root leaves: how, and what is listed of it.
const LEFT: &[(&str, &[Listed])] = &[
    (
        "printf '[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/left.service
         systemctl enable -q left.service",
        &[
            ("unit", "/etc/systemd/system/left.service", "new"),
            ("unit", "/etc/systemd/system/multi-user.target.wants/left.service", "new"),
        ],
    ),
    (
        "systemd-run -q --unit=left-transient sleep 7301",
        &[
            ("unit", "/run/systemd/transient/left-transient.service", "new"),
            ("service", "/system.slice/left-transient.service", "new"),
        ],
    ),
    (
        "mkdir -p /home/carol/.config/systemd/user; echo '[Service]' > /home/carol/.config/systemd/user/left.service",
        &[("user_unit", "/home/carol/.config/systemd/user/left.service", "new")],
    ),
    (
        "echo '0 0 1 1 * root true' > /etc/cron.d/left; rm /etc/cron.d/left-before",
        &[("cron", "/etc/cron.d/left", "new"), ("cron", "/etc/cron.d/left-before", "gone")],
    ),
    (
        "echo '0 0 1 1 * true' | crontab -",
        &[("crontab", "/var/spool/cron/crontabs/root", "new")],
    ),
    ("echo true | at -M 'now + 300 days'", &[("at_job", "/var/spool/cron/atjobs/", "new")]),
    (
        "mkdir -p /root/.ssh; echo 'ssh-ed25519 AAAA left' > /root/.ssh/authorized_keys
         echo 'ssh-ed25519 AAAA left' >> /home/carol/.ssh/authorized_keys",
        &[
            ("authorized_keys", "/root/.ssh/authorized_keys", "new"),
            ("authorized_keys", "/home/carol/.ssh/authorized_keys", "changed"),
        ],
    ),
    (
        "echo 'left ALL=(ALL) ALL' > /etc/sudoers.d/left; chmod 440 /etc/sudoers.d/left",
        &[("sudoers", "/etc/sudoers.d/left", "new")],
    ),
    (
        "useradd --no-create-home left",
        &[("account", "/etc/passwd", "changed"), ("account", "/etc/shadow", "changed")],
    ),
    ("echo true > /etc/profile.d/left.sh", &[("profile", "/etc/profile.d/left.sh", "new")]),
    ("touch /var/lib/systemd/linger/carol", &[("linger", "/var/lib/systemd/linger/carol", "new")]),
    (
        "cp /bin/sh /var/tmp/left; chmod 4755 /var/tmp/left; chmod u+s /var/tmp/left-before",
        &[("setuid", "/var/tmp/left", "new"), ("setuid", "/var/tmp/left-before", "changed")],
    ),
    (
        "mkdir /home/carol/left; chmod 700 /home/carol/left; cp /bin/sh /home/carol/left/sh; chmod 2755 /home/carol/left/sh",
        &[("setgid", "/home/carol/left/sh", "new")],
    ),
];

/// True where `item` is this: a path that ends with a slash stands for any file in it.
fn is(item: &Value, (kind, path, change): (&str, &str, &str)) -> bool {
    let listed = item["path"].as_str().unwrap_or_default();
    let fits = if path.ends_with('/') {
        listed.starts_with(path)
    } else {
        listed == path
    };
    item["kind"] == kind && item["change"] == change && fits
}

fn left_behind(site: &Site, grant: &str) -> Result<Value> {
    let shown = site.json("bob", &["show", grant])?;
    shown
        .get("left_behind")
        .cloned()
        .with_context(|| format!("nothing is said of it: {shown}"))
}

fn items(left: &Value) -> &[Value] {
    left["items"].as_array().map_or(&[], Vec::as_slice)
}

/// Waits until this is listed for the grant; gives all that is by then.
fn wait_for(site: &Site, grant: &str, wanted: (&str, &str, &str)) -> Result<Value> {
    let mut seen = Value::Null;
    wait::eventually(
        &format!("{wanted:?} to be listed"),
        Deadline::seconds(20),
        || {
            seen = left_behind(site, grant)?;
            Ok(items(&seen)
                .iter()
                .any(|item| is(item, wanted))
                .then(|| seen.clone()))
        },
    )
    .with_context(|| format!("listed is {seen}"))
}

/// A grant for bob that is over, after it made a setuid file: once that is listed, all that ended before has been looked at.
fn after_all_looks(site: &Site) -> Result<()> {
    let granted = site.open("bob", "operator", 600)?;
    as_root(
        site,
        "touch /var/tmp/left-last; chmod 4755 /var/tmp/left-last",
    )?;
    site.revoke(&granted.grant)?;
    wait_for(
        site,
        &granted.grant,
        ("setuid", "/var/tmp/left-last", "new"),
    )
    .map(drop)
}

fn as_root(site: &Site, script: &str) -> Result<()> {
    let quoted = script.replace('\'', r"'\''");
    Ssh::new(&site.host, "bob")
        .run(&format!("sudo sh -euc '{quoted}'"))?
        .succeeded()
        .map(drop)
}

fn opened(site: &Site) -> Result<Granted> {
    site.open("bob", "operator", 600)
}

/// Root opens a file and puts the process that holds it into bob's login, as bob: there it lives on.
const HANDED: &str = r#"
scope=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)
sudo sh -c "exec 9>>/etc/left; echo \$\$ > $scope/cgroup.procs
    setpriv --reuid bob --regid bob --clear-groups sleep 7303 </dev/null >/dev/null 2>&1 &"
exec sleep 7304"#;

fn t17_a_descriptor_that_root_hands_to_the_login_is_listed(site: &Site) -> Result<()> {
    let granted = opened(site)?;
    let login = Ssh::new(&site.host, "bob").start(HANDED)?;
    wait_for(site, &granted.grant, ("descriptor", "/etc/left", "new"))?;
    ensure!(
        site.runs("sleep 7303")?,
        "what holds the descriptor ended with its elevation"
    );
    site.revoke(&granted.grant)?;
    site.wait_until_gone("sleep 7303", Deadline::seconds(10))?;
    drop(login);
    Ok(())
}

fn whatever_root_leaves_is_listed_in_the_story_of_the_grant(site: &Site) -> Result<()> {
    site.host
        .sh("touch /etc/cron.d/left-before; cp /bin/sh /var/tmp/left-before")?;
    let granted = opened(site)?;
    for (how, _) in LEFT {
        as_root(site, how).with_context(|| (*how).to_owned())?;
    }
    for wanted in LEFT.iter().flat_map(|(_, listed)| *listed) {
        wait_for(site, &granted.grant, *wanted)?;
    }
    site.revoke(&granted.grant)?;
    let table = site.jitctl("bob", &["show", &granted.grant])?.succeeded()?;
    let left = left_behind(site, &granted.grant)?;
    for wanted in LEFT.iter().flat_map(|(_, listed)| *listed) {
        let found: Vec<_> = items(&left)
            .iter()
            .filter(|item| is(item, *wanted))
            .collect();
        ensure!(
            found.len() == 1,
            "{wanted:?} is listed {} times: {left:#}",
            found.len()
        );
        ensure!(
            table.said(wanted.1),
            "{} is not in the table: {table}",
            wanted.1
        );
    }
    ensure!(
        left["complete"] == true,
        "it says that there may be more: {left:#}"
    );
    let expected = |item: &&Value| {
        let listed = LEFT
            .iter()
            .flat_map(|(_, listed)| *listed)
            .any(|wanted| is(item, *wanted));
        let with_it = [
            "/etc/group",
            "/etc/gshadow",
            "/etc/subuid",
            "/etc/subgid",
            "/home/carol/.config",
            "/etc/systemd",
        ];
        !listed
            && !with_it.iter().any(|path| {
                item["path"]
                    .as_str()
                    .is_some_and(|listed| listed.starts_with(path))
            })
    };
    let others: Vec<_> = items(&left).iter().filter(expected).collect();
    ensure!(
        others.is_empty(),
        "listed though nobody left it: {others:#?}"
    );
    let story = site
        .jitctl("bob", &["show", &granted.request])?
        .succeeded()?;
    ensure!(
        story.said("/etc/sudoers.d/left"),
        "not in the story of the request: {story}"
    );
    let audit = site.audit()?;
    ensure!(
        audit
            .iter()
            .any(|event| event["kind"] == "elevation.residue"
                && event["subject"] == granted.grant.as_str()),
        "not in the record"
    );
    Ok(())
}

fn an_elevation_that_leaves_nothing_shows_nothing(site: &Site) -> Result<()> {
    let granted = opened(site)?;
    as_root(site, "true")?;
    Ssh::new(&site.host, "bob")
        .run("sudo -i true; sudo -u alice true; sudo su - alice -c true")?
        .succeeded()?;
    as_root(
        site,
        "touch /etc/cron.d/left; rm /etc/cron.d/left; touch /var/tmp/left; systemctl daemon-reload",
    )?;
    site.revoke(&granted.grant)?;
    after_all_looks(site)?;
    let left = left_behind(site, &granted.grant)?;
    ensure!(
        items(&left).is_empty() && left["complete"] == true,
        "it shows {left:#}"
    );
    let table = site.jitctl("bob", &["show", &granted.grant])?.succeeded()?;
    ensure!(!table.said("Left behind"), "{table}");
    Ok(())
}

fn what_may_be_of_either_of_two_elevations_is_listed_for_both(site: &Site) -> Result<()> {
    let granted = opened(site)?;
    let other = Ssh::new(&site.host, "bob").start("sudo sleep 7302")?;
    site.wait_until_runs("sleep 7302", Deadline::seconds(5))?;
    as_root(site, "touch /etc/cron.d/left")?;
    wait_for(site, &granted.grant, ("cron", "/etc/cron.d/left", "new"))?;
    site.revoke(&granted.grant)?;
    ensure!(other.ended(Deadline::seconds(5))?, "the other lives on");
    let both = wait::eventually("both to list it", Deadline::seconds(20), || {
        let left = left_behind(site, &granted.grant)?;
        let listed: Vec<_> = items(&left)
            .iter()
            .filter(|item| is(item, ("cron", "/etc/cron.d/left", "new")))
            .cloned()
            .collect();
        Ok((listed.len() == 2).then_some(listed))
    })?;
    ensure!(both[0]["elevation"] != both[1]["elevation"], "{both:?}");
    ensure!(
        both.iter().all(|item| item["one_of_several"] == true),
        "{both:?}"
    );
    Ok(())
}

fn a_restart_of_jitd_in_the_window_hides_nothing(site: &Site) -> Result<()> {
    let granted = opened(site)?;
    as_root(
        site,
        "touch /etc/cron.d/left; systemctl restart jitd; touch /etc/cron.d/left2; touch /var/tmp/left; chmod 4755 /var/tmp/left",
    )?;
    for wanted in [
        ("setuid", "/var/tmp/left", "new"),
        ("cron", "/etc/cron.d/left2", "new"),
        ("cron", "/etc/cron.d/left", "new"),
    ] {
        wait_for(site, &granted.grant, wanted)?;
    }
    Ok(())
}

/// As much as a large apt upgrade writes.
fn churn_elsewhere_is_not_listed_and_a_flood_is_counted(site: &Site) -> Result<()> {
    let granted = opened(site)?;
    as_root(
        site,
        "mkdir -p /var/lib/left; cd /var/lib/left; for i in $(seq 2000); do echo x > $i; done; chmod 2755 .; cp -r . /var/tmp/left",
    )?;
    site.revoke(&granted.grant)?;
    after_all_looks(site)?;
    let left = left_behind(site, &granted.grant)?;
    ensure!(items(&left).is_empty(), "listed: {left:#}");
    let granted = opened(site)?;
    as_root(
        site,
        "for i in $(seq 1000); do touch /etc/cron.d/left-$i; done",
    )?;
    let left = wait_for(site, &granted.grant, ("cron", "/etc/cron.d/left-1", "new"))?;
    ensure!(
        items(&left).len() == 200 && left["more"] == 800,
        "listed {}: more {}",
        items(&left).len(),
        left["more"]
    );
    Ok(())
}
