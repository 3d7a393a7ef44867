//! Signals, and what systemd is told.

use std::os::unix::net::UnixDatagram;

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::wait::{LIMIT, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_over_the_log_level_and_refuses_faults() {
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::new(&daemon.url, "");
    let settings = home.data("keywheel.toml");
    assert!(!daemon.said().contains("DEBUG"));

    std::fs::write(
        &settings,
        "[log]\nlevel = \"debug\"\n[queue]\nsessions = 3\n",
    )
    .unwrap();
    daemon.signal("HUP");
    daemon.await_said("the settings were reloaded");
    daemon.await_said("queue.sessions");
    client.nobody("/healthz").await.expect(200);
    daemon.await_said("DEBUG");
    let gauge = "keywheel_config_last_reload_successful";
    let metrics = client.nobody("/metrics").await.expect(200).body;
    assert!(metrics.contains(&format!("{gauge} 1")), "{metrics}");

    std::fs::write(&settings, "[log]\nlevel = \"loud\"\n").unwrap();
    daemon.signal("HUP");
    daemon.await_said("the settings were not reloaded");
    let metrics = client.nobody("/metrics").await.expect(200).body;
    assert!(metrics.contains(&format!("{gauge} 0")), "{metrics}");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn usr1_switches_between_info_and_debug() {
    let home = Home::new();
    let daemon = home.serve();
    daemon.signal("USR1");
    daemon.await_said("level=\"debug\"");
    let client = Client::new(&daemon.url, "");
    client.nobody("/healthz").await.expect(200);
    daemon.await_said("DEBUG");
    daemon.signal("USR1");
    daemon.await_said("level=\"info\"");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_interrupt_ends_the_service_like_a_termination() {
    let home = Home::new();
    let daemon = home.serve();
    daemon.signal("INT");
    assert_eq!(daemon.ended().code(), Some(0));
    assert_eq!(home.run(&["doctor"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_the_service_is_ready_alive_and_stopping() {
    let home = Home::new();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let daemon = home.serve_with(&[
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("KEYWHEEL_QUEUE__BEAT_EVERY_S", "1"),
    ]);
    let mut told = String::new();
    let mut hear = |words: &str| {
        let mut message = [0; 4_096];
        while !told.contains(words) {
            let length = socket.recv(&mut message).unwrap();
            told.push_str(std::str::from_utf8(&message[..length]).unwrap());
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("STATUS=0 running, 0 waiting, 0 due");
    daemon.signal("TERM");
    hear("STOPPING=1");
    assert_eq!(daemon.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_component_is_reported() {
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::new(&daemon.url, "");
    until("five components pass", async || {
        let metrics = client.nobody("/metrics").await.body;
        let ready = metrics
            .lines()
            .filter(|line| line.starts_with("keywheel_ready{"));
        let ready: Vec<_> = ready.collect();
        (ready.len() == 5 && ready.iter().all(|line| line.ends_with(" 1"))).then_some(())
    })
    .await;
    assert_eq!(daemon.stop(), 0);
}
