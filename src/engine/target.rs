//! Opens the functional session of a claim.
//!
//! Invariant: who answers first is pinned durably before anything secret is sent.

use std::sync::Arc;
use std::time::Duration;

use keywheel_connectors::dialogue::Dialogue;
use keywheel_connectors::{
    Account, Class, Connector, DialogueTarget, Functional, HostKey, Identity, LdapTarget, Login,
    Reason, Session, SshTarget, Target, TargetKind,
};

use super::linked::Purpose;
use super::{Engine, EngineError, Work};
use crate::model::audit::Event;
use crate::model::functional_account::elevation_of;
use crate::model::host_key;
use crate::model::id::{FunctionalAccountId, SystemId};
use crate::model::job::JobKind;
use crate::model::platform::{ConnectorKind, Platform};
use crate::model::rotation::lockout_budget;
use crate::store::{Claim, FunctionalLink, FunctionalRow, Pin, SystemRow};

/// What the session's opening and its own time-outs may need beyond the target's.
pub(super) const TIMEOUT_MARGIN: Duration = Duration::from_secs(5);

/// An open session.
pub(super) struct Open {
    pub(super) session: Arc<dyn Session>,
    pub(super) connector: Arc<dyn Connector>,
    /// What is said to the system, where that is a definition.
    pub(super) dialogue: Option<Arc<Dialogue>>,
    /// Failing logins an account may be caused.
    pub(super) budget: i64,
    /// The longest that one call may take, with a margin.
    pub(super) timeout: Duration,
    /// True: a domain, whose accounts have names of their own.
    pub(super) domain: bool,
}

/// A system that can be connected to.
struct Ready<'a> {
    row: SystemRow,
    platform: &'a Platform,
    connector: Arc<dyn Connector>,
    target: Target,
    /// The managed account that its functional account is linked to.
    link: Option<FunctionalLink>,
}

impl Ready<'_> {
    fn open(&self, session: Arc<dyn Session>) -> Open {
        Open {
            session,
            connector: Arc::clone(&self.connector),
            dialogue: self.platform.dialogue.clone(),
            budget: lockout_budget(self.row.lockout_threshold),
            timeout: self.target.timeout + TIMEOUT_MARGIN,
            domain: is_domain(&self.target.kind),
        }
    }
}

impl Engine {
    /// Opens a session for these jobs; the inner error is the system's.
    pub(super) async fn open_session(
        &self,
        claim: &Claim,
        works: &mut [Work],
    ) -> Result<Result<Open, Reason>, EngineError> {
        let ready = match self.ready(claim.system).await? {
            Ok(ready) => ready,
            Err(reason) => return Ok(Err(reason)),
        };
        let how = (ready.connector.as_ref(), &ready.target);
        if let Some(link) = ready.link {
            let mut alone = true;
            for work in works.iter_mut() {
                let is_it = work.id() == link.account;
                work.target.uses_own |= is_it;
                alone &= is_it;
            }
            let opened = if alone {
                // It does not look at itself either: that login would be one more to count.
                self.connect(how, None).await
            } else {
                self.open_linked(link, how, Purpose::Work(claim, works))
                    .await?
            };
            return Ok(opened.map(|session| ready.open(session)));
        }
        // Who changes itself needs nobody, and is looked at by whoever is there.
        let changes = works
            .iter()
            .any(|work| work.job.kind == JobKind::Rotate && !work.target.uses_own);
        self.open_own(&ready, changes).await
    }

