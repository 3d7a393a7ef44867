//! The promises of targets that take keys, each tried once.
//!
//! Invariant: at the end the account has the keys that it had before.

use super::{Held, KEYS_MIN, Seen, Suite, Verdict, expect};
use crate::{Changed, Checked, Class, Credential, Evidence, KeyPair};

impl Suite<'_> {
    pub(super) async fn with_keys(&self, held: &mut Held) -> Vec<Verdict> {
        let keys: Vec<Credential> = self
            .can
            .keys
            .iter()
            .map(|pair| Credential::Key(pair.clone()))
            .collect();
        let [first, second, third, ..] = keys.as_slice() else {
            let short = Err(format!("needs {KEYS_MIN}"));
            return vec![("the suite has keys enough", short)];
        };
        for key in &keys {
            self.remember(key);
        }
        vec![
            (
                "a key that is more than one line is never sent",
                self.admits_no_second_line(held, first).await,
            ),
            (
                "a key stands beside the password",
                self.adds(held, first).await,
            ),
            (
                "an old key works until it is retired, and it alone goes",
                self.rolls(held, first, second).await,
            ),
            (
                "evidence tells which key is there, or nothing",
                self.finds(held, second, third).await,
            ),
            (
                "a key that was never there is retired already",
                self.leaves(held, second, third).await,
            ),
        ]
    }

    async fn admits_no_second_line(&self, held: &Held, key: &Credential) -> Seen {
        let Credential::Key(pair) = key else {
            return Err("no key".into());
        };
        let session = self.session().await?;
        for bad in [
            format!("{}\nssh-ed25519 AAAA", pair.public),
            format!("command=\"id\" {}", pair.public),
            String::new(),
        ] {
            let bad = Credential::Key(KeyPair {
                public: bad,
                ..pair.clone()
            });
            let admitted = self.connector.admit(&held.account, Some(&bad));
            self.hear(&admitted);
            let right = matches!(&admitted, Err(reason) if reason.class == Class::Refused);
            expect(&admitted, right)?;
            let call = session.change(&held.account, &bad, None);
            let changed = self.within(self.target, call).await?;
            expect(&changed, matches!(changed, Changed::Refused(_)))?;
        }
        let admitted = self.connector.admit(&held.account, Some(key));
        expect(&admitted, admitted.is_ok())
    }

    async fn adds(&self, held: &Held, key: &Credential) -> Seen {
        let session = self.session().await?;
        let seen = self.check(&session, &held.account, key).await?;
        expect(&seen, matches!(seen, Checked::Rejected(_)))?;
        // Twice: what is there stays there once.
        for _ in 0..2 {
            let call = session.change(&held.account, key, Some(&held.credential));
            let changed = self.within(self.target, call).await?;
            expect(&changed, changed == Changed::Done)?;
        }
        let seen = self.check(&session, &held.account, key).await?;
        expect(&seen, seen == Checked::Accepted)?;
        self.accepts(&session, held).await
    }

    async fn rolls(&self, held: &Held, old: &Credential, new: &Credential) -> Seen {
        let session = self.session().await?;
        let call = session.change(&held.account, new, Some(old));
        let changed = self.within(self.target, call).await?;
        expect(&changed, changed == Changed::Done)?;
        for key in [new, old] {
            let seen = self.check(&session, &held.account, key).await?;
            expect(&seen, seen == Checked::Accepted)?;
        }
        let call = session.evidence(&held.account, new, Some(old));
        let seen = self.within(self.target, call).await?;
        expect(&seen, seen == Evidence::Candidate)?;
        for _ in 0..2 {
            let call = session.retire(&held.account, old);
            let changed = self.within(self.target, call).await?;
            expect(&changed, changed == Changed::Done)?;
        }
        let seen = self.check(&session, &held.account, old).await?;
        expect(&seen, matches!(seen, Checked::Rejected(_)))?;
        let seen = self.check(&session, &held.account, new).await?;
        expect(&seen, seen == Checked::Accepted)?;
        self.accepts(&session, held).await
    }

    async fn finds(&self, held: &Held, here: &Credential, absent: &Credential) -> Seen {
        let session = self.session().await?;
        let rows = [
            (here, None, Evidence::Candidate),
            (here, Some(absent), Evidence::Candidate),
            (absent, Some(here), Evidence::Current),
            (absent, None, Evidence::Neither),
        ];
        for (candidate, current, right) in rows {
            let call = session.evidence(&held.account, candidate, current);
            let seen = self.within(self.target, call).await?;
            expect(&seen, seen == right)?;
        }
        let call = session.evidence(&self.can.unknown_account, here, None);
        let seen = self.within(self.target, call).await?;
        expect(&seen, matches!(seen, Evidence::Undecided(_)))
    }

    async fn leaves(&self, held: &Held, here: &Credential, absent: &Credential) -> Seen {
        let session = self.session().await?;
        for (key, left) in [(absent, true), (here, false)] {
            let call = session.retire(&held.account, key);
            let changed = self.within(self.target, call).await?;
            expect(&changed, changed == Changed::Done)?;
            let seen = self.check(&session, &held.account, here).await?;
            expect(&seen, (seen == Checked::Accepted) == left)?;
        }
        self.accepts(&session, held).await
    }
}
