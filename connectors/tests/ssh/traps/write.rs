//! Changes that are cut, killed, faked, or land late.

use super::*;

/// Ends when no command of the functional account runs on this target any more.
const WRITERS_END: &str = "while pgrep --ns $$ --nslist mnt -u kw_func,root \
     -x 'sh|sudo|chpasswd' | grep -vqx $$; do sleep 0.02; done";

/// Puts a script in the place of `chpasswd`.
fn fake_chpasswd(fleet: &Fleet, script: &str) {
    fleet.run(&format!(
        "printf '#!/bin/sh\\n{script}\\n' >/run/fake; chmod 755 /run/fake; \
         mount --bind /run/fake /usr/sbin/chpasswd",
    ));
}

/// Checks again and again, until the secret is accepted; fails after 20 s.
async fn becomes_accepted(session: &Arc<dyn Session>, account: &Account, secret: &Credential) {
    let accepted = async {
        while session.check(account, secret).await != Checked::Accepted {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), accepted).await.unwrap();
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_command_is_never_success() {
    let fleet = Arc::new(Fleet::start(&[("USERS", "1")]));
    let wire = Wire::to((fleet.address, fleet.port));
    let session = open(&through(&wire, &fleet)).await;
    let holder = holder(&fleet);
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-cut-vLm9Q"));
    let change = session.change(&kw_u0, &new, None);
    let cut = async {
        let fleet = Arc::clone(&fleet);
        let begun = "until pgrep --ns $$ --nslist mnt -x chpasswd; do sleep 0.02; done";
        tokio::task::spawn_blocking(move || fleet.run(begun))
            .await
            .unwrap();
        wire.cut();
    };
    let both = timeout(Duration::from_secs(10), futures::future::join(change, cut));
    let (changed, ()) = both.await.unwrap();
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    release(holder);
}

#[tokio::test]
async fn a_command_that_is_killed_is_never_success() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    fake_chpasswd(&fleet, r"cat >/dev/null\nkill -9 0");
    let new = Credential::from("New-killed-vLm9Q");
    let changed = session.change(&account("kw_u0"), &new, None).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    let checked = session.check(&account("kw_u0"), &first("kw_u0")).await;
    assert_eq!(checked, Checked::Accepted);
}

#[tokio::test]
async fn a_chpasswd_that_lies_is_found_out_by_the_check() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    fake_chpasswd(&fleet, "cat >/dev/null");
    let new = Credential::from("New-lie-vLm9Q");
    assert_eq!(
        session.change(&account("kw_u0"), &new, None).await,
        Changed::Done
    );
    let checked = session.check(&account("kw_u0"), &new).await;
    assert!(matches!(checked, Checked::Rejected(_)), "{checked:?}");
}

#[tokio::test]
async fn a_chpasswd_that_fails_says_whether_anything_changed() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-full-vLm9Q"));
    fleet.run("mount -o remount,ro,bind /etc");
    let changed = session.change(&kw_u0, &new, None).await;
    assert!(matches!(changed, Changed::NotNow(_)), "{changed:?}");
    assert_eq!(
        session.check(&kw_u0, &first("kw_u0")).await,
        Checked::Accepted
    );
    fleet.run("mount -o remount,rw,bind /etc");
    assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
}

