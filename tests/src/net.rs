//! Links between hosts: one network namespace a host, joined by a bridge in a namespace of its own, so that nothing of the
//! machine outside is touched. A link can be cut and mended.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::host::Options;
use crate::machine;

/// Where iproute2 keeps named network namespaces.
const NAMESPACES: &str = "/run/netns";

/// Some hosts' links. Dropped, they are gone; drop the hosts first.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    hosts: Vec<String>,
}

impl Network {
    /// A link for each of these hosts, all of them joined. Names of at most 15 bytes.
    ///
    /// # Errors
    /// Not root, or a namespace can't be made.
    pub fn new(hosts: &[&str]) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        machine::ready()?;
        sweep()?;
        let prefix = format!(
            "jit-{}-n{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let network = Self {
            prefix,
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        };
        let switch = network.namespace("switch");
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link add bridge type bridge"))?;
        ip(&format!("-n {switch} link set bridge up"))?;
        for (number, host) in network.hosts.iter().enumerate() {
            let namespace = network.namespace(host);
            ip(&format!("netns add {namespace}"))?;
            ip(&format!(
                "-n {switch} link add {host} type veth peer name eth0 netns {namespace}"
            ))?;
            ip(&format!("-n {switch} link set {host} master bridge up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!(
                "-n {namespace} address add {}/24 dev eth0",
                address(number)
            ))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
        }
        Ok(network)
    }

    /// How to boot the host of this name on its link, knowing the others by name.
    #[must_use]
    pub fn options(&self, host: &str) -> Options {
        let known = self
            .hosts
            .iter()
            .enumerate()
            .map(|(number, name)| format!("{} {name}\n", address(number)))
            .collect();
        Options {
            name: Some(host.to_owned()),
            network: Some(Path::new(NAMESPACES).join(self.namespace(host))),
            known_hosts: known,
            package: None,
        }
    }

    /// Cuts the host off from all others.
    ///
    /// # Errors
    /// There is no such link.
    pub fn cut(&self, host: &str) -> Result<()> {
        ip(&format!(
            "-n {} link set {host} down",
            self.namespace("switch")
        ))
    }

    /// Joins the host to the others again.
    ///
    /// # Errors
    /// There is no such link.
    pub fn mend(&self, host: &str) -> Result<()> {
        ip(&format!(
            "-n {} link set {host} up",
            self.namespace("switch")
        ))
    }

    /// Listens at a port of the host's, from this process: for what stands in for a program of that host.
    ///
    /// # Errors
    /// There is no such link, or somebody listens there.
    pub fn listen(&self, host: &str, port: u16) -> Result<TcpListener> {
        let namespace = Path::new(NAMESPACES).join(self.namespace(host));
        // A thread may go into another network; what it opens there stays there.
        let listening = thread::spawn(move || -> Result<TcpListener> {
            let namespace = File::open(&namespace)
                .with_context(|| format!("opening {}", namespace.display()))?;
            setns(namespace, CloneFlags::CLONE_NEWNET).context("entering the network")?;
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listening")
        });
        listening.join().map_err(|_| anyhow!("panicked"))?
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.iter().map(String::as_str).chain(["switch"]) {
            // A namespace that was never made needs no removal.
            ip(&format!("netns delete {}", self.namespace(host))).ok();
        }
    }
}

fn address(number: usize) -> String {
    format!("10.77.0.{}", number + 1)
}

fn ip(arguments: &str) -> Result<()> {
    machine::output("ip", &arguments.split(' ').collect::<Vec<_>>()).map(drop)
}

/// Removes namespaces left by tests whose process has gone.
fn sweep() -> Result<()> {
    let Ok(entries) = fs::read_dir(NAMESPACES) else {
        return Ok(());
    };
    for entry in entries {
        let name = entry?
            .file_name()
            .into_string()
            .ok()
            .context("a network namespace without a readable name")?;
        let pid = name
            .strip_prefix("jit-")
            .and_then(|rest| rest.split_once("-n"))
            .map(|(pid, _)| pid.to_owned());
        if pid.is_some_and(|pid| !PathBuf::from("/proc").join(pid).exists()) {
            ip(&format!("netns delete {name}"))?;
        }
    }
    Ok(())
}
