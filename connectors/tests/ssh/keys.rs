//! Keys in `authorized_keys` of real accounts.

use std::sync::Arc;

use keywheel_connectors::{Changed, Checked, Class, Evidence, KeyPair, Scope, Session, Target};

use crate::fleet::{Fleet, account, first, functional, key, key_pair, open, own};
use crate::peer::Wire;

pub(crate) const FILE: &str = "/home/kw_u0/.ssh/authorized_keys";

/// A host whose functional account may run anything.
pub(crate) fn fleet() -> Fleet {
    Fleet::start(&[("USERS", "2"), ("SUDO", "all")])
}

pub(crate) async fn session(fleet: &Fleet) -> Arc<dyn Session> {
    open(&fleet.target(), Some(&functional())).await
}

/// Writes the key file of `kw_u0`, byte for byte, as its owner has it.
pub(crate) fn write(fleet: &Fleet, file: &str) {
    let octal = file.bytes().fold(String::new(), |octal, byte| {
        octal + &format!("\\\\{byte:03o}")
    });
    fleet.run(&format!(
        "install -d -m 700 -o kw_u0 -g kw_u0 /home/kw_u0/.ssh; printf {octal} >{FILE}; \
         chown kw_u0:kw_u0 {FILE}; chmod 600 {FILE}"
    ));
}

pub(crate) fn read(fleet: &Fleet) -> String {
    fleet.run(&format!("cat {FILE}"))
}

pub(crate) fn line(pair: &KeyPair) -> String {
    format!("{} {}\n", pair.public, pair.marker)
}

pub(crate) fn class_of(changed: &Changed) -> Option<Class> {
    match changed {
        Changed::NotNow(reason) | Changed::Refused(reason) | Changed::Unknown(reason) => {
            Some(reason.class)
        }
        Changed::Done => None,
    }
}

pub(crate) const FOREIGN: &str = "# mine\n\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIforeign me@laptop\r\n\
     command=\"echo \\\"ssh-rsa AAAA\\\"\",no-pty ssh-rsa AAAAB3NzaC1yc2Eforeign two words\n\t\n";

#[tokio::test]
async fn keys_of_every_kind_are_added_proven_and_retired() {
    let fleet = fleet();
    let session = session(&fleet).await;
    let kw_u0 = account("kw_u0");
    write(&fleet, FOREIGN);
    let mut current: Option<KeyPair> = None;
    for (number, kind) in ["ed25519", "ecdsa", "rsa", "ed25519"]
        .into_iter()
        .enumerate()
    {
        let new = key_pair(kind, &format!("keywheel:7:{number}"));
        let old = current.as_ref().map(key);
        let changed = session.change(&kw_u0, &key(&new), old.as_ref()).await;
        assert_eq!(changed, Changed::Done, "{kind}");
        assert_eq!(session.check(&kw_u0, &key(&new)).await, Checked::Accepted);
        assert_eq!(
            session.evidence(&kw_u0, &key(&new), old.as_ref()).await,
            Evidence::Candidate
        );
        if let Some(old) = &old {
            assert_eq!(
                session.check(&kw_u0, old).await,
                Checked::Accepted,
                "{kind}"
            );
            // Gone, and gone still.
            for _ in 0..2 {
                assert_eq!(session.retire(&kw_u0, old).await, Changed::Done);
            }
            let seen = session.check(&kw_u0, old).await;
            assert!(matches!(seen, Checked::Rejected(_)), "{kind}: {seen:?}");
            assert_eq!(
                session.evidence(&kw_u0, old, Some(&key(&new))).await,
                Evidence::Current
            );
            assert_eq!(session.evidence(&kw_u0, old, None).await, Evidence::Neither);
        }
        assert_eq!(session.check(&kw_u0, &key(&new)).await, Checked::Accepted);
        assert_eq!(read(&fleet), format!("{FOREIGN}{}", line(&new)), "{kind}");
        current = Some(new);
    }
    // A password stands beside the keys.
    let seen = session.check(&kw_u0, &first("kw_u0")).await;
    assert_eq!(seen, Checked::Accepted);
}

