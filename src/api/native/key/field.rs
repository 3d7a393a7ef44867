//! What the fields of a key may hold.
//!
//! Invariant: what binds keys of one kind alone is refused of all others, never ignored.

use std::collections::BTreeSet;

use crate::api::error::ApiError;
use crate::model::id::OrganizationId;
use crate::model::key::{Addresses, KeyKind, Reach};

/// The name of an order.
pub(super) fn name(raw: &str) -> Result<String, ApiError> {
    let name = raw.trim();
    if name.is_empty() || name.chars().count() > 128 || name.chars().any(char::is_control) {
        let text = "must have 1 to 128 characters, without control characters";
        return Err(ApiError::field("name", text));
    }
    Ok(name.to_owned())
}

/// The networks of an order.
pub(super) fn networks(raw: &[String]) -> Result<Addresses, ApiError> {
    if raw.len() > Addresses::MAX {
        let text = format!("must be at most {} networks", Addresses::MAX);
        return Err(ApiError::field("addresses", text));
    }
    let read = |(nth, one): (usize, &String)| {
        let text = "must be a network such as 10.0.0.0/8, or an address";
        Addresses::network(one).ok_or_else(|| ApiError::field(format!("addresses.{nth}"), text))
    };
    let networks = raw.iter().enumerate().map(read);
    Ok(Addresses::of(networks.collect::<Result<_, _>>()?))
}

/// The organizations of an order.
pub(super) fn organizations(raw: &[i64]) -> Result<BTreeSet<OrganizationId>, ApiError> {
    if raw.len() > Reach::MAX {
        let text = format!("must be at most {} organizations", Reach::MAX);
        return Err(ApiError::field("organizations", text));
    }
    let read = |(nth, id): (usize, &i64)| {
        let field = format!("organizations.{nth}");
        let id = Some(*id).filter(|id| (1..=i64::from(i32::MAX)).contains(id));
        id.map(OrganizationId)
            .ok_or_else(|| ApiError::field(field, "must be an id"))
    };
    raw.iter().enumerate().map(read).collect()
}

/// Only where a password has a place in the sign-in may it be demanded.
pub(super) fn may_demand(kind: KeyKind, password_required: bool) -> Result<(), ApiError> {
    if password_required && kind != KeyKind::PasswordSafe {
        let text = "may be true of keys of kind passwordsafe alone";
        return Err(ApiError::field("password_required", text));
    }
    Ok(())
}

/// Only the IT Glue dialect asks what its keys reach.
pub(super) fn may_reach(kind: KeyKind, reach: &Reach) -> Result<(), ApiError> {
    if kind == KeyKind::ItGlue {
        return Ok(());
    }
    let text = "may be given of keys of kind itglue alone";
    if reach.password_access {
        return Err(ApiError::field("password_access", text));
    }
    if !reach.organizations.is_empty() {
        return Err(ApiError::field("organizations", text));
    }
    Ok(())
}
