//! The HTTP interfaces: the Password Safe dialect, the IT Glue dialect and the native API.
//!
//! All are thin: they parse, check a permission, call the same operations, and render. They
//! never call the engine or a connector: they give orders and wait for their end.
//!
//! Invariant: a caller that disconnects cancels nothing; orders are durable before anybody waits.

pub mod caller;
mod clear;
mod corpus;
pub mod error;
mod header;
pub mod inventory;
pub mod itglue;
mod limits;
mod measure;
pub mod native;
mod nul;
pub mod passwordsafe;
mod peer;
mod readiness;
mod record;
mod replan;
mod reveal;
pub mod route;
mod sign_in;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use tower::ServiceExt;

use crate::clock::SharedClock;
use crate::generate::Dice;
use crate::metrics::Metrics;
use crate::model::audit_chain::AuditKeys;
use crate::model::id::{QuarantineId, SystemId};
use crate::model::key::Addresses;
use crate::model::platform::Platforms;
use crate::model::session::SessionLife;
use crate::model::system::SystemSettings;
use crate::queue::{OrderError, Orders};
use crate::store::Store;
use crate::vault::{Passwords, Vault};
use crate::workflow::Workflows;

use limits::Budget;

pub use error::{ApiError, Dialect, Fault};
pub use limits::{Limits, Rate};
pub use readiness::Readiness;

/// What the handlers work with.
#[derive(Clone, Debug)]
pub struct Api {
    /// The database.
    pub store: Store,
    /// Takes orders.
    pub orders: Orders,
    /// Tells of reveals.
    pub workflows: Workflows,
    /// Seals and opens.
    pub vault: Arc<Vault>,
    /// Verifies the audit trail.
    pub audit: Arc<AuditKeys>,
    /// The time.
    pub clock: SharedClock,
    /// Draws cookies, keys and trace ids.
    pub dice: Arc<dyn Dice>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What was asked for of late.
    pub limits: Arc<Limits>,
    /// Verifies users' passwords, a few at a time.
    pub passwords: Passwords,
    /// Which components are ready.
    pub readiness: Readiness,
    /// The platforms that are offered.
    pub platforms: Arc<Platforms>,
    /// What the operator chose.
    pub settings: Settings,
}

/// What the operator chose for the interfaces.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The listener speaks TLS: cookies get `Secure`.
    pub tls: bool,
    /// The listener is reachable from this machine alone: `/metrics` is open.
    pub loopback: bool,
    /// How long an immediate change or test is waited for before the caller is asked to repeat.
    pub wait_max: Duration,
    /// Longest request body.
    pub body_max_bytes: usize,
    /// After which time sessions end; those of the Password Safe dialect only when idle.
    pub sessions: SessionLife,
    /// Seconds that one exchange with a new managed system may take, where nobody says.
    pub target_timeout_s: i64,
    /// Proxies that are believed whom they forward for.
    pub trusted_proxies: Addresses,
    /// Failed authentications from one address.
    pub failures_by_address: Rate,
    /// Failed authentications by one client id, key or user's name.
    pub failures_by_name: Rate,
    /// Calls in a minute with one key.
    pub requests_per_minute: u32,
    /// Reveals in a minute with one key.
    pub reveals_per_minute: u32,
    /// Quarantines in a minute with one key.
    pub quarantines_per_minute: u32,
    /// Calls in five minutes with one key of the IT Glue dialect.
    pub itglue_per_5_minutes: u32,
    /// The IT Glue dialect shows a value unless it is told not to.
    pub itglue_shows: bool,
    /// The file of hashes of breached passwords.
    pub breached_file: Option<PathBuf>,
}

impl Settings {
    /// How much one key has of a budget.
    const fn rate(&self, budget: Budget) -> Rate {
        if let Budget::ItGlue = budget {
            return Rate {
                most: self.itglue_per_5_minutes,
                window: Duration::from_mins(5),
            };
        }
        Rate::per_minute(match budget {
            Budget::Requests | Budget::ItGlue => self.requests_per_minute,
            Budget::Reveals => self.reveals_per_minute,
            Budget::Quarantines => self.quarantines_per_minute,
        })
    }

    /// How often authentications may fail: from one address, by one name.
    const fn failures(&self) -> (Rate, Rate) {
        (self.failures_by_address, self.failures_by_name)
    }
}

impl Default for Settings {
    fn default() -> Self {
        // Ten minutes: longer than any connector's deadline with all its steps.
        Self {
            tls: false,
            loopback: true,
            wait_max: Duration::from_mins(10),
            body_max_bytes: 1_048_576,
            sessions: SessionLife::default(),
            target_timeout_s: SystemSettings::TIMEOUT_DEFAULT_S,
            trusted_proxies: Addresses::default(),
            failures_by_address: Rate::per_minute(60),
            failures_by_name: Rate::per_minute(20),
            requests_per_minute: 600,
            reveals_per_minute: 60,
            quarantines_per_minute: 6,
            itglue_per_5_minutes: 3_000,
            itglue_shows: false,
            breached_file: None,
        }
    }
}

/// Every interface, ready to be served.
pub fn router(api: Api) -> Router {
    let tls = api.settings.tls;
    let inner = Router::new()
        .nest(passwordsafe::BASE, passwordsafe::router())
        .nest(itglue::BASE, itglue::router())
        .merge(native::router())
        .fallback(async |State(api): State<Api>, request: Request| {
            route::nothing_here(api, Dialect::Native, request).await
        })
        .with_state(api);
    // Paths are rewritten before any route is looked up, hence outside of the router.
    let whole = inner
        .map_request(passwordsafe::normalise)
        .map_request(itglue::normalise)
        .map_response(move |answer| header::secured(answer, tls));
    Router::new().fallback_service(whole)
}

/// Does work that takes several transactions, to its end: a caller that hangs up stops nothing.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a task of its own, awaited here: a dropped request must not drop the work"
    )]
    let task = tokio::task::spawn(work);
    task.await
        .map_err(|_| ApiError::Internal("detached work panicked"))
}

/// Orders a quarantine; of a large system in several transactions.
pub(crate) async fn quarantine(
    api: &Api,
    system: SystemId,
    reason: &str,
    incident: Option<&str>,
    actor: &str,
) -> Result<QuarantineId, ApiError> {
    let orders = api.orders.clone();
    let (reason, actor) = (reason.to_owned(), actor.to_owned());
    let incident = incident.map(str::to_owned);
    let ordered = detached(async move {
        orders
            .quarantine(system, &reason, incident.as_deref(), &actor)
            .await
    });
    ordered.await?.map_err(|error| match error {
        OrderError::NotFound => ApiError::NotFound {
            what: "Managed System",
        },
        other => other.into(),
    })
}

/// Every route as declared: what a test walks.
pub fn declared() -> Vec<route::Declared> {
    let mut all = passwordsafe::routes().declared().to_vec();
    all.extend_from_slice(itglue::routes().declared());
    all.extend_from_slice(native::routes().declared());
    all
}
