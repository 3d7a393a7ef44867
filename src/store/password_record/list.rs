//! Lists of password records: filters, orders, pages and their count.
//!
//! Invariant: every value is bound, and a count is of the same filter as its page.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::text::{Wanted, text};
use crate::model::Timestamp;
use crate::model::id::{OrganizationId, PasswordCategoryId, PasswordFolderId, PasswordRecordId};
use crate::model::password_record::PasswordRecord;
use crate::store::password_reader::Seeing;
use crate::store::{Backend, Page, Store, StoreError};

/// Values of all filters together that a text has room for.
const ROOMS: [usize; 4] = [1, 16, 256, ROOM_MAX];
const ROOM_MAX: usize = 1_024;
/// Orders that count; a third would change what few people see.
const ORDERS_MAX: usize = 2;

/// Which records are wanted. A list names what may match, in any case; an empty one matches
/// anything. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordFilter {
    /// Who asks.
    pub seeing: Seeing,
    /// Organizations that the caller reaches; empty: all.
    pub reach: Vec<OrganizationId>,
    /// Its id.
    pub ids: Vec<PasswordRecordId>,
    /// Not these.
    pub excluded: Vec<PasswordRecordId>,
    /// Its name, whole.
    pub names: Vec<String>,
    /// Its login name, whole.
    pub usernames: Vec<String>,
    /// Its URL, whole.
    pub urls: Vec<String>,
    /// Its organization.
    pub organizations: Vec<OrganizationId>,
    /// Its category.
    pub categories: Vec<PasswordCategoryId>,
    /// Its folder.
    pub folders: Vec<PasswordFolderId>,
    /// What it is embedded in is called; of a linked one `system/account`.
    pub resource_names: Vec<String>,
    /// The id of what it is embedded in, or of its account.
    pub resource_ids: Vec<i64>,
    /// The kind of that: a word of `ResourceKind`, or `Managed Account`.
    pub resource_types: Vec<String>,
    /// Put away or not.
    pub archived: Option<bool>,
    /// A part of its name, URL or notes, or of its account's system's name.
    pub server: Option<String>,
    /// Its value has not changed since, or never.
    pub stale_since: Option<Timestamp>,
    /// When it was made: from and until, both included.
    pub created: (Option<Timestamp>, Option<Timestamp>),
    /// Its last edit.
    pub updated: (Option<Timestamp>, Option<Timestamp>),
    /// Its value's last change.
    pub changed: (Option<Timestamp>, Option<Timestamp>),
}

/// What a list is ordered by. Equals are ordered by id; what is missing comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordOrder {
    /// Its id.
    Id,
    /// Its name.
    Name,
    /// The login name.
    Username,
    /// Its URL.
    Url,
    /// When it was made.
    Created,
    /// Its last edit.
    Updated,
    /// Its value's last change.
    Changed,
    /// Its category's id.
    Category,
}

/// An order, and whether it is reversed.
pub type PasswordSort = (PasswordOrder, bool);

/// The values of the filters, each with the kind of its filter.
fn values(filter: &PasswordFilter) -> Vec<(&'static str, i64, String)> {
    let mut values = Vec::new();
    let mut numbers = |kind, all: &mut dyn Iterator<Item = i64>| {
        values.extend(all.map(|number| (kind, number, String::new())));
    };
    numbers("reach", &mut filter.reach.iter().map(|id| id.0));
    numbers("id", &mut filter.ids.iter().map(|id| id.0));
    numbers("excluded", &mut filter.excluded.iter().map(|id| id.0));
    numbers(
        "organization",
        &mut filter.organizations.iter().map(|id| id.0),
    );
    numbers("category", &mut filter.categories.iter().map(|id| id.0));
    numbers("folder", &mut filter.folders.iter().map(|id| id.0));
    numbers("resource id", &mut filter.resource_ids.iter().copied());
    for (kind, texts) in [
        ("name", &filter.names),
        ("username", &filter.usernames),
        ("url", &filter.urls),
        ("resource name", &filter.resource_names),
    ] {
        values.extend(texts.iter().map(|text| (kind, 0, text.to_lowercase())));
    }
    let types = filter.resource_types.iter();
    values.extend(types.map(|text| ("resource type", 0, text.clone())));
    values
}

/// Records that hold the text `$1`, or whose account's system does; some of them twice.
fn holding(backend: Backend) -> String {
    format!(
        "SELECT t.record_id FROM password_texts t WHERE {}
         UNION ALL
         SELECT p.id FROM password_records p JOIN accounts a ON a.id = p.account_id
             JOIN system_details d ON d.system_id = a.system_id
         WHERE p.account_id IS NOT NULL AND {}
         LIMIT $2",
        backend.contains("t.search_key", "$1"),
        backend.contains("d.name_key", "$1")
    )
}
static HOLDING_OF_SQLITE: LazyLock<String> = LazyLock::new(|| holding(Backend::Sqlite));
static HOLDING_OF_POSTGRES: LazyLock<String> = LazyLock::new(|| holding(Backend::Postgres));