#[tokio::test]
async fn wherever_the_wire_is_cut_no_half_password_is_set() {
    let fleet = Fleet::start(&[("USERS", "1"), ("STARTUPS", "100:30:200")]);
    let wire = Wire::to((fleet.address, fleet.port));
    let target = through(&wire, &fleet);
    let kw_u0 = account("kw_u0");
    let direct = open(&fleet.target()).await;
    let mut now = first("kw_u0");

    let session = open(&target).await;
    let before = wire.to_server_bytes();
    let new = Credential::from("Swept-whole-vLm9Q");
    assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
    now = if direct.check(&kw_u0, &new).await == Checked::Accepted {
        new
    } else {
        now
    };
    let needed = wire.to_server_bytes() - before;
    session.close().await;

    let (mut done, mut unknown, mut not_now) = (0, 0, 0);
    for step in 0..16 {
        wire.mend();
        let session = open(&target).await;
        // The connection that is open stays; only what it may still carry is bounded.
        wire.allow(match step {
            0 => needed * 2,
            _ => needed.saturating_sub(step * 40) + 8,
        });
        let new = Credential::from(format!("Swept-{step}-and-long-enough-vLm9Q"));
        let changed = session.change(&kw_u0, &new, None).await;
        let has_new = match &changed {
            Changed::Done => {
                done += 1;
                true
            }
            Changed::NotNow(_) => {
                not_now += 1;
                false
            }
            Changed::Unknown(_) => {
                unknown += 1;
                // What was sent may land late: wait until whoever may write has ended.
                fleet.run(WRITERS_END);
                direct.check(&kw_u0, &new).await == Checked::Accepted
            }
            Changed::Refused(reason) => panic!("{reason}"),
        };
        now = if has_new { new } else { now };
        assert_eq!(
            direct.check(&kw_u0, &now).await,
            Checked::Accepted,
            "{step}: {changed:?}"
        );
    }
    assert!(
        done > 0 && unknown > 0 && not_now > 0,
        "{done} done, {unknown} unknown, {not_now}"
    );
}

#[tokio::test]
async fn a_write_that_lands_late_is_awaited_by_the_look() {
    let fleet = Fleet::start(&[("USERS", "1"), ("WRAPPER", "1")]);
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-late-vLm9Q"));
    let short = Target {
        timeout: Duration::from_secs(2),
        ..fleet.target()
    };
    let session = open(&short).await;
    let holder = holder(&fleet);
    let changed = session.change(&kw_u0, &new, None).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    let field = fleet.field("kw_u0");
    let old = first("kw_u0");
    let seen = session.evidence(&kw_u0, &new, Some(&old)).await;
    assert!(
        matches!(seen, Evidence::Undecided(_)),
        "not before the writer has ended: {seen:?}"
    );
    assert_eq!(fleet.field("kw_u0"), field, "the writer still waits");
    release(holder);
    let patient = open(&fleet.target()).await;
    assert_eq!(
        patient.evidence(&kw_u0, &new, Some(&old)).await,
        Evidence::Candidate
    );
    assert_eq!(patient.check(&kw_u0, &new).await, Checked::Accepted);
}

#[tokio::test]
async fn without_the_wrapper_a_late_write_is_unknown_and_lands() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-late-vLm9Q"));
    let short = Target {
        timeout: Duration::from_secs(2),
        ..fleet.target()
    };
    let session = open(&short).await;
    let holder = holder(&fleet);
    let changed = session.change(&kw_u0, &new, None).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    assert_eq!(
        session.check(&kw_u0, &first("kw_u0")).await,
        Checked::Accepted
    );
    release(holder);
    becomes_accepted(&open(&fleet.target()).await, &kw_u0, &new).await;
}

#[tokio::test]
async fn a_locked_account_stays_locked_under_the_wrapper() {
    let fleet = Fleet::start(&[("USERS", "1"), ("WRAPPER", "1")]);
    let session = open(&fleet.target()).await;
    let before = fleet.field("kw_locked");
    assert!(before.starts_with('!'));
    let (locked, new) = (account("kw_locked"), Credential::from("New-locked-vLm9Q"));
    let seen = session.change(&locked, &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Locked),
        "{seen:?}"
    );
    assert_eq!(fleet.field("kw_locked"), before);
    let seen = session
        .evidence(&locked, &new, Some(&first("kw_locked")))
        .await;
    assert!(
        matches!(&seen, Evidence::Undecided(reason) if reason.class == Class::Locked),
        "{seen:?}"
    );
    // Whom the wrapper's list does not name, it does not touch.
    let seen = session.change(&account("kw_func"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if has_class(reason, Class::Privilege, Scope::Account)),
        "{seen:?}"
    );
}
