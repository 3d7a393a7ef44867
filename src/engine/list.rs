//! Lists the accounts that a system has, and judges accounts that are not stored yet.
//!
//! Invariant: nothing here writes to a target, or to the store but what opening a session pins.

use keywheel_connectors::{Account, Class, Credential, Listing, Reason};

use super::{Engine, EngineError};
use crate::model::discovery::Asked;
use crate::model::id::{PlatformId, SystemId};

impl Engine {
    /// Lists a system's accounts over a functional session; the inner error is the system's.
    ///
    /// # Errors
    /// [`EngineError`] of the store or the key ring; nothing was sent.
    pub async fn list(
        &self,
        system: SystemId,
        asked: &Asked,
    ) -> Result<Result<Listing, Reason>, EngineError> {
        let open = match self.open_to_look(system).await? {
            Ok(open) => open,
            Err(reason) => return Ok(Err(reason)),
        };
        let list = open.session.list(asked.query());
        let listed = self.within(open.timeout, list).await.unwrap_or_else(|| {
            Err(Reason::system(
                Class::Unreachable,
                "no answer within the time limit",
            ))
        });
        self.within(open.timeout, open.session.close()).await;
        Ok(listed)
    }

    /// Says whether a target of this platform could misread an account or a credential that is
    /// not stored yet.
    ///
    /// # Errors
    /// A [`Reason`] naming what is wrong, never the secret.
    pub fn admit_new(
        &self,
        platform: PlatformId,
        account: &Account,
        credential: Option<&Credential>,
    ) -> Result<(), Reason> {
        let platform = self.platform(platform.0);
        let connector = platform.and_then(|found| self.connectors.of(found.connector));
        let (Some(platform), Some(connector)) = (platform, connector) else {
            return Err(Reason::system(
                Class::Incompatible,
                "the platform has no connector here",
            ));
        };
        connector.admit(account, credential)?;
        match &platform.dialogue {
            Some(dialogue) => dialogue.admit(account, credential),
            None => Ok(()),
        }
    }
}
