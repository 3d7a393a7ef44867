//! A change that a system takes back by itself, and the process that knew of it is gone.

use std::sync::Arc;
use std::time::Duration;

use keywheel_connectors::dialogue::{Dialogue, Dialogues};
use keywheel_connectors::{
    Changed, Checked, Class, Connector, Credential, DialogueTarget, Functional, Identity, Secret,
    Target, TargetKind,
};

use super::{Stage, account, signal};
use crate::support::fleet::Sshd;
use crate::support::wait::until;

const SHIPPED: &str = include_str!("../../../config/platforms/cisco_ios.toml");
const FUNCTIONAL: &str = "Functional-8mC-host";

#[tokio::test(flavor = "multi_thread")]
async fn no_process_logs_in_while_a_change_of_another_may_be_taken_back() {
    let sshd = Sshd::start_with(FUNCTIONAL, &[("DEVICE", "1"), ("SUDO", "none")]);
    sshd.run("echo drop >/etc/keywheel/device");
    let text = SHIPPED.replace("verify = \"login\"", "undo_s = 600");
    let platform = Arc::new(Dialogue::parse("undo.toml", &text).unwrap());
    let (host, port) = sshd.place();
    let mut target = Target {
        host,
        port,
        timeout: Duration::from_secs(20),
        in_flight: 2,
        kind: TargetKind::Dialogue(DialogueTarget {
            host_key: None,
            platform,
            enable: Some(Secret::from("Enable-kw-vLm9")),
        }),
    };
    let stage = Stage::real("dialogue", 2).await;
    let identity = stage.remote.identify(&target).await.unwrap();
    let Identity::Ssh(key) = identity else {
        panic!("{identity:?}")
    };
    if let TargetKind::Dialogue(part) = &mut target.kind {
        part.host_key = Some(key);
    }
    let functional = Functional {
        account: account("kw_func"),
        credential: Credential::from(FUNCTIONAL),
    };
    let bob = account("kw_u0");
    let new = Credential::from("Fresh-1-kw-vLm9Q");
    let session = stage.remote.open(&target, Some(&functional)).await.unwrap();
    let seen = session.change(&bob, &new, None).await;
    assert!(matches!(seen, Changed::Unknown(_)), "{seen:?}");
    let before = stage.pool.processes();
    for id in &before {
        signal("KILL", *id);
    }
    until("another process has taken over", async || {
        let now = stage.pool.processes();
        (!now.is_empty() && now.iter().all(|id| !before.contains(id))).then_some(())
    })
    .await;
    let other = stage.remote.open(&target, Some(&functional)).await.unwrap();
    for session in [session, other] {
        let seen = session.check(&bob, &new).await;
        assert!(
            matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Busy),
            "{seen:?}"
        );
    }
    // The other account of the device goes on; and who knows of nothing would log in.
    let ann = Credential::from(Sshd::initial("kw_u1").as_str());
    let session = stage.remote.open(&target, None).await.unwrap();
    assert_eq!(
        session.check(&account("kw_u1"), &ann).await,
        Checked::Accepted
    );
    let session = Dialogues::new().open(&target, None).await.unwrap();
    assert_eq!(session.check(&bob, &new).await, Checked::Accepted);
    stage.end().await;
}
