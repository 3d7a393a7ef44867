//! Who a host and its accounts are, whatever they are called.
//!
//! What a host says of itself it could say of any other, but for its key, which it has proved. Of
//! clones, which share key and machine id, the running kernel is another; of containers on one
//! kernel, the root of their files.
//!
//! Invariant: two machines never say the same of themselves while both run; what is missing makes
//! nobody an acquaintance.

use std::collections::HashMap;
use std::sync::Arc;

use super::guard;
use super::link::{Order, Output};
use super::reply;
use super::script;
use super::session::{SshSession, turn_did_not_come};
use super::talk::{Asked, Lines};
use super::turn::Turn;
use crate::canonical::hex;
use crate::{Account, CanonicalIdentity, Class, HostKey, Reason};

/// The most that may be printed: a line for each account of the largest batch, and noise.
const OUTPUT_MAX_BYTES: usize = 262_144;

impl SshSession {
    /// One answer for each account, in their order. One command for all of them.
    pub(super) async fn name_accounts(
        &self,
        accounts: &[Account],
        turn: &Arc<Turn>,
    ) -> Result<Vec<Option<CanonicalIdentity>>, Reason> {
        let Some(power) = self.power.as_ref() else {
            return Ok(vec![None; accounts.len()]);
        };
        let _place = self.command_place().await.ok_or_else(turn_did_not_come)?;
        let nonce = self.nonces.next();
        let order = Order {
            output_max_bytes: OUTPUT_MAX_BYTES,
            ..Order::new(script::identities(&nonce))
        };
        let mut head = String::new();
        // A name that a host could misread is not asked for.
        for account in accounts
            .iter()
            .filter(|one| guard::admit(one, None).is_ok())
        {
            head.push_str(account.login.as_str());
            head.push('\n');
        }
        head.push_str("KW-END\n");
        let talk = || Lines::new(head.clone(), None, Asked::new(None));
        let (output, _) = self.command(power, order, talk, turn).await?;
        if !reply::ended_well(&output, &nonce) {
            let text = "the host did not say who its accounts are";
            return Err(Reason::account(Class::Incompatible, text));
        }
        Ok(read(&output, &self.pin, accounts))
    }
}

fn read(output: &Output, pin: &HostKey, accounts: &[Account]) -> Vec<Option<CanonicalIdentity>> {
    let line = |mark: &str| {
        let mut lines = output.text.lines();
        let value = lines.find_map(|line| line.strip_prefix(mark))?.trim();
        (!value.is_empty()).then_some(value)
    };
    let (Some(boot), Some(root)) = (line("KW:boot:"), line("KW:root:")) else {
        return vec![None; accounts.len()];
    };
    let id = line("KW:machine:").unwrap_or("none");
    let key = hex(&pin.sha256);
    let machine = format!(
        "machine-id {id} boot {boot} root {root} {} {key}",
        pin.algorithm
    );
    let mut beings: HashMap<&str, String> = HashMap::new();
    for line in output.text.lines() {
        if let Some((asked, being)) = line.strip_prefix("KW:is:").and_then(of_account) {
            beings.entry(asked).or_insert(being);
        }
    }
    accounts
        .iter()
        .map(|account| {
            let being = beings.get(account.login.as_str())?;
            CanonicalIdentity::of(machine.clone(), being.clone())
        })
        .collect()
}

/// `<asked for>:<name>:<uid>`. The name is part of it: `toor` has a password of its own beside
/// `root`.
fn of_account(line: &str) -> Option<(&str, String)> {
    let mut fields = line.split(':');
    let (asked, name, uid) = (fields.next()?, fields.next()?, fields.next()?);
    let uid: u32 = uid.parse().ok()?;
    let whole = !name.is_empty() && fields.next().is_none();
    whole.then(|| (asked, format!("uid {uid} name {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Login;
    use zeroize::Zeroizing;

    fn named(text: &str, logins: &[&str], key: u8) -> Vec<Option<CanonicalIdentity>> {
        let output = Output {
            bytes: Zeroizing::new(text.into()),
            text: Zeroizing::new(text.into()),
            status: Some(0),
        };
        let pin = HostKey {
            algorithm: "ssh-ed25519".to_owned(),
            sha256: [key; 32],
        };
        let account = |login: &&str| Account::named(Login::parse(login).unwrap(), None);
        read(
            &output,
            &pin,
            &logins.iter().map(account).collect::<Vec<_>>(),
        )
    }

    const HOST: &str = "KW:machine:m1\nKW:boot:b1\nKW:root:1:2\n";

    #[test]
    fn each_account_is_named_by_number_and_name_of_a_running_machine() {
        let text = format!("{HOST}KW:is:root:root:0\nKW:is:toor:toor:0\nKW:is:alias:ann:7\n");
        let seen = named(&text, &["root", "alias", "toor", "nobody"], 0xab);
        let machine = format!(
            "machine-id m1 boot b1 root 1:2 ssh-ed25519 {}",
            "ab".repeat(32)
        );
        let beings: Vec<_> = seen
            .iter()
            .map(|one| one.as_ref().map(|one| &*one.being))
            .collect();
        let want = ["uid 0 name root", "uid 7 name ann", "uid 0 name toor"].map(Some);
        assert_eq!(beings, [&want[..], &[None]].concat());
        assert!(seen.iter().flatten().all(|one| one.machine == machine));
    }

    #[test]
    fn clones_and_containers_are_machines_of_their_own() {
        let of = |host: &str, key| named(&format!("{host}KW:is:root:root:0\n"), &["root"], key);
        let first = of(HOST, 1);
        assert_eq!(of(HOST, 1), first);
        for (host, key) in [
            ("KW:machine:m1\nKW:boot:b2\nKW:root:1:2\n", 1), // a clone
            ("KW:machine:m1\nKW:boot:b1\nKW:root:3:2\n", 1), // a container of the same image
            (HOST, 2),                                       // one that says it is another
        ] {
            assert_ne!(of(host, key), first, "{host}");
            assert!(of(host, key)[0].is_some());
        }
    }

    #[test]
    fn a_host_that_says_too_little_or_nonsense_is_no_acquaintance() {
        for text in [
            "KW:machine:m1\nKW:is:root:root:0\n".to_owned(),
            "KW:boot:\nKW:root:1:2\nKW:is:root:root:0\n".to_owned(),
            format!("{HOST}KW:is:root::0\n"),
            format!("{HOST}KW:is:root:root:x\n"),
            format!("{HOST}KW:is:root:root:0:more\n"),
            format!("{HOST}KW:is:other:root:0\n"),
            format!("{HOST}KW:is:root:r\u{7}t:0\n"),
        ] {
            assert_eq!(named(&text, &["root"], 1), [None], "{text:?}");
        }
    }
}
