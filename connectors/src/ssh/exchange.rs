//! What is exchanged with a host for one account.
//!
//! Invariant: an account that changes its own credential is never changed by another login, and
//! any other one never logs in to be changed.

use std::sync::Arc;

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::elevate::{Way, privilege};
use super::keys::{self, Keys, Wish};
use super::link::{Link, Order, Output, on_thread};
use super::login::{Entered, Failed, log_in_and_change};
use super::own::Passwd;
use super::script::{self, Mode};
use super::session::{Power, SshSession, lost, run, turn_did_not_come};
use super::talk::{Asked, Lines};
use super::turn::Turn;
use super::{reply, shadow};
use crate::{Account, Changed, Checked, Class, Credential, Evidence, KeyPair, Reason, Secret};

pub(super) fn only_checks() -> Reason {
    let text = "this session has no functional account: it can only check";
    Reason::system(Class::Privilege, text)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the target must learn it; wiped after sending"
)]
fn tail(new: &Secret) -> Zeroizing<String> {
    let new = new.expose_secret();
    // Reserved first: a buffer that grows leaves copies behind.
    let mut tail = Zeroizing::new(String::with_capacity(new.len() + 8));
    tail.push_str(new);
    tail.push_str("\nKW-END\n");
    tail
}

/// What is said to a command that may ask for a password so many times. A head that the wrapper
/// reads must not come before `sudo` has read its password.
fn lines(
    power: &Power,
    nonce: &str,
    head: String,
    tail: Option<Zeroizing<String>>,
    times: usize,
) -> Lines {
    if power.mode == Mode::Wrapper && power.way.asks {
        let asked = power.way.asked(nonce, &power.functional, &head, 2);
        return Lines::new(String::new(), tail, asked);
    }
    let asked = power.way.asked(nonce, &power.functional, "", times);
    Lines::new(head, tail, asked)
}

impl SshSession {
    /// Puts a new credential in the place of the current one, or a key beside it.
    pub(super) async fn replace(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
        turn: &Arc<Turn>,
    ) -> Changed {
        match (account.uses_own, new) {
            (true, _) => self.replace_own(account, new, current, turn).await,
            (false, Credential::Password(new)) => self.set(account, new, turn).await,
            (false, Credential::Key(new)) => {
                let current = match current {
                    Some(Credential::Key(pair)) => Some(pair.clone()),
                    Some(Credential::Password(_)) | None => None,
                };
                let new = new.clone();
                self.edit(account, &[], Wish::Add { new, current }, turn)
                    .await
            }
        }
    }

    /// Sets a password through the functional account.
    async fn set(&self, account: &Account, new: &Secret, turn: &Arc<Turn>) -> Changed {
        let Some(power) = &self.power else {
            return Changed::NotNow(only_checks());
        };
        if power.mode == Mode::Keys {
            return Changed::NotNow(privilege());
        }
        let Some(_place) = self.command_place().await else {
            return Changed::NotNow(turn_did_not_come());
        };
        let nonce = self.nonces.next();
        let order = Order::new(script::set(&nonce, power.way, power.mode));
        let head = || script::set_head(power.mode, account.login.as_str());
        let talk = || lines(power, &nonce, head(), Some(tail(new)), 2);
        match self.command(power, order, talk, turn).await {
            Ok((output, _)) => reply::changed(&output, &nonce, turn.was_sent()),
            Err(reason) => lost(turn, reason),
        }
    }

    /// Changes an account's key file through the functional account.
    async fn edit(
        &self,
        account: &Account,
        elsewhere: &[&KeyPair],
        wish: Wish,
        turn: &Arc<Turn>,
    ) -> Changed {
        match self.with_file(account, elsewhere, wish, turn).await {
            Ok((output, talk)) => talk.changed(&output, turn.was_sent()),
            Err(reason) => lost(turn, reason),
        }
    }

    /// Lets the script on the target show the key file, and change it.
    async fn with_file(
        &self,
        account: &Account,
        elsewhere: &[&KeyPair],
        wish: Wish,
        turn: &Arc<Turn>,
    ) -> Result<(Output, Keys), Reason> {
        let power = self.power.as_ref().ok_or_else(only_checks)?;
        let _place = self.command_place().await.ok_or_else(turn_did_not_come)?;
        let nonce = self.nonces.next();
        let order = key_order(&nonce, power.way);
        let wish = &wish;
        let talk = || {
            let asked = power.way.asked(&nonce, &power.functional, "", 1);
            self.key_talk(&nonce, account, elsewhere, wish.clone(), asked)
        };
        self.command(power, order, talk, turn).await
    }

