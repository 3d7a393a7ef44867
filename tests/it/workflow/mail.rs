//! Mail, to real mail servers.

use std::net::Ipv4Addr;
use std::time::Duration;

use keywheel::clock::SystemClock;
use keywheel::config::SmtpSecurity;
use keywheel::model::workflow::DeliveryState;
use keywheel::notify::{MailOptions, Notifier, NotifyError, NotifyOptions};
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::stage::{FAILURES, Stage};
use crate::support::certificate::Authority;
use crate::support::mail::MailServer;
use crate::support::receiver::Receiver;

const PASSWORD: &str = "smtp-s3cret";

pub(super) fn options(port: u16, security: SmtpSecurity) -> MailOptions {
    MailOptions {
        host: "localhost".to_owned(),
        port,
        security,
        login: None,
        from: "keywheel@example.org".to_owned(),
        timeout: Duration::from_secs(10),
        authorities: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_goes_over_tls_to_all_its_recipients_after_signing_in() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let server = MailServer::guarded(&authority.service("mail", 30), "keywheel", PASSWORD);
    let stage = Stage::mailing(MailOptions {
        login: Some(("keywheel".to_owned(), SecretString::from(PASSWORD))),
        authorities: Some(authority.pem()),
        ..options(server.port, SmtpSecurity::StartTls)
    })
    .await;
    assert!(!format!("{:?}", stage.parts).contains(PASSWORD));
    let mail = stage.email().await;
    let mut sender = stage.sender().await;
    let id = stage.queue(mail).await;
    let came = server.mail().await;
    assert_eq!(came["tls"], true);
    assert_eq!(came["user"], "keywheel");
    assert_eq!(came["from"], "keywheel@example.org");
    let recipients = ["oncall@example.org", "second@example.org"];
    assert_eq!(came["to"].as_array().unwrap(), &recipients);
    let text = came["text"].as_str().unwrap();
    for line in [
        "From: Keywheel <keywheel@example.org>\r\n",
        "To: oncall@example.org, second@example.org\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        &format!("Message-ID: <keywheel-{}@example.org>\r\n", id.0),
        "Date: Sun, 15 Jun 2025 15:06:40 +0000\r\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let found = stage.settled(id, 1).await;
    assert_eq!(
        (found.state, found.error.as_str()),
        (DeliveryState::Sent, "")
    );
    assert!(server.is_empty(), "one message to all");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_said_to_a_server_that_cannot_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let guarded = MailServer::guarded(&authority.service("mail", 30), "keywheel", PASSWORD);
    let plain = MailServer::plain();
    let login = |password: &str| Some(("keywheel".to_owned(), SecretString::from(password)));
    for (options, error) in [
        (
            MailOptions {
                login: login(PASSWORD),
                authorities: Some(other.pem()),
                ..options(guarded.port, SmtpSecurity::StartTls)
            },
            "TLS with the mail server failed: its certificate is not trusted, or it speaks none",
        ),
        (
            MailOptions {
                login: login("wrong"),
                authorities: Some(authority.pem()),
                ..options(guarded.port, SmtpSecurity::StartTls)
            },
            "the mail server answered 535",
        ),
        (
            MailOptions {
                authorities: Some(authority.pem()),
                ..options(plain.port, SmtpSecurity::StartTls)
            },
            "the mail server does not offer what the settings ask for: STARTTLS, or a way to sign in",
        ),
    ] {
        let stage = Stage::mailing(options).await;
        let mail = stage.email().await;
        let mut sender = stage.sender().await;
        let id = stage.queue(mail).await;
        let found = stage.settled(id, 1).await;
        assert_eq!(found.error, error);
        assert_eq!(
            found.state,
            DeliveryState::Pending,
            "an operator may correct it"
        );
        sender.stop().await;
    }
    assert!(guarded.is_empty() && plain.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_refused_for_good_is_given_up_and_one_that_is_not_waits() {
    for (answer, state, error) in [
        (
            "550 no such user: s3cret-echo",
            DeliveryState::Failed,
            "the mail server answered 550",
        ),
        (
            "451 try later: s3cret-echo",
            DeliveryState::Pending,
            "the mail server answered 451",
        ),
    ] {
        let server = MailServer::refusing(answer);
        let stage = Stage::mailing(options(server.port, SmtpSecurity::None)).await;
        let mail = stage.email().await;
        let mut sender = stage.sender().await;
        let id = stage.queue(mail).await;
        let found = stage.settled(id, 1).await;
        assert_eq!((found.state, found.error.as_str()), (state, error));
        sender.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_tells_what_was_given_up_once_an_hour() {
    let receiver = Receiver::start().await;
    receiver.tell(410);
    let server = MailServer::plain();
    let stage = Stage::mailing(options(server.port, SmtpSecurity::None)).await;
    let hook = stage.webhook(&receiver.url("/as-told")).await;
    let mut sender = stage.sender().await;
    for _ in 0..3 {
        let id = stage.queue(hook).await;
        assert_eq!(stage.settled(id, 1).await.state, DeliveryState::Failed);
        stage.advance(Duration::from_secs(1));
        if stage.delivered("email", "sent") == 0 {
            stage.alert().await;
        }
    }
    let first = server.mail().await;
    assert_eq!(first["to"].as_array().unwrap(), &[FAILURES]);
    let text = first["text"].as_str().unwrap();
    for part in [
        "Subject: Keywheel could not deliver: workflow 1, action 1\r\n",
        "Password: Domain Admin\r\n",
        "Attempts: 1\r\n",
        "Last error: the receiver answered 410\r\n",
        "since the last alert: 1\r\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(server.is_empty(), "within the hour");
    stage.advance(Duration::from_hours(1));
    let second = server.mail().await;
    assert!(
        second["text"]
            .as_str()
            .unwrap()
            .contains("since the last alert: 2\r\n")
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_hangs_delays_its_own_mails_alone() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let receiver = Receiver::start().await;
    let stage = Stage::mailing(options(port, SmtpSecurity::None)).await;
    let hook = stage.webhook(&receiver.url("/quick")).await;
    let mut hanging = Vec::new();
    for _ in 0..6 {
        let mail = stage.email().await;
        for _ in 0..10 {
            hanging.push(stage.queue(mail).await);
        }
    }
    let mut sender = stage.sender().await;
    let mut connections = Vec::new();
    for _ in 0..32 {
        connections.push(silent.accept().await.unwrap());
    }
    let id = stage.queue(hook).await;
    assert_eq!(stage.settled(id, 1).await.state, DeliveryState::Sent);
    stage.advance(Duration::from_secs(10));
    let found = stage.settled(hanging[0], 1).await;
    assert_eq!(found.error, "no answer within 10 s");
    sender.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_told_at_the_start() {
    let built = |mail: MailOptions| {
        let options = NotifyOptions {
            mail: Some(mail),
            ..NotifyOptions::default()
        };
        Notifier::new(options, SystemClock::shared()).map(drop)
    };
    let from = MailOptions {
        from: "nobody".to_owned(),
        ..options(25, SmtpSecurity::None)
    };
    assert!(matches!(built(from), Err(NotifyError::From)));
    let authorities = MailOptions {
        authorities: Some(b"no certificate".to_vec()),
        ..options(25, SmtpSecurity::Tls)
    };
    assert!(matches!(built(authorities), Err(NotifyError::Authority)));
}
