//! Traps that hosts have laid for others; each test is named after one.

mod account;
mod server;
mod write;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connectors::ssh::Ssh;
use keywheel_connectors::{
    Account, Changed, Checked, Class, Connector, Credential, Evidence, Reason, Scope, Session,
    Target,
};
use tokio::time::timeout;

use crate::fleet::{Fleet, account, first, functional};
use crate::peer::Wire;

/// Takes the lock that everything which writes /etc/shadow takes, until its input ends.
const HOLD_SHADOW: &str = "exec perl -e 'open(F, \">>/etc/.pwd.lock\") or die; \
     my $lock = pack(\"ssx4qqlx4\", 1, 0, 0, 0, 0); fcntl(F, 7, $lock) or die; \
     $| = 1; print \"held\\n\"; <STDIN>'";

async fn open(target: &Target) -> Arc<dyn Session> {
    let opened = Ssh::new(77).open(target, Some(&functional())).await;
    opened.unwrap_or_else(|reason| panic!("{reason:?}"))
}

fn holder(fleet: &Fleet) -> std::process::Child {
    let mut child = fleet.begin(HOLD_SHADOW);
    let mut word = [0; 5];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut word)
        .unwrap();
    assert_eq!(&word, b"held\n");
    child
}

fn release(mut holder: std::process::Child) {
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

fn through(wire: &Wire, fleet: &Fleet) -> Target {
    Target {
        host: wire.address.to_string(),
        port: wire.port,
        ..fleet.target()
    }
}

fn has_class(reason: &Reason, class: Class, scope: Scope) -> bool {
    reason.class == class && reason.scope == scope
}
