//! The platform `cisco_ios` with a device of `tests/fleet/device.py`, on a real sshd.

use std::io::Write;
use std::sync::{Arc, Mutex};

use keywheel_connectors::dialogue::{Dialogue, Dialogues};
use keywheel_connectors::{
    Account, Changed, Checked, Class, Connector, Credential, Evidence, Scope, Secret,
};

use crate::fleet::{Fleet, account, first};
use crate::stage::{ENABLE, keeps_every_promise, open, part, shipped, start, target};

const SHIPPED: &str = include_str!("../../../config/platforms/cisco_ios.toml");

/// The shipped definition with less patience, under another id.
fn impatient(edit: impl Fn(String) -> String) -> Arc<Dialogue> {
    let text = SHIPPED.replace("\"cisco_ios\"", "\"impatient\"");
    let text = edit(text.replace("step_s = 10, total_s = 60", "step_s = 2, total_s = 20"));
    let text = text.replace("step_s = 30", "step_s = 2");
    let parsed = Dialogue::parse("impatient", &text);
    Arc::new(parsed.unwrap_or_else(|faults| panic!("{faults:#?}")))
}

fn same(text: String) -> String {
    text
}

fn device() -> Fleet {
    start(&[("USERS", "4"), ("DEVICE", "1"), ("SUDO", "none")])
}

/// Gives the device a trouble; an empty one takes it away.
fn trouble(fleet: &Fleet, word: &str) {
    fleet.run(&format!("echo {word} >/etc/keywheel/device"));
}

fn is_saved(fleet: &Fleet, login: &str) -> bool {
    let line = format!("grep ^{login}: /etc/keywheel/startup 2>/dev/null | cut -d: -f2");
    fleet.run(&line).trim() == fleet.field(login)
}

fn bob() -> (Account, Credential, Credential) {
    let new = Credential::from("Fresh-1-kw-vLm9Q");
    (account("kw_u0"), new, first("kw_u0"))
}

async fn holds(connector: &Dialogues, fleet: &Fleet, right: &Credential, wrong: &Credential) {
    let session = open(connector, &target(fleet, shipped("cisco_ios"))).await;
    let (bob, ..) = bob();
    assert_eq!(session.check(&bob, right).await, Checked::Accepted);
    let seen = session.check(&bob, wrong).await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
}

#[tokio::test]
async fn the_platform_cisco_ios_keeps_every_promise() {
    let fleet = start(&[("USERS", "8"), ("DEVICE", "1"), ("SUDO", "none")]);
    keeps_every_promise(&fleet, "cisco_ios").await;
}

#[tokio::test]
async fn a_device_is_changed_tested_and_saved() {
    let fleet = device();
    let session = open(&Dialogues::new(), &target(&fleet, shipped("cisco_ios"))).await;
    let (bob, new, old) = bob();
    assert_eq!(session.change(&bob, &new, Some(&old)).await, Changed::Done);
    assert_eq!(session.check(&bob, &new).await, Checked::Accepted);
    let seen = session.check(&bob, &old).await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
    assert!(is_saved(&fleet, "kw_u0"));
    // It restarts, and still knows the new one.
    fleet.run("cp /etc/keywheel/startup /etc/shadow");
    assert_eq!(session.check(&bob, &new).await, Checked::Accepted);
    // The session's connection is used up; the next change brings its own.
    let again = Credential::from("Fresh-2-kw-vLm9Q");
    assert_eq!(session.change(&bob, &again, None).await, Changed::Done);
    assert_eq!(session.check(&bob, &again).await, Checked::Accepted);
    let seen = session.evidence(&bob, &again, Some(&new)).await;
    assert!(matches!(seen, Evidence::Undecided(_)), "{seen:?}");
}

#[tokio::test]
async fn a_pager_is_turned_page_by_page() {
    let fleet = device();
    trouble(&fleet, "pager");
    let session = open(&Dialogues::new(), &target(&fleet, shipped("cisco_ios"))).await;
    let (bob, new, _) = bob();
    assert_eq!(session.change(&bob, &new, None).await, Changed::Done);
    assert_eq!(session.check(&bob, &new).await, Checked::Accepted);
}

