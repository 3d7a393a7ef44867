//! What must be in order at the end, whatever was killed: the audit trail and the escrow journals.
//!
//! Invariant: a value of a journal is compared with what the store keeps, and is not printed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;

use keywheel::escrow::{Owner, recover};
use secrecy::ExposeSecret as _;

use crate::kept::Secret;
use crate::world::World;

impl World {
    /// Looks through the books; what is not in order is counted.
    pub(crate) async fn audit_books(&mut self) {
        self.verify_trail().await;
        self.compare_journals().await;
    }

    async fn verify_trail(&mut self) {
        let client = self.client();
        let mut from = 1;
        loop {
            let path = format!("/api/v1/audit/verify?from={from}");
            let verified = client.native(&path).await.expect(200).json();
            if verified["sound"] != true {
                self.tally
                    .fault(format!("the audit trail is broken: {}", verified["broken"]));
                return;
            }
            let to = verified["to"].as_i64().unwrap();
            self.tally.audited = u64::try_from(to).unwrap();
            if verified["complete"] == true || to < from {
                return;
            }
            from = to + 1;
        }
    }

    /// Every version that the store keeps is in the journals, too.
    async fn compare_journals(&mut self) {
        let mut journaled = Vec::new();
        for node in &self.nodes {
            let file = BufReader::new(File::open(node.journal()).unwrap());
            let found = recover(file, &self.identity).unwrap();
            if !found.foreign.is_empty() {
                self.tally
                    .fault("a whole line of an escrow journal does not open");
            }
            self.tally.torn += u64::try_from(found.torn.len()).unwrap();
            for (owner, values) in found.values {
                let Owner::Account(account) = owner else {
                    continue;
                };
                for value in values {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "compared with what the store keeps"
                    )]
                    let secret = Secret::new(value.value.expose_secret());
                    journaled.push((account, value.version, secret));
                }
            }
        }
        let kept = self.kept().await;
        let mut missing = BTreeSet::new();
        for account in &self.accounts {
            for version in kept.versions(account.id).await {
                let is_there = journaled.iter().any(|(owner, number, secret)| {
                    (*owner, *number) == (account.id, version.number)
                        && version.secret.as_ref() == Some(secret)
                });
                if !is_there {
                    missing.insert(format!(
                        "{}: version {} is in no escrow journal",
                        account.name, version.number
                    ));
                }
            }
        }
        kept.close().await;
        for what in missing {
            self.tally.fault(what);
        }
        self.tally.journaled = u64::try_from(journaled.len()).unwrap();
    }
}