#[tokio::test]
async fn keys_symlink_disk_full_no_final_newline_and_options_leave_foreign_lines_byte_equal() {
    let fleet = fleet();
    let session = session(&fleet).await;
    let kw_u0 = account("kw_u0");
    let (old, new) = (
        key_pair("ed25519", "keywheel:7:1"),
        key_pair("ed25519", "keywheel:7:2"),
    );

    // No final newline, and options that the new line must keep.
    let options =
        "from=\"127.0.0.0/8\",command=\"id -un; exec $SHELL -c \\\"$SSH_ORIGINAL_COMMAND\\\"\"";
    let before = format!("{FOREIGN}{options} {} whoever", old.public);
    write(&fleet, &before);
    fleet.run(&format!("chmod 640 {FILE}"));
    for _ in 0..2 {
        let changed = session.change(&kw_u0, &key(&new), Some(&key(&old))).await;
        assert_eq!(changed, Changed::Done);
        let after = format!("{before}\n{options} {}", line(&new));
        assert_eq!(read(&fleet), after, "once is enough");
    }
    assert_eq!(session.check(&kw_u0, &key(&new)).await, Checked::Accepted);
    assert_eq!(session.retire(&kw_u0, &key(&old)).await, Changed::Done);
    assert_eq!(read(&fleet), format!("{FOREIGN}{options} {}", line(&new)));
    let whose = fleet.run(&format!(
        "stat -c '%U %G %a' {FILE}; ls -A /home/kw_u0/.ssh"
    ));
    assert_eq!(
        whose, "kw_u0 kw_u0 640\nauthorized_keys\n",
        "nothing is left behind"
    );

    // Links are not followed.
    let next = key_pair("ed25519", "keywheel:7:3");
    for (make, undo) in [
        (
            "mv .ssh/authorized_keys elsewhere; ln -s ../elsewhere .ssh/authorized_keys",
            "mv elsewhere .ssh/authorized_keys",
        ),
        ("mv .ssh there; ln -s there .ssh", "rm .ssh; mv there .ssh"),
        (
            "mv .ssh/authorized_keys kept; mkdir .ssh/authorized_keys",
            "rmdir .ssh/authorized_keys; mv kept .ssh/authorized_keys",
        ),
    ] {
        fleet.run(&format!("cd /home/kw_u0; {make}"));
        for seen in [
            session.change(&kw_u0, &key(&next), None).await,
            session.retire(&kw_u0, &key(&new)).await,
        ] {
            assert!(matches!(seen, Changed::NotNow(_)), "{make}: {seen:?}");
            assert_eq!(
                class_of(&seen),
                Some(Class::Incompatible),
                "{make}: {seen:?}"
            );
        }
        fleet.run(&format!("cd /home/kw_u0; {undo}"));
        assert_eq!(read(&fleet), format!("{FOREIGN}{options} {}", line(&new)));
    }

    // A full disk leaves the old file whole.
    fleet.run(
        "cp -a /home/kw_u0/.ssh /run/kept; mount -t tmpfs -o size=16k,mode=755 kw /home/kw_u0; \
         chown kw_u0: /home/kw_u0; cp -a /run/kept /home/kw_u0/.ssh; \
         dd if=/dev/zero of=/home/kw_u0/fill bs=1k 2>/dev/null; true",
    );
    let kept = read(&fleet);
    for seen in [
        session.change(&kw_u0, &key(&next), None).await,
        session.retire(&kw_u0, &key(&new)).await,
    ] {
        assert!(matches!(seen, Changed::NotNow(_)), "{seen:?}");
    }
    assert_eq!(read(&fleet), kept);
    assert_eq!(fleet.run("ls -A /home/kw_u0/.ssh"), "authorized_keys\n");
    fleet.run("rm /home/kw_u0/fill");
    assert_eq!(
        session.change(&kw_u0, &key(&next), None).await,
        Changed::Done
    );
}

#[tokio::test]
async fn a_home_without_keys_gets_its_folder_and_file() {
    let fleet = fleet();
    let session = session(&fleet).await;
    let new = key_pair("ed25519", "keywheel:8:1");
    for login in ["kw_u0", "kw_csh", "kw_noise"] {
        let account = account(login);
        let look = session.evidence(&account, &key(&new), None).await;
        assert_eq!(look, Evidence::Neither, "{login}");
        let changed = session.change(&account, &key(&new), None).await;
        assert_eq!(changed, Changed::Done, "{login}");
        let seen = session.check(&account, &key(&new)).await;
        assert_eq!(seen, Checked::Accepted, "{login}");
        let modes = fleet.run(&format!(
            "cd /home/{login}; stat -c '%U %G %a' .ssh .ssh/authorized_keys"
        ));
        assert_eq!(modes, format!("{login} {login} 700\n{login} {login} 600\n"));
    }
    // No login of its own: a locked password and a shell that lets nobody in.
    fleet.run("usermod -s /usr/sbin/nologin kw_locked");
    let changed = session
        .change(&account("kw_locked"), &key(&new), None)
        .await;
    assert_eq!(changed, Changed::Done);
    assert!(fleet.field("kw_locked").starts_with('!'));
    // On OpenSSH a key is proven by the login alone there.
    let seen = session.check(&account("kw_locked"), &key(&new)).await;
    assert_eq!(seen, Checked::Accepted);
    // A password that must be changed first stands in a key's way.
    let kw_expired = account("kw_expired");
    let changed = session.change(&kw_expired, &key(&new), None).await;
    assert_eq!(changed, Changed::Done);
    let seen = session.check(&kw_expired, &key(&new)).await;
    assert!(
        matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Expired),
        "{seen:?}"
    );
    let other = key_pair("ed25519", "keywheel:8:2");
    let seen = session
        .change(&own("kw_expired"), &key(&other), Some(&key(&new)))
        .await;
    assert!(
        matches!(&seen, Changed::NotNow(reason)
            if reason.class == Class::Expired && reason.scope == Scope::Account),
        "{seen:?}"
    );
    let unknown = session
        .change(&account("kw_nobody"), &key(&new), None)
        .await;
    assert_eq!(class_of(&unknown), Some(Class::NoAccount), "{unknown:?}");
}