/// A trouble that the device says or shows before anything has changed.
async fn changes_nothing(word: &str, class: Class, scope: Scope) -> Changed {
    let fleet = device();
    trouble(&fleet, word);
    let connector = Dialogues::new();
    let (bob, new, old) = bob();
    let field = fleet.field("kw_u0");
    let session = open(&connector, &target(&fleet, impatient(same))).await;
    let seen = session.change(&bob, &new, Some(&old)).await;
    let (Changed::NotNow(reason) | Changed::Refused(reason)) = &seen else {
        panic!("{word}: {seen:?}")
    };
    assert_eq!((reason.class, reason.scope), (class, scope), "{seen:?}");
    assert!(reason.text.contains("step"), "{seen:?}");
    assert_eq!(fleet.field("kw_u0"), field);
    trouble(&fleet, "");
    holds(&connector, &fleet, &old, &new).await;
    seen
}

#[tokio::test]
async fn a_short_password_is_refused_by_the_rule_and_by_the_device() {
    let fleet = device();
    let session = open(&Dialogues::new(), &target(&fleet, shipped("cisco_ios"))).await;
    let (bob, _, old) = bob();
    let log = fleet.log();
    // Seven characters: the platform's rule knows, and nobody is asked.
    let seen = session
        .change(&bob, &Credential::from("Sev-en7"), None)
        .await;
    assert!(
        matches!(&seen, Changed::Refused(reason) if reason.text.contains("8 to 64 characters")),
        "{seen:?}"
    );
    assert_eq!(fleet.log(), log, "no connection was made");
    // Nine: the device wants ten.
    let seen = session
        .change(&bob, &Credential::from("Nine-vLm9"), None)
        .await;
    assert!(
        matches!(&seen, Changed::Refused(reason)
            if reason.class == Class::Refused && reason.text.contains("step 4")),
        "{seen:?}"
    );
    assert_eq!(session.check(&bob, &old).await, Checked::Accepted);
}

#[tokio::test]
async fn a_refused_command_is_incompatible() {
    let seen = changes_nothing("refuse", Class::Incompatible, Scope::Account).await;
    assert!(matches!(seen, Changed::NotNow(_)));
}

#[tokio::test]
async fn a_prompt_that_changes_half_way_stops_before_the_commit() {
    let seen = changes_nothing("prompt", Class::Incompatible, Scope::Account).await;
    assert!(matches!(seen, Changed::NotNow(_)));
}

#[tokio::test]
async fn a_device_that_asks_twice_gets_one_answer() {
    changes_nothing("twice", Class::Privilege, Scope::System).await;
}

#[tokio::test]
async fn a_device_that_talks_without_end_is_left() {
    changes_nothing("flood", Class::Incompatible, Scope::Account).await;
}

#[tokio::test]
async fn a_wrong_or_missing_enable_secret_is_named() {
    let fleet = device();
    let (bob, new, old) = bob();
    let mut target = target(&fleet, shipped("cisco_ios"));
    part(&mut target).enable = None;
    let session = open(&Dialogues::new(), &target).await;
    let seen = session.change(&bob, &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason)
            if reason.class == Class::Privilege && reason.text.contains("enable secret")),
        "{seen:?}"
    );
    part(&mut target).enable = Some(Secret::from("Wrong-kw-vLm9"));
    let session = open(&Dialogues::new(), &target).await;
    let seen = session.change(&bob, &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Privilege),
        "{seen:?}"
    );
    assert_eq!(session.check(&bob, &old).await, Checked::Accepted);
}

/// A trouble after the commit has left: doubt, then what a login finds.
async fn leaves_doubt(word: &str, is_set: bool) -> String {
    let fleet = device();
    trouble(&fleet, word);
    let connector = Dialogues::new();
    let (bob, new, old) = bob();
    let session = open(&connector, &target(&fleet, impatient(same))).await;
    let seen = session.change(&bob, &new, Some(&old)).await;
    let Changed::Unknown(reason) = seen else {
        panic!("{word}: {seen:?}")
    };
    assert_eq!(
        (reason.class, reason.scope),
        (Class::Unknown, Scope::Account)
    );
    assert!(!is_saved(&fleet, "kw_u0"), "{word}: nothing may be saved");
    // No look without login; a login decides.
    let seen = session.evidence(&bob, &new, Some(&old)).await;
    assert!(matches!(seen, Evidence::Undecided(_)), "{seen:?}");
    trouble(&fleet, "");
    let (right, wrong) = if is_set { (new, old) } else { (old, new) };
    holds(&connector, &fleet, &right, &wrong).await;
    reason.text.into_owned()
}

#[tokio::test]
async fn a_line_that_drops_after_the_commit_leaves_doubt() {
    leaves_doubt("drop", true).await;
    leaves_doubt("cut", false).await;
}

