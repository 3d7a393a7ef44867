//! Who asks in this dialect: the caller, what their key reaches, and from where.
//!
//! Invariant: what is out of a key's reach is denied, and says nothing of itself.

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::body::{Item, Sent};
use super::wire::origin;
use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::error::{ApiError, Refusal};
use crate::api::passwordsafe::Segments;
use crate::api::peer::Peer;
use crate::model::id::OrganizationId;
use crate::model::key::Reach;
use crate::model::organization::Organization;
use crate::store::StoreError;

/// Somebody who asks.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// Who.
    pub(super) caller: Caller,
    /// What their key reaches.
    pub(super) reach: Reach,
    /// From where.
    pub(super) from: Peer,
    /// Scheme and host as they called them.
    pub(super) origin: String,
}

impl FromRequestParts<Api> for Ask {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let reach = parts.extensions.get::<Reach>().cloned();
        let from = Peer::of(api, &parts.extensions, &parts.headers);
        Ok(Self {
            caller: Caller::from_request_parts(parts, api).await?,
            reach: reach.ok_or(ApiError::Internal("a route without a key asked its reach"))?,
            from,
            origin: origin(api.settings.tls, &parts.uri, &parts.headers),
        })
    }
}

impl Ask {
    /// The organizations in reach; `None`: all.
    pub(super) fn organizations(&self) -> Option<&BTreeSet<OrganizationId>> {
        let named = &self.reach.organizations;
        (!named.is_empty()).then_some(named)
    }

    /// Refuses an organization that is out of reach.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub(super) fn reaches(&self, organization: OrganizationId) -> Result<(), ApiError> {
        if self.reach.holds(organization) {
            Ok(())
        } else {
            Err(ApiError::Forbidden)
        }
    }

    /// The organization that a nested path names.
    ///
    /// # Errors
    /// [`ApiError::NotFound`], or [`ApiError::Forbidden`] if it is out of reach.
    pub(super) async fn within(
        &self,
        api: &Api,
        segments: &Segments,
    ) -> Result<Organization, ApiError> {
        const WHAT: &str = "Organization";
        let id: OrganizationId = segments.id("oid", WHAT)?;
        let found = api.store.organization(id).await?;
        let found = found.ok_or(ApiError::NotFound { what: WHAT })?;
        self.reaches(id)?;
        Ok(found)
    }

    /// The organization of a new thing: from the path, else as the item says.
    ///
    /// # Errors
    /// [`ApiError::Refused`] with the dialect's titles; [`ApiError::Forbidden`].
    pub(super) async fn organization_of(
        &self,
        api: &Api,
        path: Option<OrganizationId>,
        item: &Item,
    ) -> Result<OrganizationId, ApiError> {
        if let Some(id) = path {
            return Ok(id);
        }
        let sent = item.id_of("organization_id")?.value();
        let id = sent.or_else(|| item.related_id("organization"));
        let Some(id) = id.map(OrganizationId) else {
            let text = "name the organization in organization_id";
            let refusal = Refusal::missing("Organization required", text);
            return Err(refusal.at(&item.pointer("organization_id")).into());
        };
        if api.store.organization(id).await?.is_none() {
            let text = format!("organization_id {} does not exist", id.0);
            let refusal = Refusal::unprocessable("Valid organization_id is required", text);
            return Err(refusal.at(&item.pointer("organization_id")).into());
        }
        self.reaches(id)?;
        Ok(id)
    }
}

/// The name of something new.
///
/// # Errors
/// [`ApiError::Refused`] with the dialect's title.
pub(super) fn named(item: &Item, chars_max: usize) -> Result<String, ApiError> {
    let sent = item.text("name", chars_max)?.value();
    filled(item, sent.unwrap_or_default())
}

/// The name of something that is edited; `None`: it stays.
///
/// # Errors
/// As [`named`].
pub(super) fn renamed(item: &Item, chars_max: usize) -> Result<Option<String>, ApiError> {
    match item.text("name", chars_max)? {
        Sent::Absent => Ok(None),
        Sent::Null => filled(item, String::new()).map(Some),
        Sent::Value(name) => filled(item, name).map(Some),
    }
}

fn filled(item: &Item, name: String) -> Result<String, ApiError> {
    if name.trim().is_empty() {
        let refusal = Refusal::missing("Name can't be blank", "give it a name");
        return Err(refusal.at(&item.pointer("name")).into());
    }
    if name.chars().any(char::is_control) {
        return Err(item.fault("name", "must not hold control characters"));
    }
    Ok(name)
}

/// A conflict of the store as the dialect says it: 422 with this title.
pub(super) fn unfit(error: ApiError, title: &'static str, item: &Item, name: &str) -> ApiError {
    match error {
        ApiError::Store(StoreError::Conflict { what }) => {
            let text = format!("{what} conflicts with what is there; nothing was changed");
            let refusal = Refusal::unprocessable(title, text);
            refusal.at(&item.pointer(name)).into()
        }
        other => other,
    }
}
