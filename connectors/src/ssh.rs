//! Changes accounts of a host over SSH.
//!
//! The session stands in `session.rs`, what is exchanged for one account in `exchange.rs`, the
//! connection in `link.rs`, what is run on the target in `script.rs`, what is said to it in
//! `talk.rs`, what its output means in `reply.rs`. `keys.rs` and `authorized.rs` know key files,
//! `own.rs` knows `passwd`, `list.rs` the accounts of a host.
//!
//! Invariant: no byte of a credential leaves before the host key was compared with the pinned
//! one.

mod authorized;
mod elevate;
mod exchange;
mod guard;
mod identity;
mod keys;
#[cfg(feature = "dialogue")]
pub(crate) mod lent;
mod link;
mod list;
mod login;
mod own;
mod reply;
mod script;
mod session;
mod shadow;
mod talk;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::{
    Account, Class, Connector, Credential, Functional, HostKey, Identity, Reason, Session,
    SshTarget, Target, TargetKind,
};
use link::Link;
use session::SshSession;
use turn::Turn;

/// The connector to hosts that speak SSH.
///
/// The target must be able to run `sh` and `chpasswd`; with `keywheel-passwd` installed there it
/// also gives evidence and refuses to unlock locked accounts. Keys need `sh`, the usual small
/// programs and, through a functional account, `runuser`.
#[derive(Debug)]
pub struct Ssh {
    nonces: Arc<Nonces>,
}

impl Ssh {
    /// A connector whose sentinels start from this seed.
    ///
    /// Sentinels keep stray output from being read as an answer; they are no secret.
    pub fn new(nonce_seed: u64) -> Self {
        Self {
            nonces: Arc::new(Nonces(AtomicU64::new(nonce_seed))),
        }
    }
}

/// Draws a sentinel for each exchange.
#[derive(Debug)]
struct Nonces(AtomicU64);

impl Nonces {
    /// The next one: 16 hexadecimal digits. Neighbours look unlike (`SplitMix64`'s mixer).
    fn next(&self) -> String {
        let mut mixed = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        format!("{:016x}", mixed ^ (mixed >> 31))
    }
}

fn ssh_part(target: &Target) -> Result<&SshTarget, Reason> {
    if let TargetKind::Ssh(ssh) = &target.kind {
        return Ok(ssh);
    }
    Err(Reason::system(
        Class::Incompatible,
        "this system is not reached by SSH",
    ))
}

pub(crate) fn pinned(host_key: Option<&HostKey>) -> Result<&HostKey, Reason> {
    host_key.ok_or_else(|| {
        let text = "no host key is pinned for this system: trust the key that it shows through \
                    the native API, or set SshKeyEnforcementMode to 1 so that the first key is \
                    pinned";
        Reason::system(Class::IdentityMismatch, text)
    })
}

#[async_trait]
impl Connector for Ssh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn admit(&self, account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
        guard::admit(account, credential)
    }

    async fn identify(&self, target: &Target) -> Result<Identity, Reason> {
        ssh_part(target)?;
        let turn = Turn::new();
        let exchange = async {
            let wire = link::dial(target).await?;
            let (held, limit) = (Arc::clone(&turn), target.timeout);
            link::on_thread(move || Link::shake_hands(wire, None, limit, &held)).await
        };
        let shaken = turn.within(target.timeout, exchange).await;
        let shaken = shaken
            .unwrap_or_else(|| Err(link::silent()))
            .and_then(|shaken| shaken);
        Ok(Identity::Ssh(
            shaken.map_err(Reason::of_system)?.host_key()?,
        ))
    }

    async fn open(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Arc<dyn Session>, Reason> {
        let ssh = ssh_part(target)?;
        let pin = pinned(ssh.host_key.as_ref())?;
        let session = SshSession::open(target, ssh, pin, functional, Arc::clone(&self.nonces));
        Ok(Arc::new(session.await?))
    }
}

impl Reason {
    /// The same trouble, told of the whole system.
    fn of_system(self) -> Self {
        Self {
            scope: crate::Scope::System,
            ..self
        }
    }
}
