//! Ansible's way: the `user` module with a hashed password, then a login under the new one.
//!
//! Each account is a host of the inventory, for Ansible works on hosts at once and not on the
//! accounts of one. Once with its settings as they come, and once as its manual advises for speed:
//! modules are piped, and no facts are gathered.
//!
//! Invariant: as many forks as Keywheel has exchanges at once.

use std::fmt::Write as _;

use tempfile::TempDir;

use super::support::{Pace, clear, command, folder, fresh_secret, paced, run, write_private};
use super::{CONCURRENCY, FUNCTIONAL_PASSWORD, IP, Peer, Sshd, name};

/// A playbook is slow: this many accounts tell enough.
pub(crate) const ACCOUNTS: usize = 16;

const PLAYS: &str = r#"
- hosts: all
  gather_facts: FACTS
  vars: {ansible_user: kw_func, ansible_password: "{{ functional }}"}
  tasks:
    - name: set
      become: true
      no_log: true
      ansible.builtin.user: {name: "{{ account }}", password: "{{ secret | password_hash('sha512') }}"}
- hosts: all
  gather_facts: false
  vars: {ansible_user: "{{ account }}", ansible_password: "{{ secret }}"}
  tasks:
    - name: log in
      ansible.builtin.raw: id -un
      register: who
      failed_when: who.stdout | trim != account
"#;

pub(crate) struct Playbook<const TUNED: bool>(TempDir);

impl<const TUNED: bool> Playbook<TUNED> {
    /// What does not change from round to round.
    pub(crate) fn write(sshd: &Sshd) -> Self {
        let files = folder();
        let known = sshd.known_host();
        write_private(&files.path().join("known"), &known);
        let plays = PLAYS.replace("FACTS", if TUNED { "false" } else { "true" });
        write_private(&files.path().join("plays.yml"), &plays);
        Self(files)
    }
}

impl<const TUNED: bool> Peer for Playbook<TUNED> {
    const NAME: &'static str = if TUNED {
        "tuned playbook"
    } else {
        "ansible-playbook"
    };

    async fn rotate(&self, sshd: &Sshd) -> Pace {
        let files = self.0.path();
        let mut inventory = format!(
            "all:\n  vars:\n    ansible_host: {IP}\n    ansible_port: {}\n    \
             ansible_python_interpreter: /usr/bin/python3\n    functional: {FUNCTIONAL_PASSWORD}\n  \
             hosts:\n",
            sshd.port
        );
        for account in (0..ACCOUNTS).map(name) {
            let secret = fresh_secret();
            let quoted = clear(&secret).replace('\'', "''");
            writeln!(
                inventory,
                "    {account}: {{account: {account}, secret: !unsafe '{quoted}'}}"
            )
            .unwrap();
        }
        write_private(&files.join("hosts.yml"), &inventory);
        let mut playbook = command("ansible-playbook");
        playbook.arg("-i").arg(files.join("hosts.yml"));
        playbook.args(["--forks", &CONCURRENCY.to_string()]);
        playbook.arg(files.join("plays.yml"));
        playbook.env("ANSIBLE_HOME", files).env("HOME", files);
        playbook.env("ANSIBLE_LOCAL_TEMP", files.join("tmp"));
        playbook.env("ANSIBLE_PIPELINING", u8::from(TUNED).to_string());
        let known = files.join("known");
        let options = format!(
            "-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={} \
             -o StrictHostKeyChecking=yes -o PreferredAuthentications=password",
            known.display()
        );
        playbook.env("ANSIBLE_SSH_ARGS", options);
        let work = async {
            run(&mut playbook);
        };
        paced(sshd.process, ACCOUNTS, work).await
    }
}