#[tokio::test]
async fn a_device_that_does_not_answer_the_commit_leaves_doubt() {
    leaves_doubt("late", true).await;
    leaves_doubt("deaf", false).await;
}

#[tokio::test]
async fn a_complaint_about_a_later_step_is_no_refusal() {
    let text = leaves_doubt("after", true).await;
    assert!(text.contains("a later step failed"), "{text}");
}

#[tokio::test]
async fn nothing_is_saved_before_a_login_has_succeeded() {
    let text = leaves_doubt("lie", false).await;
    assert!(text.contains("nothing was saved"), "{text}");
}

#[tokio::test]
async fn a_failed_save_is_told_and_a_reboot_brings_the_old_password_back() {
    let fleet = device();
    fleet.run("cp /etc/shadow /etc/keywheel/startup");
    trouble(&fleet, "nosave");
    let connector = Dialogues::new();
    let (bob, new, old) = bob();
    let session = open(&connector, &target(&fleet, impatient(same))).await;
    let seen = session.change(&bob, &new, Some(&old)).await;
    assert!(
        matches!(&seen, Changed::Unknown(reason) if reason.text.starts_with("applied but unsaved")),
        "{seen:?}"
    );
    holds(&connector, &fleet, &new, &old).await;
    fleet.run("cp /etc/keywheel/startup /etc/shadow");
    holds(&connector, &fleet, &old, &new).await;
}

#[tokio::test]
async fn no_login_is_tried_while_a_change_may_still_be_taken_back() {
    let fleet = device();
    trouble(&fleet, "drop");
    let connector = Dialogues::new();
    let (bob, new, old) = bob();
    let undoes = |text: String| text.replace("verify = \"login\"", "undo_s = 600");
    let session = open(&connector, &target(&fleet, impatient(undoes))).await;
    let seen = session.change(&bob, &new, Some(&old)).await;
    assert!(matches!(seen, Changed::Unknown(_)), "{seen:?}");
    let log = fleet.log();
    for session in [
        session,
        open(&connector, &target(&fleet, shipped("cisco_ios"))).await,
    ] {
        let seen = session.check(&bob, &new).await;
        assert!(
            matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Busy),
            "{seen:?}"
        );
    }
    assert!(
        !fleet.log()[log.len()..].contains("kw_u0"),
        "nobody logged in"
    );
    // Other accounts go on.
    trouble(&fleet, "");
    let session = open(&connector, &target(&fleet, shipped("cisco_ios"))).await;
    let seen = session.check(&account("kw_u1"), &first("kw_u1")).await;
    assert_eq!(seen, Checked::Accepted);
}

/// Where the log goes.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_echoed_secret_reads_sent_in_the_transcript_and_stands_in_no_log() {
    let heard = Heard::default();
    let writer = heard.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(log).unwrap();
    tracing::trace!("the log is heard");
    let fleet = device();
    let lines = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&lines);
    let connector = Dialogues::reading_out(move |line| {
        let mut lines = into.lock().unwrap();
        lines.push_str(line);
        lines.push('\n');
    });
    let session = open(&connector, &target(&fleet, shipped("cisco_ios"))).await;
    let bob = account("kw_u3");
    let new = Credential::from("Canary-3-kw-vLm9Q");
    assert_eq!(session.change(&bob, &new, None).await, Changed::Done);
    let transcript = lines.lock().unwrap().clone();
    let line = "username kw_u3 algorithm-type scrypt secret <SENT>";
    assert!(
        transcript.contains(&format!("sent: {line}")),
        "{transcript}"
    );
    // Heard, too: the device has echoed it.
    assert!(transcript.matches(line).count() >= 2, "{transcript}");
    assert!(transcript.contains("Unauthorised access"), "{transcript}");
    let log = String::from_utf8(heard.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log is heard"), "{log}");
    for secret in ["Canary-3-kw-vLm9Q", ENABLE] {
        assert!(!transcript.contains(secret), "{secret} was read out");
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
    assert!(
        !log.contains("Unauthorised access"),
        "a system's words: {log}"
    );
}

#[tokio::test]
async fn a_device_without_a_pinned_key_is_not_spoken_to() {
    let fleet = device();
    let mut target = target(&fleet, shipped("cisco_ios"));
    part(&mut target).host_key = None;
    let refused = Dialogues::new().open(&target, None).await.err().unwrap();
    assert_eq!(refused.class, Class::IdentityMismatch);
    assert!(!fleet.log().contains("Accepted"));
}