#[tokio::test]
async fn a_new_key_that_fails_leaves_the_old_one_and_its_marker_goes() {
    let fleet = fleet();
    let session = session(&fleet).await;
    let kw_u0 = account("kw_u0");
    let (old, other) = (
        key_pair("ed25519", "keywheel:7:1"),
        key_pair("ed25519", "keywheel:7:9"),
    );
    assert_eq!(
        session.change(&kw_u0, &key(&old), None).await,
        Changed::Done
    );
    // The public half does not belong to the private one.
    let broken = KeyPair {
        private: other.private.clone(),
        ..key_pair("ed25519", "keywheel:7:2")
    };
    let changed = session
        .change(&kw_u0, &key(&broken), Some(&key(&old)))
        .await;
    assert_eq!(changed, Changed::Done);
    let seen = session.check(&kw_u0, &key(&broken)).await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
    assert_eq!(session.check(&kw_u0, &key(&old)).await, Checked::Accepted);
    assert_eq!(session.retire(&kw_u0, &key(&broken)).await, Changed::Done);
    assert_eq!(read(&fleet), line(&old));
    // What is no key at all is not judged.
    let nonsense = KeyPair {
        private: "no key".into(),
        ..old.clone()
    };
    let seen = session.check(&kw_u0, &key(&nonsense)).await;
    assert!(matches!(seen, Checked::NotNow(_)), "{seen:?}");
}

#[tokio::test]
async fn a_lost_reply_is_unknown_until_the_file_is_read() {
    let fleet = fleet();
    let wire = Wire::to((fleet.address, fleet.port));
    let target = Target {
        host: wire.address.to_string(),
        port: wire.port,
        ..fleet.target()
    };
    let kw_u0 = account("kw_u0");
    let direct = session(&fleet).await;
    let through = open(&target, Some(&functional())).await;
    let before = wire.to_server_bytes();
    let mut current = key_pair("ed25519", "keywheel:7:0");
    let changed = through.change(&kw_u0, &key(&current), None).await;
    assert_eq!(changed, Changed::Done);
    let needed = wire.to_server_bytes() - before;
    through.close().await;
    let (mut done, mut unknown, mut not_now) = (0, 0, 0);
    for step in 0..12 {
        wire.mend();
        let through = open(&target, Some(&functional())).await;
        // All of it first; how many bytes an exchange takes is not always the same.
        wire.allow(match step {
            0 => needed * 2,
            _ => needed.saturating_sub(step * 40) + 60,
        });
        let new = key_pair("ed25519", &format!("keywheel:7:{}", step + 1));
        let old = key(&current);
        let changed = through.change(&kw_u0, &key(&new), Some(&old)).await;
        let seen = direct.evidence(&kw_u0, &key(&new), Some(&old)).await;
        match &changed {
            Changed::Done => done += 1,
            Changed::NotNow(_) => not_now += 1,
            Changed::Unknown(_) => unknown += 1,
            Changed::Refused(reason) => panic!("{reason}"),
        }
        let right = match &changed {
            Changed::Done => seen == Evidence::Candidate,
            Changed::NotNow(_) => seen == Evidence::Current,
            _ => matches!(seen, Evidence::Candidate | Evidence::Current),
        };
        assert!(right, "{step}: {changed:?}, {seen:?}");
        assert_eq!(
            direct.check(&kw_u0, &old).await,
            Checked::Accepted,
            "{step}"
        );
        if seen == Evidence::Candidate {
            assert_eq!(direct.check(&kw_u0, &key(&new)).await, Checked::Accepted);
            assert_eq!(direct.retire(&kw_u0, &old).await, Changed::Done);
            current = new;
        }
        assert_eq!(read(&fleet), line(&current), "{step}");
    }
    assert!(
        done > 0 && unknown > 0 && not_now > 0,
        "{done} done, {unknown} unknown, {not_now} not now"
    );
}
