//! Warnings that keys are about to be revoked, by real mail servers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywheel::config::SmtpSecurity;
use keywheel::generate::itglue_key;
use keywheel::model::id::{KeyId, NodeId, UserId};
use keywheel::model::key::{Addresses, ApiKey, KeyHash, KeyKind, NewKey, Reach};
use keywheel::model::principal::NewUser;
use keywheel::notify::{Notifier, NotifyOptions};
use keywheel::workflow::{KeyWarner, Parts};

use super::mail::options;
use super::stage::Stage;
use crate::support::mail::MailServer;

const DAY: Duration = Duration::from_hours(24);
/// The time between two looks, and more.
const PAUSE: Duration = Duration::from_mins(11);

/// Somebody of this name, with an address unless it is empty.
async fn user(stage: &Stage, name: &str, email: &str, administrator: bool) -> UserId {
    let new = NewUser {
        name: name.to_owned(),
        display_name: name.to_owned(),
        email: email.to_owned(),
        administrator,
        granted: [].into(),
    };
    let mut tx = stage.store.begin().await.unwrap();
    let id = tx.insert_user(&new, stage.now()).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// A key of this user's, made now; its text is its own.
async fn key(stage: &Stage, user_id: UserId, name: &str) -> KeyId {
    let text = itglue_key(stage.parts.dice.as_ref());
    let new = NewKey {
        kind: KeyKind::ItGlue,
        user_id,
        name: name.to_owned(),
        hash: KeyHash::of(&text),
        prefix: KeyHash::prefix(&text),
        addresses: Addresses::default(),
        expires_at: None,
        password_required: false,
        reach: Reach::whole(),
    };
    let mut tx = stage.store.begin().await.unwrap();
    let id = tx.insert_key(&new, stage.now()).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn used(stage: &Stage, id: KeyId) {
    let mut tx = stage.store.begin().await.unwrap();
    tx.touch_key(id, stage.now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// Just started, as this node.
fn warner(parts: &Parts) -> KeyWarner {
    KeyWarner::new(parts.clone(), NodeId(1))
}

/// The same parts with another mail server.
fn over(stage: &Stage, port: u16) -> Parts {
    let mail = Some(options(port, SmtpSecurity::None));
    let options = NotifyOptions {
        mail,
        allow: Addresses::default(),
    };
    Parts {
        notifier: Notifier::new(options, stage.parts.clock.clone()).unwrap(),
        ..stage.parts.clone()
    }
}

async fn warnings(stage: &Stage, key: KeyId) -> usize {
    let rows = stage.store.audit_of(&key.to_string(), 99).await.unwrap();
    rows.iter().filter(|row| row.event == "key.warned").count()
}

#[tokio::test]
async fn administrators_are_told_once_ten_days_before_a_key_is_revoked() {
    let server = MailServer::plain();
    let stage = Stage::mailing(options(server.port, SmtpSecurity::None)).await;
    user(&stage, "root", "root@example.org", true).await;
    user(&stage, "nomail", "", true).await;
    let gone = user(&stage, "gone", "gone@example.org", true).await;
    let ada = user(&stage, "ada", "ada@example.org", false).await;
    let mut tx = stage.store.begin().await.unwrap();
    tx.set_user_disabled(gone, true).await.unwrap();
    tx.commit().await.unwrap();
    let desk = key(&stage, ada, "desk").await;
    key(&stage, gone, "of one who may not sign in").await;
    let mut at_work = warner(&stage.parts);
    stage.advance((80 * DAY).saturating_sub(PAUSE));
    assert_eq!(at_work.look().await.unwrap(), 0, "eleven minutes too early");
    stage.advance(PAUSE);
    let lab = key(&stage, ada, "lab").await;
    assert_eq!(at_work.look().await.unwrap(), 1);
    let mail = server.mail().await;
    assert_eq!(mail["to"].as_array().unwrap(), &["root@example.org"]);
    let text = mail["text"].as_str().unwrap();
    let line = format!("{desk}, \"desk\", of ada: unused since 2025-06-15T15:06:40Z");
    for part in [
        "Subject: Keywheel: key 1 is about to be revoked\r\n",
        "Auto-Submitted: auto-generated\r\n",
        &line,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("lab") && !text.contains("sign in"), "{text}");
    assert_eq!(warnings(&stage, desk).await, 1);
    // Neither the next look nor the next start repeats it.
    stage.advance(PAUSE);
    assert_eq!(at_work.look().await.unwrap(), 0);
    assert_eq!(warner(&stage.parts).look().await.unwrap(), 0);
    // A key that is used and lies idle once more is told of once more.
    used(&stage, desk).await;
    stage.advance(81 * DAY);
    assert_eq!(at_work.look().await.unwrap(), 1);
    let text = server.mail().await["text"].as_str().unwrap().to_owned();
    assert!(
        text.contains("2 keys are about") && text.contains("\"lab\""),
        "{text}"
    );
    assert_eq!(
        (warnings(&stage, desk).await, warnings(&stage, lab).await),
        (2, 1)
    );
    assert!(server.is_empty());
}

#[tokio::test]
async fn a_warning_waits_for_a_server_and_outlives_a_restart() {
    let refusing = MailServer::refusing("451 try later: s3cret-echo");
    let stage = Stage::mailing(options(refusing.port, SmtpSecurity::None)).await;
    let root = user(&stage, "root", "root@example.org", true).await;
    let desk = key(&stage, root, "desk").await;
    stage.advance(ApiKey::IDLE_MAX.saturating_sub(ApiKey::IDLE_WARNING));
    assert_eq!(warner(&stage.parts).look().await.unwrap(), 0);
    assert_eq!(warnings(&stage, desk).await, 0);
    let nobody_listens = 1;
    stage.advance(PAUSE);
    let away = over(&stage, nobody_listens);
    assert_eq!(warner(&away).look().await.unwrap(), 0);
    assert_eq!(warnings(&stage, desk).await, 0);
    let server = MailServer::plain();
    let parts = over(&stage, server.port);
    // Another node's turn lasts as long as this one's.
    assert_eq!(warner(&parts).look().await.unwrap(), 0);
    stage.advance(PAUSE);
    assert_eq!(warner(&parts).look().await.unwrap(), 1);
    server.mail().await;
    assert_eq!(warnings(&stage, desk).await, 1);
}

#[tokio::test]
async fn an_address_that_is_refused_keeps_nobody_else_from_being_told() {
    let server = MailServer::refusing_one("550 no such user", "bad@example.org");
    let stage = Stage::mailing(options(server.port, SmtpSecurity::None)).await;
    for name in ["bad", "root"] {
        user(&stage, name, &format!("{name}@example.org"), true).await;
    }
    let desk = key(&stage, UserId(1), "desk").await;
    stage.advance(80 * DAY);
    assert_eq!(warner(&stage.parts).look().await.unwrap(), 1);
    let mail = server.mail().await;
    assert_eq!(mail["to"].as_array().unwrap(), &["root@example.org"]);
    assert_eq!(
        warnings(&stage, desk).await,
        2,
        "one was given up, on record"
    );
    stage.advance(PAUSE);
    assert_eq!(warner(&stage.parts).look().await.unwrap(), 0);
    assert!(server.is_empty());
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn without_a_mail_server_or_an_address_the_log_says_so_once() {
    for (email, why) in [
        ("root@example.org", "no mail server is set"),
        ("", "no administrator has a mail address"),
    ] {
        let stage = Stage::new().await;
        let root = user(&stage, "root", email, true).await;
        let desk = key(&stage, root, "desk").await;
        stage.advance(80 * DAY);
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let logged = tracing::subscriber::set_default(subscriber);
        let mut at_work = warner(&stage.parts);
        for _ in 0..3 {
            assert_eq!(at_work.look().await.unwrap(), 0);
            stage.advance(PAUSE);
        }
        drop(logged);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let said = "a key is about to be revoked";
        assert_eq!(text.matches(said).count(), 1, "{text}");
        assert!(text.contains(why) && text.contains("key=1"), "{text}");
        assert_eq!(warnings(&stage, desk).await, 0, "nobody was told");
    }
}