    fn key_talk(
        &self,
        nonce: &str,
        account: &Account,
        elsewhere: &[&KeyPair],
        wish: Wish,
        asked: Asked,
    ) -> Keys {
        Keys::new(nonce, account, self.is_dropbear, elsewhere, wish, asked)
    }

    /// Lets an account change its own credential.
    async fn replace_own(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
        turn: &Arc<Turn>,
    ) -> Changed {
        let Some(current) = current else {
            let text = "an account that changes itself needs its current credential";
            return Changed::NotNow(Reason::account(Class::Denied, text));
        };
        let Some(_place) = self.place().await else {
            return Changed::NotNow(turn_did_not_come());
        };
        match (current, new) {
            (Credential::Password(current), Credential::Password(new)) => {
                self.dialogue(account, current, new, turn).await
            }
            (Credential::Key(_), Credential::Password(_)) => {
                let text = "an account that logs in by key cannot change its own password: passwd \
                            asks for the current one";
                Changed::NotNow(Reason::account(Class::Incompatible, text))
            }
            (_, Credential::Key(new)) => {
                let link = match self.log_in(account, current, turn).await {
                    Ok(link) => link,
                    Err(failed) => return Changed::NotNow(failed.reason()),
                };
                let old = match current {
                    Credential::Key(pair) => Some(pair.clone()),
                    Credential::Password(_) => None,
                };
                let new = new.clone();
                let wish = Wish::Add { new, current: old };
                self.edit_own(link, account, &[], wish, turn).await
            }
        }
    }

    /// Changes the key file of the account that is logged in.
    async fn edit_own(
        &self,
        link: Link,
        account: &Account,
        elsewhere: &[&KeyPair],
        wish: Wish,
        turn: &Arc<Turn>,
    ) -> Changed {
        let nonce = self.nonces.next();
        let talk = self.key_talk(&nonce, account, elsewhere, wish, Asked::new(None));
        match run(link, key_order(&nonce, Way::NONE), talk, turn).await {
            Ok((_, output, talk)) => talk.changed(&output, turn.was_sent()),
            Err(reason) => lost(turn, reason),
        }
    }

    /// Speaks with `passwd`, or with a login that asks for another password on the way.
    async fn dialogue(
        &self,
        account: &Account,
        current: &Secret,
        new: &Secret,
        turn: &Arc<Turn>,
    ) -> Changed {
        let login = account.login.clone();
        let (now, then, watched) = (current.clone(), new.clone(), Arc::clone(turn));
        let enter =
            move |link: &Link| log_in_and_change(link, login.as_str(), &now, &then, &watched);
        let link = match self.log_in_by(enter, turn).await {
            Ok((_, Entered::Changed)) => return Changed::Done,
            Ok((link, Entered::AsBefore)) => link,
            Err(Failed::Unjudged(reason)) if reason.class == Class::Refused => {
                return Changed::Refused(reason);
            }
            Err(failed) => return lost(turn, failed.reason()),
        };
        let nonce = self.nonces.next();
        let order = Order {
            on_terminal: true,
            ..Order::new(script::passwd(&nonce))
        };
        match run(link, order, Passwd::new(current, new), turn).await {
            Ok((_, output, talk)) => talk.verdict(&output, &nonce, turn.was_sent()),
            Err(reason) => lost(turn, reason),
        }
    }

    /// Logs in as the account, and asks whose session it is.
    pub(super) async fn prove(
        &self,
        account: &Account,
        credential: &Credential,
        turn: &Arc<Turn>,
    ) -> Checked {
        let rejected = {
            let Some(_place) = self.place().await else {
                return Checked::NotNow(turn_did_not_come());
            };
            match self.log_in(account, credential, turn).await {
                Ok(link) => {
                    let nonce = self.nonces.next();
                    let order = Order::new(script::whoami(&nonce));
                    let talk = Lines::new(String::new(), None, Asked::new(None));
                    return match run(link, order, talk, turn).await {
                        Ok((_, output, _)) => {
                            reply::checked(&output, &nonce, account.login.as_str())
                        }
                        Err(reason) => Checked::NotNow(reason),
                    };
                }
                Err(Failed::Wrong(reason)) => reason,
                Err(Failed::Unjudged(reason)) => return Checked::NotNow(reason),
            }
        };
        match &self.power {
            Some(power) if self.is_dropbear && !self.has_shell(account, power, turn).await => {
                let text = "this server lets in nobody whose shell /etc/shells does not list: \
                            only a look decides";
                Checked::NotNow(Reason::account(Class::Incompatible, text))
            }
            _ => Checked::Rejected(rejected),
        }
    }

