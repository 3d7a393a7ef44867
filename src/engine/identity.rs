//! Asks the target who the accounts of a claim are, before anything is meant for them.
//!
//! Two records of one login overwrite each other's passwords, and neither would know what the
//! target holds; and an account that was made anew under an old name is somebody else's.
//!
//! Invariant: nothing is intended for an account whose target says that it is another one.

use std::collections::HashMap;

use keywheel_connectors::{Account, CanonicalIdentity, Class};
use serde_json::json;

use super::target::Open;
use super::{Engine, EngineError, Finished, Work};
use crate::model::audit::Event;
use crate::model::id::AccountId;
use crate::store::{Claim, Standing};

impl Engine {
    /// Readies the accounts of a claim for an open session: who they are, and their candidates.
    pub(super) async fn prepare(
        &self,
        claim: &Claim,
        open: &Open,
        works: Vec<Work>,
    ) -> Result<(Vec<Work>, Vec<Finished>), EngineError> {
        let (mut works, mut ended) = self.tell_apart(claim, open, works).await?;
        for work in &mut works {
            work.dialogue.clone_from(&open.dialogue);
        }
        let (works, unstaged) = self.stage(claim, works).await?;
        ended.extend(unstaged);
        Ok((works, ended))
    }

    /// Takes out of a claim whose identity is another record's, or not the one on record. Where
    /// the target does not say, nobody is refused.
    async fn tell_apart(
        &self,
        claim: &Claim,
        open: &Open,
        works: Vec<Work>,
    ) -> Result<(Vec<Work>, Vec<Finished>), EngineError> {
        let accounts: Vec<Account> = works.iter().map(|work| work.target.clone()).collect();
        let asked = open.session.identities(&accounts);
        let known = match self.within(open.timeout, asked).await {
            Some(Ok(known)) if known.len() == works.len() => known,
            // What is in the way will be in the way of what follows, and is told there.
            Some(Ok(_) | Err(_)) | None => return Ok((works, Vec::new())),
        };
        let told: HashMap<AccountId, CanonicalIdentity> = works
            .iter()
            .zip(known)
            .filter_map(|(work, known)| Some((work.id(), known?)))
            .collect();
        if told.is_empty() {
            return Ok((works, Vec::new()));
        }
        let standing = self.stand(claim, &told).await?;
        let (mut go_on, mut ended) = (Vec::with_capacity(works.len()), Vec::new());
        for mut work in works {
            let Some(problem) = standing.get(&work.id()).and_then(problem) else {
                go_on.push(work);
                continue;
            };
            work.log.class = Class::IdentityMismatch.name();
            work.log.note(problem);
            ended.push(self.give_up(claim, work).await?);
        }
        Ok((go_on, ended))
    }

    /// Compares what the target says with what is on record, and records what is new.
    async fn stand(
        &self,
        claim: &Claim,
        told: &HashMap<AccountId, CanonicalIdentity>,
    ) -> Result<HashMap<AccountId, Standing>, EngineError> {
        let ids: Vec<AccountId> = told.keys().copied().collect();
        let on_record = self.store.identities(&ids).await?;
        let mut new: Vec<_> = told
            .iter()
            .filter(|(id, identity)| on_record.get(*id) != Some(*identity))
            .collect();
        let mut standing = HashMap::new();
        if new.is_empty() {
            return Ok(standing);
        }
        // In one order wherever this is done, so that two claims do not wait for each other.
        new.sort_unstable_by_key(|(id, identity)| (*identity, **id));
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        tx.hold(claim.id, claim.node).await?;
        for (id, identity) in new {
            // It has an open job, so nobody removes or renames it meanwhile.
            let stands = tx.claim_identity(*id, identity, now).await?;
            if let Some((event, body)) = told_of(&stands) {
                let event = Event::by_service(event, *id, body);
                tx.audit(&event, now).await?;
            }
            standing.insert(*id, stands);
        }
        tx.commit().await?;
        Ok(standing)
    }
}

/// What the audit trail is told; nothing of a machine that was only restarted.
fn told_of(standing: &Standing) -> Option<(&'static str, serde_json::Value)> {
    Some(match standing {
        Standing::Known => return None,
        Standing::New => ("account.identified", json!({})),
        Standing::Ousts(other) => (
            "account.identified",
            json!({"duplicate": other.account.0, "system": other.system.0}),
        ),
        Standing::Taken(other) => (
            "account.duplicate",
            json!({"first": other.account.0, "system": other.system.0}),
        ),
        Standing::Another => ("account.made_anew", json!({})),
    })
}

/// Why nothing may be sent.
fn problem(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Known | Standing::New | Standing::Ousts(_) => None,
        Standing::Taken(first) => Some(format!(
            "is account {} of system {} by another name, as the target itself says; remove one \
             of them. Nothing was sent",
            first.account.0, first.system.0
        )),
        Standing::Another => Some(
            "the target has another account of this name than the one on record: it was made \
             anew, or renumbered. Store the credential that works there now, or remove the \
             account. Nothing was sent"
                .to_owned(),
        ),
    }
}
