//! The texts of lists of password records.
//!
//! Invariant: a text is made of constants alone, and there is a bounded number of them.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::list::{PasswordFilter, PasswordOrder, PasswordSort};
use crate::store::password_reader::names;

/// Texts that are kept. Whoever asks for ever new filters and orders gets the text that fits all of
/// them, and the first order alone.
const TEXTS_MAX: usize = 1_000;

/// When its value last changed.
macro_rules! changed {
    () => {
        "CASE WHEN p.account_id IS NULL THEN COALESCE(p.said_changed_at, p.value_changed_at)
            ELSE (SELECT a.last_change_at FROM accounts a WHERE a.id = p.account_id) END"
    };
}

impl PasswordOrder {
    /// True if a record may have none of it.
    const fn may_miss(self) -> bool {
        match self {
            Self::Username | Self::Url | Self::Changed | Self::Category => true,
            Self::Id | Self::Name | Self::Created | Self::Updated => false,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Id => "p.id",
            Self::Name => "p.name_key",
            Self::Username => {
                "CASE WHEN p.account_id IS NULL THEN p.username_key
                    ELSE (SELECT a.name_key FROM accounts a WHERE a.id = p.account_id) END"
            }
            Self::Url => "p.url_key",
            Self::Created => "p.created_at",
            Self::Updated => "p.updated_at",
            Self::Changed => changed!(),
            Self::Category => "p.category_id",
        }
    }
}

/// What a text is made for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// Which of [`HOLDS`] it has, by bits.
    pub(super) holds: u32,
    /// `None` counts; otherwise a page in this order.
    pub(super) sorts: Option<Vec<PasswordSort>>,
    /// How many values it has room for.
    pub(super) room: usize,
}

/// `column` is among the values of a kind.
macro_rules! any_of {
    ($kind:literal, $value:literal, $column:expr) => {
        (
            concat!("NOT EXISTS (SELECT 1 FROM f WHERE f.kind = '", $kind, "')"),
            concat!(
                $column,
                " IN (SELECT f.",
                $value,
                " FROM f WHERE f.kind = '",
                $kind,
                "')"
            ),
        )
    };
}

/// What may have to hold, behind when it need not. `$1` is the user who asks, `$2` archived, `$3` a part of a text, `$4` stale
/// since, then three times from and until.
///
/// A text has what its filter needs and no more: a condition that holds for anything costs as much
/// as one that does not, a hundred thousand times a page.
const HOLDS: [(&str, &str); 22] = [
    ("CAST($1 AS BIGINT) IS NULL", concat!(
        "(p.restricted = 0 OR EXISTS (SELECT 1 FROM password_readers x WHERE x.record_id = p.id AND ",
        names!("$1"),
        ")) AND (p.gate_id IS NULL OR p.gate_id IN (SELECT x.folder_id FROM password_readers x
            WHERE x.folder_id IS NOT NULL AND ",
        names!("$1"),
        "))"
    )),
    ("CAST($2 AS BIGINT) IS NULL", "$2 = CASE WHEN p.archived = 1 OR (p.account_id IS NOT NULL AND EXISTS (SELECT 1 FROM accounts a
        WHERE a.id = p.account_id AND a.deleted_at IS NOT NULL)) THEN 1 ELSE 0 END"),
    ("CAST($3 AS TEXT) IS NULL", "(p.id IN (SELECT t.record_id FROM password_texts t WHERE t.search_key LIKE $3 ESCAPE '\\')
        OR p.account_id IN (SELECT a.id FROM accounts a
            JOIN system_details d ON d.system_id = a.system_id
            WHERE d.name_key LIKE $3 ESCAPE '\\'))"),
    ("CAST($4 AS BIGINT) IS NULL", concat!("COALESCE(", changed!(), ", 0) < $4")),
    ("CAST($5 AS BIGINT) IS NULL", "p.created_at >= $5"),
    ("CAST($6 AS BIGINT) IS NULL", "p.created_at <= $6"),
    ("CAST($7 AS BIGINT) IS NULL", "p.updated_at >= $7"),
    ("CAST($8 AS BIGINT) IS NULL", "p.updated_at <= $8"),
    ("CAST($9 AS BIGINT) IS NULL", concat!(changed!(), " >= $9")),
    ("CAST($10 AS BIGINT) IS NULL", concat!(changed!(), " <= $10")),
    any_of!("reach", "n", "p.organization_id"),
    any_of!("id", "n", "p.id"),
    any_of!("name", "t", "p.name_key"),
    any_of!(
        "username",
        "t",
        "CASE WHEN p.account_id IS NULL THEN p.username_key
            ELSE (SELECT a.name_key FROM accounts a WHERE a.id = p.account_id) END"
    ),
    any_of!("url", "t", "p.url_key"),
    any_of!("organization", "n", "p.organization_id"),
    any_of!("category", "n", "p.category_id"),
    any_of!("folder", "n", "p.folder_id"),
    any_of!(
        "resource name",
        "t",
        "CASE WHEN p.account_id IS NULL THEN p.resource_name_key
            ELSE (SELECT d.name_key || '/' || a.name_key FROM accounts a
                JOIN system_details d ON d.system_id = a.system_id WHERE a.id = p.account_id) END"
    ),
    any_of!(
        "resource id",
        "n",
        "CASE WHEN p.account_id IS NULL THEN p.resource_id ELSE p.account_id END"
    ),
    any_of!(
        "resource type",
        "t",
        "CASE WHEN p.account_id IS NULL THEN p.resource_type ELSE 'Managed Account' END"
    ),
    (
        "NOT EXISTS (SELECT 1 FROM f WHERE f.kind = 'excluded')",
        "p.id NOT IN (SELECT f.n FROM f WHERE f.kind = 'excluded')",
    ),
];
/// Every condition, each beside what makes it hold for anything: the one text that fits all filters.
const ALL: u32 = u32::MAX;
const SCALARS: usize = 10;