    /// Opens a session that only looks, by the functional account; the inner error is the
    /// system's.
    pub(super) async fn open_to_look(
        &self,
        system: SystemId,
    ) -> Result<Result<Open, Reason>, EngineError> {
        let ready = match self.ready(system).await? {
            Ok(ready) => ready,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(link) = ready.link else {
            return self.open_own(&ready, true).await;
        };
        let how = (ready.connector.as_ref(), &ready.target);
        let opened = self.open_linked(link, how, Purpose::Look(system)).await?;
        Ok(opened.map(|session| ready.open(session)))
    }

    /// By the functional account's own credential, or without it where nobody is `needed`.
    async fn open_own(
        &self,
        ready: &Ready<'_>,
        needed: bool,
    ) -> Result<Result<Open, Reason>, EngineError> {
        let functional = match self.functional(&ready.row, needed).await? {
            Ok(functional) => functional,
            Err(reason) => return Ok(Err(reason)),
        };
        let how = (ready.connector.as_ref(), &ready.target);
        let opened = self.connect(how, functional.as_ref()).await;
        Ok(opened.map(|session| ready.open(session)))
    }

    /// Where a system is, who speaks with it and as whom.
    async fn ready(&self, system: SystemId) -> Result<Result<Ready<'_>, Reason>, EngineError> {
        let Some(row) = self.store.system_row(system).await? else {
            return Ok(Err(Reason::system(
                Class::Unreachable,
                "the system was deleted",
            )));
        };
        let platform = self.platform(row.platform_id);
        let connector = platform.and_then(|platform| self.connectors.of(platform.connector));
        let (Some(platform), Some(connector)) = (platform, connector) else {
            return Ok(Err(Reason::system(
                Class::Incompatible,
                format!("platform {} has no connector here", row.platform_id),
            )));
        };
        let mut target = match self.address(&row, platform) {
            Ok(target) => target,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Err(reason) = self
            .accept_first(system, &row, connector.as_ref(), &mut target)
            .await?
        {
            return Ok(Err(reason));
        }
        if let TargetKind::Dialogue(part) = &mut target.kind {
            part.enable = self.functional_enable(&row).await?;
        }
        let link = match row.functional_account_id {
            Some(id) => self.store.functional_link(FunctionalAccountId(id)).await?,
            None => None,
        };
        Ok(Ok(Ready {
            row,
            platform,
            connector,
            target,
            link,
        }))
    }

    /// Opens a session within its time.
    pub(super) async fn connect(
        &self,
        (connector, target): (&dyn Connector, &Target),
        functional: Option<&Functional>,
    ) -> Result<Arc<dyn Session>, Reason> {
        let open = connector.open(target, functional);
        let opened = self.within(target.timeout + TIMEOUT_MARGIN, open).await;
        opened.unwrap_or_else(|| {
            Err(Reason::system(
                Class::Unreachable,
                "no answer within the time limit",
            ))
        })
    }

    /// The functional account; `None` if the jobs only test.
    async fn functional(
        &self,
        row: &SystemRow,
        changes: bool,
    ) -> Result<Result<Option<Functional>, Reason>, EngineError> {
        let missing = |text| Ok(Err(Reason::system(Class::Privilege, text)));
        let Some(id) = row.functional_account_id else {
            return if changes {
                missing("the system has no functional account; set FunctionalAccountID")
            } else {
                Ok(Ok(None))
            };
        };
        let found = self.store.functional_row(FunctionalAccountId(id)).await?;
        let Some(FunctionalRow {
            id,
            account_name,
            password,
            ..
        }) = found
        else {
            return missing("the system's functional account is gone; set FunctionalAccountID");
        };
        let id = FunctionalAccountId(id);
        let Some(credential) = self.functional_credential(id, password).await? else {
            return missing("the functional account has no password and no key; set one");
        };
        let Ok(login) = Login::parse(&account_name) else {
            return missing("the functional account's name holds a control character or a colon");
        };
        let dn = account_name.contains('=').then(|| account_name.clone());
        Ok(Ok(Some(Functional {
            account: Account::named(login, dn),
            credential,
        })))
    }

    /// Builds the connector's view of a system.
    fn address(&self, row: &SystemRow, platform: &Platform) -> Result<Target, Reason> {
        let host = [&row.ip_address, &row.dns_name]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty())
            .unwrap_or(&row.host_name)
            .clone();
        let ldap = platform.connector == ConnectorKind::Ldap;
        let default_port = if ldap && row.starttls == 1 {
            Platform::STARTTLS_PORT
        } else {
            platform.default_port
        };
        let port = row.port.unwrap_or_else(|| i64::from(default_port));
        let port = u16::try_from(port)
            .map_err(|_| Reason::system(Class::Unreachable, "the system's port is out of range"))?;
        let default = if ldap {
            self.limits.ldap_in_flight
        } else {
            self.limits.ssh_in_flight
        };
        let in_flight = row
            .in_flight
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(default);
        let timeout = Duration::from_secs(u64::try_from(row.timeout_s).unwrap_or(30).max(1));
        let kind = self.kind(row, platform)?;
        Ok(Target {
            host,
            port,
            timeout,
            in_flight: in_flight.max(1),
            kind,
        })
    }