    /// Whether Dropbear judges this account's secrets at all; true if that is not known.
    async fn has_shell(&self, account: &Account, power: &Power, turn: &Arc<Turn>) -> bool {
        let Some(_place) = self.command_place().await else {
            return true;
        };
        let nonce = self.nonces.next();
        let order = Order::new(script::shell(&nonce));
        let head = || format!("{}\n", account.login);
        let talk = || Lines::new(head(), None, Asked::new(None));
        match self.command(power, order, talk, turn).await {
            Ok((output, _)) => !reply::has_no_shell(&output, &nonce),
            Err(_) => true,
        }
    }

    /// Looks which credential the target holds.
    pub(super) async fn look(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
        turn: &Arc<Turn>,
    ) -> Result<Evidence, Reason> {
        if account.uses_own && self.power.is_none() {
            let text = "an account that changes itself is looked at by nobody: only its logins \
                        decide";
            return Err(Reason::account(Class::Privilege, text));
        }
        match candidate {
            Credential::Password(candidate) => {
                let current = current.and_then(|current| current.password().ok());
                self.look_at_hash(account, candidate, current, turn).await
            }
            Credential::Key(candidate) => {
                let current = match current {
                    Some(Credential::Key(pair)) => Some(pair),
                    Some(Credential::Password(_)) | None => None,
                };
                let elsewhere: Vec<&KeyPair> =
                    [Some(candidate), current].into_iter().flatten().collect();
                let looked = self
                    .with_file(account, &elsewhere, Wish::Look, turn)
                    .await?;
                let (output, talk) = looked;
                talk.evidence(&output, candidate, current)
            }
        }
    }

    async fn look_at_hash(
        &self,
        account: &Account,
        candidate: &Secret,
        current: Option<&Secret>,
        turn: &Arc<Turn>,
    ) -> Result<Evidence, Reason> {
        let power = self.power.as_ref().ok_or_else(only_checks)?;
        if power.mode == Mode::Keys {
            return Err(privilege());
        }
        let _place = self.command_place().await.ok_or_else(turn_did_not_come)?;
        let nonce = self.nonces.next();
        let order = Order::new(script::read(&nonce, power.way, power.mode));
        let head = || script::read_head(power.mode, account.login.as_str());
        // Without the wrapper the field is read up to three times.
        let talk = || lines(power, &nonce, head(), None, 4);
        let (output, _) = self.command(power, order, talk, turn).await?;
        let (candidate, current) = (candidate.clone(), current.cloned());
        on_thread(move || {
            let field = reply::field(&output, &nonce)?;
            Ok(shadow::judge(field, &candidate, current.as_ref()))
        })
        .await?
    }

    /// Removes a key from an account's key file.
    pub(super) async fn remove(
        &self,
        account: &Account,
        old: &KeyPair,
        turn: &Arc<Turn>,
    ) -> Changed {
        let wish = Wish::Remove { old: old.clone() };
        if !account.uses_own {
            return self.edit(account, &[old], wish, turn).await;
        }
        let Some(_place) = self.place().await else {
            return Changed::NotNow(turn_did_not_come());
        };
        let key = Credential::Key(old.clone());
        match self.log_in(account, &key, turn).await {
            Ok(link) => self.edit_own(link, account, &[old], wish, turn).await,
            // It opens nothing any more: it is gone already.
            Err(Failed::Wrong(_)) => Changed::Done,
            Err(Failed::Unjudged(reason)) => Changed::NotNow(reason),
        }
    }
}

fn key_order(nonce: &str, way: Way) -> Order {
    Order {
        output_max_bytes: keys::OUTPUT_MAX_BYTES,
        ..Order::new(script::keys(nonce, way))
    }
}