impl PasswordFilter {
    /// Which of [`HOLDS`] it needs.
    pub(super) fn holds(&self) -> u32 {
        let needs = [
            self.seeing.user.is_some(),
            self.archived.is_some(),
            self.server.is_some(),
            self.stale_since.is_some(),
            self.created.0.is_some(),
            self.created.1.is_some(),
            self.updated.0.is_some(),
            self.updated.1.is_some(),
            self.changed.0.is_some(),
            self.changed.1.is_some(),
            !self.reach.is_empty(),
            !self.ids.is_empty(),
            !self.names.is_empty(),
            !self.usernames.is_empty(),
            !self.urls.is_empty(),
            !self.organizations.is_empty(),
            !self.categories.is_empty(),
            !self.folders.is_empty(),
            !self.resource_names.is_empty(),
            !self.resource_ids.is_empty(),
            !self.resource_types.is_empty(),
            !self.excluded.is_empty(),
        ];
        let bits = needs.iter().enumerate();
        bits.map(|(bit, need)| u32::from(*need) << bit).sum()
    }
}

/// The texts that were asked for so far.
static TEXTS: LazyLock<Mutex<HashMap<Wanted, &'static str>>> = LazyLock::new(Mutex::default);

pub(super) fn text(mut wanted: Wanted) -> &'static str {
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if texts.len() >= TEXTS_MAX && !texts.contains_key(&wanted) {
        wanted.holds = ALL;
        if let Some(sorts) = &mut wanted.sorts {
            sorts.truncate(1);
        }
    }
    if let Some(text) = texts.get(&wanted) {
        return text;
    }
    let text: &'static str = Box::leak(made(&wanted).into_boxed_str());
    texts.insert(wanted, text);
    text
}

fn made(wanted: &Wanted) -> String {
    let row = |row: usize| {
        let first = SCALARS + row * 3 + 1;
        format!("(${first}, ${}, ${})", first + 1, first + 2)
    };
    let rows: Vec<String> = (0..wanted.room).map(row).collect();
    let last = SCALARS + wanted.room * 3;
    let holds = HOLDS
        .iter()
        .enumerate()
        .filter_map(|(bit, (need_not, holds))| {
            if wanted.holds == ALL {
                Some(format!("({need_not} OR {holds})"))
            } else {
                (wanted.holds >> bit & 1 == 1).then(|| (*holds).to_owned())
            }
        });
    let holds: Vec<String> = holds.collect();
    let holds = if holds.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", holds.join(" AND "))
    };
    let (what, order) = match &wanted.sorts {
        None => ("COUNT(*)", String::new()),
        Some(sorts) => {
            let one = |(order, reversed): &PasswordSort| {
                let way = if *reversed { " DESC" } else { "" };
                // Where nothing is missing, an index gives the order as it is.
                let missing = if order.may_miss() { " NULLS LAST" } else { "" };
                format!("{}{way}{missing}, ", order.text())
            };
            let sorts: String = sorts.iter().map(one).collect();
            let limits = format!("LIMIT ${} OFFSET ${}", last + 1, last + 2);
            ("p.id", format!(" ORDER BY {sorts}p.id {limits}"))
        }
    };
    format!(
        "WITH f (kind, n, t) AS (VALUES {}) SELECT {what} FROM password_records p{holds}{order}",
        rows.join(", ")
    )
}
