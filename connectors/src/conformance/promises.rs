//! The promises, each tried once.
//!
//! Invariant: no promise leaves an account with a secret that its [`Held`] does not know.

use std::collections::BTreeSet;

use futures::future::{join, join_all};

use super::{Held, Seen, Suite, Verdict, expect, is_done, is_system};
use crate::{Changed, Checked, Class, Credential, Evidence, Functional};

impl Suite<'_> {
    pub(super) async fn without_accounts(&self) -> Vec<Verdict> {
        vec![
            (
                "an unreachable target is the system's trouble",
                self.unreachable().await,
            ),
            ("a mute target ends within the time-out", self.mute().await),
            ("a target says who it is", self.identifies().await),
            (
                "a wrong identity stops before any login",
                self.wrong_identity().await,
            ),
            (
                "a wrong functional password is the system's trouble",
                self.wrong_functional().await,
            ),
            (
                "an unknown account is neither changed nor accepted",
                self.unknown_account().await,
            ),
        ]
    }

    async fn unreachable(&self) -> Seen {
        let target = &self.can.unreachable;
        for functional in [Some(self.functional), None] {
            let opened = self.open(target, functional).await?.map(|_| "a session");
            let right = matches!(&opened, Err(reason)
                if is_system(reason) && reason.class == Class::Unreachable);
            expect(&opened, right)?;
        }
        let seen = self.within(target, self.connector.identify(target)).await?;
        expect(&seen, matches!(&seen, Err(reason) if is_system(reason)))
    }

    async fn mute(&self) -> Seen {
        let Some(target) = &self.can.mute else {
            return Ok(());
        };
        let opened = self
            .open(target, Some(self.functional))
            .await?
            .map(|_| "a session");
        expect(&opened, matches!(&opened, Err(reason) if is_system(reason)))?;
        let seen = self.within(target, self.connector.identify(target)).await?;
        expect(&seen, matches!(&seen, Err(reason) if is_system(reason)))
    }

    async fn identifies(&self) -> Seen {
        let once = self
            .within(self.target, self.connector.identify(self.target))
            .await?;
        let again = self
            .within(self.target, self.connector.identify(self.target))
            .await?;
        expect(&(&once, &again), once.is_ok() && once == again)
    }

    async fn wrong_identity(&self) -> Seen {
        let Some(target) = &self.can.wrong_identity else {
            return Ok(());
        };
        let opened = self
            .open(target, Some(self.functional))
            .await?
            .map(|_| "a session");
        let right = matches!(&opened, Err(reason)
            if is_system(reason) && reason.class == Class::IdentityMismatch);
        expect(&opened, right)
    }

    async fn wrong_functional(&self) -> Seen {
        let wrong = Functional {
            account: self.functional.account.clone(),
            credential: self.fresh(),
        };
        let opened = self
            .open(self.target, Some(&wrong))
            .await?
            .map(|_| "a session");
        expect(&opened, matches!(&opened, Err(reason) if is_system(reason)))?;
        // A right login after it, so that the target's counter starts again.
        self.session().await?.close().await;
        Ok(())
    }

    async fn unknown_account(&self) -> Seen {
        let session = self.session().await?;
        let account = &self.can.unknown_account;
        let secret = self.fresh();
        let call = session.change(account, &secret, None);
        let changed = self.within(self.target, call).await?;
        expect(
            &changed,
            matches!(changed, Changed::Refused(_) | Changed::NotNow(_)),
        )?;
        let checked = self.check(&session, account, &self.fresh()).await?;
        expect(&checked, checked != Checked::Accepted)
    }

    pub(super) async fn with_one(&self, held: &mut Held) -> Vec<Verdict> {
        vec![
            (
                "a secret that could be two is never sent",
                self.admits_no_newline(held).await,
            ),
            (
                "a change is accepted and ends the old secret",
                self.replaces(held).await,
            ),
            ("a wrong secret is rejected", self.rejects(held).await),
            (
                "one session changes an account again and again",
                self.repeats(held).await,
            ),
            (
                "a session without functional account only checks",
                self.only_checks(held).await,
            ),
            (
                "evidence tells the secret, or nothing",
                self.evidence(held).await,
            ),
            (
                "retiring a password has nothing to do",
                self.retires(held).await,
            ),
        ]
    }

    async fn admits_no_newline(&self, held: &Held) -> Seen {
        let session = self.session().await?;
        for bad in [
            "Two-lines-vLm9Q\nroot:owned",
            "Return-vLm9Q\r",
            "Nul-vLm9Q\0",
            "",
        ] {
            let secret = Credential::from(bad);
            if !bad.is_empty() {
                self.remember(&secret);
            }
            let admitted = self.connector.admit(&held.account, Some(&secret));
            self.hear(&admitted);
            let right = matches!(&admitted, Err(reason) if reason.class == Class::Refused);
            expect(&admitted, right)?;
            let call = session.change(&held.account, &secret, Some(&held.credential));
            let changed = self.within(self.target, call).await?;
            expect(&changed, matches!(changed, Changed::Refused(_)))?;
        }
        let admitted = self.connector.admit(&held.account, Some(&held.credential));
        expect(&admitted, admitted.is_ok())?;
        self.accepts(&session, held).await
    }

    async fn replaces(&self, held: &mut Held) -> Seen {
        let session = self.session().await?;
        let old = held.credential.clone();
        let changed = self.change(&session, held).await?;
        expect(&changed, changed == Changed::Done)?;
        self.accepts(&session, held).await?;
        let seen = self.check(&session, &held.account, &old).await?;
        let lingers = self.can.old_lingers && seen == Checked::Accepted;
        expect(&seen, lingers || matches!(seen, Checked::Rejected(_)))?;
        self.accepts(&session, held).await?;
        session.close().await;
        Ok(())
    }

    async fn rejects(&self, held: &Held) -> Seen {
        let session = self.session().await?;
        let seen = self.check(&session, &held.account, &self.fresh()).await?;
        expect(
            &seen,
            matches!(&seen, Checked::Rejected(reason) if !is_system(reason)),
        )?;
        self.accepts(&session, held).await
    }

    async fn repeats(&self, held: &mut Held) -> Seen {
        let session = self.session().await?;
        for _ in 0..3 {
            let changed = self.change(&session, held).await?;
            expect(&changed, changed == Changed::Done)?;
        }
        self.accepts(&session, held).await
    }

    async fn only_checks(&self, held: &mut Held) -> Seen {
        let session = self
            .open(self.target, None)
            .await?
            .map_err(|reason| reason.to_string())?;
        let changed = self.change(&session, held).await?;
        expect(&changed, matches!(changed, Changed::NotNow(_)))?;
        self.accepts(&session, held).await
    }

    async fn evidence(&self, held: &mut Held) -> Seen {
        let session = self.session().await?;
        let changed = self.change(&session, held).await?;
        expect(&changed, changed == Changed::Done)?;
        let (now, other, third) = (held.credential.clone(), self.fresh(), self.fresh());
        let rows = [
            (&now, Some(&other), Evidence::Candidate),
            (&now, None, Evidence::Candidate),
            (&other, Some(&now), Evidence::Current),
            (&other, Some(&third), Evidence::Neither),
            (&other, None, Evidence::Neither),
        ];
        for (candidate, current, right) in rows {
            let call = session.evidence(&held.account, candidate, current);
            let seen = self.within(self.target, call).await?;
            let undecided = matches!(seen, Evidence::Undecided(_));
            expect(
                &seen,
                if self.can.evidence {
                    seen == right
                } else {
                    undecided
                },
            )?;
        }
        let call = session.evidence(&self.can.unknown_account, &now, None);
        let seen = self.within(self.target, call).await?;
        expect(&seen, matches!(seen, Evidence::Undecided(_)))
    }

    async fn retires(&self, held: &Held) -> Seen {
        let session = self.session().await?;
        let old = self.fresh();
        let seen = self
            .within(self.target, session.retire(&held.account, &old))
            .await?;
        expect(&seen, seen == Changed::Done)?;
        self.accepts(&session, held).await
    }

    pub(super) async fn with_many(&self, many: &mut [Held]) -> Vec<Verdict> {
        vec![
            (
                "changes that overlap all succeed",
                self.overlaps(many).await,
            ),
            (
                "one account's trouble is not the others'",
                self.keeps_apart(many).await,
            ),
            (
                "an account stays who it is, and nobody else is it",
                self.tells_apart(many).await,
            ),
        ]
    }

    async fn overlaps(&self, many: &mut [Held]) -> Seen {
        let session = self.session().await?;
        for _ in 0..2 {
            let calls = many.iter_mut().map(|held| self.change(&session, held));
            join_all(calls).await.into_iter().try_for_each(is_done)?;
            for accepted in join_all(many.iter().map(|held| self.accepts(&session, held))).await {
                accepted?;
            }
        }
        Ok(())
    }

    async fn tells_apart(&self, many: &mut [Held]) -> Seen {
        let session = self.session().await?;
        let mut asked: Vec<_> = many.iter().map(|held| held.account.clone()).collect();
        asked.push(self.can.unknown_account.clone());
        let before = self.within(self.target, session.identities(&asked)).await?;
        // A target need not say who its accounts are; what it says is so.
        let known: Vec<_> = before.iter().flatten().flatten().collect();
        let beings: BTreeSet<_> = known.iter().map(|one| &one.being).collect();
        let fits = before.as_ref().is_ok_and(|one| one.len() == asked.len());
        let stranger = before.iter().flatten().last().is_some_and(Option::is_some);
        expect(&before, fits && !stranger && beings.len() == known.len())?;
        for held in many {
            is_done(self.change(&session, held).await)?;
        }
        let after = self.within(self.target, session.identities(&asked)).await?;
        expect(&(&before, &after), before == after)
    }

    async fn keeps_apart(&self, many: &mut [Held]) -> Seen {
        let session = self.session().await?;
        let nobody = Held {
            account: self.can.unknown_account.clone(),
            credential: self.fresh(),
        };
        let strangers = async {
            let secret = self.fresh();
            let call = session.change(&nobody.account, &secret, Some(&nobody.credential));
            self.within(self.target, call).await
        };
        let calls = join_all(many.iter_mut().map(|held| self.change(&session, held)));
        let (stranger, answers) = join(strangers, calls).await;
        let stranger = stranger?;
        expect(
            &stranger,
            matches!(stranger, Changed::Refused(_) | Changed::NotNow(_)),
        )?;
        answers.into_iter().try_for_each(is_done)
    }
}
