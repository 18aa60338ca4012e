//! Hosts of a network of their own, made of network namespaces and virtual cables (iproute2, root), that can be cut and mended.
//!
//! This process stays in the machine's own namespace: what it serves is reached through a cable from each host. Ends with the value.

use std::process::Command;

/// A host: a network namespace.
#[derive(Debug)]
pub struct Host {
    namespace: String,
    /// Where this host reaches this process.
    pub outside: String,
    number: usize,
}

/// Hosts and the cables between them.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
}

/// A cable, by the end that is pulled: the namespace (none is this process's own) and the interface there.
#[derive(Clone, Debug)]
pub struct Cable(Option<String>, String);

impl Network {
    /// So many hosts, each with a cable to this process.
    ///
    /// # Panics
    /// If this is not root, or `ip` is not there.
    pub fn new(hosts: usize) -> Self {
        // SAFETY: reads the effective user's number.
        assert_eq!(unsafe { libc::geteuid() }, 0, "network namespaces need root");
        let mut network = Self { hosts: Vec::new() };
        for number in 0..hosts {
            let namespace = format!("espalier{}-{number}", std::process::id());
            ip(&["netns", "add", &namespace]);
            let outside = format!("10.213.{number}.1");
            network.hosts.push(Host { namespace, outside, number });
            let host = &network.hosts[number];
            ip(&["-n", &host.namespace, "link", "set", "lo", "up"]);
            let name = host.outer();
            ip(&["link", "add", &name, "type", "veth", "peer", "name", "out", "netns", &host.namespace]);
            up(None, &name, &format!("{}/24", host.outside));
            up(Some(&host.namespace), "out", &format!("10.213.{number}.2/24"));
        }
        network
    }

    /// A host by its number.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Lays a cable between two hosts; gives it, and where the second reaches the first.
    ///
    /// # Panics
    /// If `ip` refuses.
    pub fn connect(&self, first: usize, second: usize) -> (Cable, String) {
        let (one, two) = (&self.hosts[first], &self.hosts[second]);
        let (near, far) = (format!("to{second}"), format!("to{first}"));
        ip(&[
            "-n",
            &one.namespace,
            "link",
            "add",
            &near,
            "type",
            "veth",
            "peer",
            "name",
            &far,
            "netns",
            &two.namespace,
        ]);
        let net = format!("10.214.{}", first * 16 + second);
        up(Some(&one.namespace), &near, &format!("{net}.1/24"));
        up(Some(&two.namespace), &far, &format!("{net}.2/24"));
        (Cable(Some(one.namespace.clone()), near), format!("{net}.1"))
    }
}

impl Host {
    fn outer(&self) -> String {
        format!("e{}-{}", std::process::id(), self.number)
    }

    /// The cable between this host and this process.
    pub fn cable(&self) -> Cable {
        Cable(None, self.outer())
    }

    /// The same command, run on this host.
    pub fn on(&self, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there.args(["netns", "exec", &self.namespace]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            there.current_dir(folder);
        }
        there
    }
}

impl Cable {
    /// Nothing goes through any more, and nobody is told.
    pub fn cut(&self) {
        self.set("down");
    }

    /// It goes through again.
    pub fn mend(&self) {
        self.set("up");
    }

    fn set(&self, state: &str) {
        let namespace: Vec<_> = self.0.iter().flat_map(|n| ["-n", n.as_str()]).collect();
        ip(&[namespace.as_slice(), &["link", "set", &self.1, state]].concat());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            // The cables go with it.
            let _ = Command::new("ip").args(["netns", "del", &host.namespace]).status();
        }
    }
}

fn up(namespace: Option<&str>, interface: &str, address: &str) {
    let namespace: Vec<_> = namespace.iter().flat_map(|n| ["-n", n]).collect();
    ip(&[namespace.as_slice(), &["address", "add", address, "dev", interface]].concat());
    ip(&[namespace.as_slice(), &["link", "set", interface, "up"]].concat());
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
