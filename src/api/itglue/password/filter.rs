//! The filters of records, as the dialect names them.
//!
//! Invariant: a filter narrows what the caller may see, and never widens it.

use std::time::Duration;

use crate::api::error::ApiError;
use crate::api::itglue::query::Query;
use crate::api::record::Asker;
use crate::model::Timestamp;
use crate::model::id::{OrganizationId, PasswordCategoryId, PasswordFolderId, PasswordRecordId};
use crate::model::password_record::ResourceKind;
use crate::store::{PasswordFilter, PasswordOrder};

/// What a list may be sorted by.
pub(in crate::api::itglue) const SORTS: [(&str, PasswordOrder); 7] = [
    ("id", PasswordOrder::Id),
    ("name", PasswordOrder::Name),
    ("username", PasswordOrder::Username),
    ("url", PasswordOrder::Url),
    ("created_at", PasswordOrder::Created),
    ("updated_at", PasswordOrder::Updated),
    ("password_updated_at", PasswordOrder::Changed),
];

/// Every filter that is known, without the operators of dates.
const KNOWN: [&str; 17] = [
    "filter[id]",
    "filter[name]",
    "filter[organization_id]",
    "filter[password_category_id]",
    "filter[password_folder_id]",
    "filter[url]",
    "filter[username]",
    "filter[cached_resource_name]",
    "filter[resource_id]",
    "filter[resource_type]",
    "filter[archived]",
    "filter[server]",
    "filter[stale_days]",
    "filter[created_at]",
    "filter[updated_at]",
    "filter[password_updated_at]",
    "exclude[id]",
];
/// What may stand behind a date's filter.
const OPERATORS: [&str; 4] = ["[gt]", "[gte]", "[lt]", "[lte]"];
/// Longest time without a change that can be asked for, about as long as there are computers.
const DAYS_MAX: u64 = 36_500;
/// An id that no record has.
const NOTHING: PasswordRecordId = PasswordRecordId(0);

/// True if a filter of this name does something.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
        || OPERATORS.iter().any(|operator| {
            let bare = name.strip_suffix(operator);
            bare.is_some_and(|bare| bare.ends_with("_at]") && KNOWN.contains(&bare))
        })
}

/// The name of every filter that does something.
pub(in crate::api::itglue) fn names() -> Vec<String> {
    let all = KNOWN.into_iter().flat_map(|name| {
        let dates = OPERATORS.iter().filter(|_| name.ends_with("_at]"));
        let others = dates.map(move |operator| format!("{name}{operator}"));
        std::iter::once(name.to_owned()).chain(others)
    });
    all.collect()
}

/// What a call asks for.
///
/// # Errors
/// [`ApiError::Invalid`] if a value cannot be read.
pub(super) fn read(
    query: &Query,
    asker: Asker<'_>,
    within: Option<OrganizationId>,
    now: Timestamp,
) -> Result<PasswordFilter, ApiError> {
    let ids = |name: &str| query.ids(name).map(Option::unwrap_or_default);
    let texts = |name: &str| query.any_of(name).map(Option::unwrap_or_default);
    let span = |name: &str| {
        let span = query.span(name)?.unwrap_or_default();
        Ok::<_, ApiError>((span.from, span.to))
    };
    let mut filter = PasswordFilter {
        ids: of(ids("filter[id]")?, PasswordRecordId),
        excluded: of(ids("exclude[id]")?, PasswordRecordId),
        names: texts("filter[name]")?,
        usernames: texts("filter[username]")?,
        urls: texts("filter[url]")?,
        organizations: of(ids("filter[organization_id]")?, OrganizationId),
        categories: of(ids("filter[password_category_id]")?, PasswordCategoryId),
        folders: of(ids("filter[password_folder_id]")?, PasswordFolderId),
        resource_names: texts("filter[cached_resource_name]")?,
        resource_ids: ids("filter[resource_id]")?,
        resource_types: texts("filter[resource_type]")?
            .iter()
            .map(|raw| kind(raw))
            .collect(),
        archived: query.either("filter[archived]")?,
        server: query.text("filter[server]").map(str::to_owned),
        stale_since: stale(query, now)?,
        created: span("filter[created_at]")?,
        updated: span("filter[updated_at]")?,
        changed: span("filter[password_updated_at]")?,
        ..asker.filter()
    };
    if let Some(within) = within {
        if !filter.organizations.is_empty() && !filter.organizations.contains(&within) {
            filter.ids = vec![NOTHING];
        }
        filter.organizations = vec![within];
    }
    Ok(filter)
}

fn of<T>(ids: Vec<i64>, id: fn(i64) -> T) -> Vec<T> {
    ids.into_iter().map(id).collect()
}

/// The word of a kind, however it was spelled; what is none fits nothing.
fn kind(raw: &str) -> String {
    let linked = ResourceKind::MANAGED_ACCOUNT;
    if ResourceKind::is_spelled(linked, raw) {
        return linked.to_owned();
    }
    ResourceKind::parse(raw).map_or_else(|| raw.to_owned(), |kind| kind.as_str().to_owned())
}

/// Since when a value must be unchanged.
fn stale(query: &Query, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let Some(raw) = query.text("filter[stale_days]") else {
        return Ok(None);
    };
    let days = raw.trim().parse::<u64>().ok();
    let days = days.filter(|days| *days <= DAYS_MAX);
    let days = days.ok_or_else(|| ApiError::bad("filter[stale_days] must be a number of days"))?;
    Ok(Some(now.minus(Duration::from_hours(days * 24))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_filters_are_told_from_mistyped_ones() {
        for name in names() {
            assert!(is_known(&name), "{name}");
        }
        assert!(names().contains(&"filter[created_at][gte]".to_owned()));
        for name in [
            "filter",
            "filter[nam]",
            "filter[id][gt]",
            "filter[created_at][ne]",
            "exclude[name]",
        ] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn kinds_are_read_in_every_spelling() {
        assert_eq!(kind("managed-accounts"), "Managed Account");
        assert_eq!(kind("ssl_certificate"), "SSL Certificate");
        assert_eq!(kind("printer"), "printer");
    }

    #[test]
    fn the_last_day_counts_as_stale_from_now_back() {
        let now = Timestamp(86_400_000 * 100);
        let days = |raw: &str| stale(&Query::parse(raw).unwrap(), now);
        let found = days("filter[stale-days]=90").unwrap();
        assert_eq!(found, Some(Timestamp(86_400_000 * 10)));
        assert_eq!(days("filter[stale_days]=").unwrap(), None);
        days("filter[stale_days]=-1").unwrap_err();
        days("filter[stale_days]=99999999999").unwrap_err();
    }
}