    fn kind(&self, row: &SystemRow, platform: &Platform) -> Result<TargetKind, Reason> {
        match platform.connector {
            ConnectorKind::Ldap => Ok(TargetKind::Ldap(LdapTarget {
                starttls: row.starttls == 1,
                ca_pem: row.tls_ca.clone().unwrap_or_default(),
                server_name: row.tls_server_name.clone(),
                base_dn: row.base_dn.clone().unwrap_or_default(),
                flavour: row.flavour.clone(),
                key_attribute: row.key_attribute.clone(),
            })),
            ConnectorKind::Ssh => {
                let host_key = row.host_key.as_deref().map(pinned).transpose()?;
                let elevation = elevation_of(row.elevation.as_deref()).ok_or_else(|| {
                    let text = "the system's elevation is none that is known here";
                    Reason::system(Class::Privilege, text)
                })?;
                Ok(TargetKind::Ssh(SshTarget {
                    host_key,
                    elevation,
                }))
            }
            ConnectorKind::Dialogue => {
                let platform = platform.dialogue.clone().ok_or_else(|| {
                    Reason::system(Class::Incompatible, "the platform has no definition here")
                })?;
                Ok(TargetKind::Dialogue(DialogueTarget {
                    host_key: row.host_key.as_deref().map(pinned).transpose()?,
                    platform,
                    enable: None, // opened for the session alone
                }))
            }
            ConnectorKind::Fake => {
                self.connectors.fixed.clone().ok_or_else(|| {
                    Reason::system(Class::Incompatible, "there is no target in memory")
                })
            }
        }
    }

    /// Pins who answers first: a host key where the system says so, and which product a directory
    /// is, for its certificate has proved already whose it is.
    async fn accept_first(
        &self,
        system: SystemId,
        row: &SystemRow,
        connector: &dyn Connector,
        target: &mut Target,
    ) -> Result<Result<(), Reason>, EngineError> {
        let unknown = if let TargetKind::Ldap(ldap) = &target.kind {
            ldap.flavour.is_none()
        } else {
            let keyless = matches!(
                &target.kind,
                TargetKind::Ssh(SshTarget { host_key: None, .. })
                    | TargetKind::Dialogue(DialogueTarget { host_key: None, .. })
            );
            keyless && row.host_key_mode == 1
        };
        if !unknown {
            return Ok(Ok(()));
        }
        let identity = match connector.identify(target).await {
            Ok(identity) => identity,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut tx = self.store.begin().await?;
        let (pin, event, body) = match (&mut target.kind, identity) {
            (
                TargetKind::Ssh(SshTarget { host_key, .. })
                | TargetKind::Dialogue(DialogueTarget { host_key, .. }),
                Identity::Ssh(key),
            ) => {
                let text = host_key::text(&key);
                let pin = tx.accept_host_key(system, &text).await?;
                *host_key = Some(key);
                let body = serde_json::json!({"host_key": text});
                (pin, "system.host_key_pinned", body)
            }
            (TargetKind::Ldap(ldap), Identity::Ldap { flavour }) => {
                let pin = tx.pin_flavour(system, &flavour).await?;
                let body = serde_json::json!({"flavour": flavour});
                ldap.flavour = Some(flavour);
                (pin, "system.flavour_pinned", body)
            }
            _ => {
                let text = "the target is another kind of server than its platform's";
                return Ok(Err(Reason::system(Class::Incompatible, text)));
            }
        };
        match pin {
            Pin::First => {}
            Pin::Same => return Ok(Ok(())),
            Pin::Other => {
                // What stands is compared on the next attempt.
                let text = "the target was pinned meanwhile; try again";
                return Ok(Err(Reason::system(Class::Busy, text)));
            }
        }
        let now = self.clock.now();
        tx.audit(&Event::by_service(event, system, body), now)
            .await?;
        tx.commit().await?;
        Ok(Ok(()))
    }
}

/// True if the target is an Active Directory domain.
fn is_domain(kind: &TargetKind) -> bool {
    let TargetKind::Ldap(ldap) = kind else {
        return false;
    };
    matches!(ldap.flavour.as_deref(), Some("ad" | "samba"))
}

/// A key that cannot be read recognises nobody.
fn pinned(text: &str) -> Result<HostKey, Reason> {
    host_key::parse(text).ok_or_else(|| {
        Reason::system(
            Class::IdentityMismatch,
            "the pinned host key is not of the form 'ssh-ed25519 SHA256:…'; pin it again",
        )
    })
}