macro_rules! bind_all {
    ($query:expr, $filter:expr, $part:expr, $values:expr, $room:expr) => {{
        let filter: &PasswordFilter = $filter;
        let mut query = $query
            .bind(filter.seeing.user.map(|id| id.0))
            .bind(filter.archived.map(i64::from))
            .bind($part)
            .bind(filter.stale_since.map(|at| at.0));
        for (from, until) in [filter.created, filter.updated, filter.changed] {
            query = query.bind(from.map(|at| at.0)).bind(until.map(|at| at.0));
        }
        for nth in 0..$room {
            let (kind, number, text) = match $values.get(nth) {
                Some((kind, number, text)) => (*kind, *number, text.as_str()),
                None => ("", 0, ""),
            };
            query = query.bind(kind).bind(number).bind(text.to_owned());
        }
        query
    }};
}

impl PasswordFilter {
    /// How many values its lists may hold together.
    pub const VALUES_MAX: usize = ROOM_MAX;
}

impl Store {
    /// The same filter, with the records that hold the text instead of the text where they are few:
    /// all texts are read once then, not for the count and for the page again. `None`: none is left.
    async fn narrowed(
        &self,
        filter: &PasswordFilter,
    ) -> Result<Option<PasswordFilter>, StoreError> {
        const FEW: i64 = 512;
        let Some(server) = &filter.server else {
            return Ok(Some(filter.clone()));
        };
        let text: &'static str = match self.backend {
            Backend::Sqlite => &HOLDING_OF_SQLITE,
            Backend::Postgres => &HOLDING_OF_POSTGRES,
        };
        let rows: Vec<(i64,)> = sqlx::query_as(text)
            .bind(self.backend.part(&server.to_lowercase()))
            .bind(FEW + 1)
            .fetch_all(&self.read)
            .await?;
        let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if found > FEW {
            return Ok(Some(filter.clone()));
        }
        let wanted = |id: &PasswordRecordId| filter.ids.is_empty() || filter.ids.contains(id);
        let ids: BTreeSet<_> = rows.into_iter().map(|(id,)| PasswordRecordId(id)).collect();
        let ids: Vec<_> = ids.into_iter().filter(wanted).collect();
        Ok((!ids.is_empty()).then(|| PasswordFilter {
            ids,
            server: None,
            ..filter.clone()
        }))
    }

    /// A page of the records that a filter passes, and how many it passes in all.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the filter has more than [`PasswordFilter::VALUES_MAX`] values.
    pub async fn password_records(
        &self,
        filter: &PasswordFilter,
        sorts: &[PasswordSort],
        page: Page,
    ) -> Result<(Vec<PasswordRecord>, i64), StoreError> {
        let narrowed = self.narrowed(filter).await?;
        let Some(filter) = &narrowed else {
            return Ok((Vec::new(), 0));
        };
        let values = values(filter);
        let room = ROOMS.into_iter().find(|room| values.len() <= *room);
        let room = room.ok_or(StoreError::Conflict {
            what: "the number of values to look for",
        })?;
        let part = filter.server.as_ref();
        let part = part.map(|part| self.backend.part(&part.to_lowercase()));
        let wanted = Wanted {
            backend: self.backend,
            holds: filter.holds(),
            sorts: None,
            backwards: false,
            room,
        };
        // Count and page are of one moment, or a page that is counted from the end might miss one.
        let mut snapshot = self.read.pool.begin_with(self.backend.snapshot()).await?;
        let query = sqlx::query_as::<_, (i64,)>(text(wanted.clone()));
        let (total,) = bind_all!(query, filter, part.clone(), values, room)
            .fetch_one(&mut *snapshot)
            .await?;
        if page.offset >= total || page.limit == 0 {
            return Ok((Vec::new(), total));
        }
        let limit = page.limit.min(total - page.offset);
        // Whatever is beyond the middle is nearer from the end.
        let backwards = page.offset > total / 2;
        let offset = if backwards {
            total - page.offset - limit
        } else {
            page.offset
        };
        let rows = text(Wanted {
            sorts: Some(sorts.iter().take(ORDERS_MAX).copied().collect()),
            backwards,
            ..wanted
        });
        let query = sqlx::query_as::<_, (i64,)>(rows);
        let ids = bind_all!(query, filter, part.clone(), values, room)
            .bind(limit)
            .bind(offset)
            .bind(offset + limit)
            .fetch_all(&mut *snapshot)
            .await?;
        snapshot.commit().await?;
        let mut ids: Vec<_> = ids.into_iter().map(|(id,)| PasswordRecordId(id)).collect();
        if backwards {
            ids.reverse();
        }
        Ok((self.password_records_by_id(&ids).await?, total))
    }
}
