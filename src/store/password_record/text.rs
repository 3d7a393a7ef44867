//! The texts of lists of password records.
//!
//! Invariant: a text is made of constants alone, and there is a bounded number of them.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::list::{PasswordFilter, PasswordOrder, PasswordSort};
use crate::store::Backend;
use crate::store::password_reader::names;

/// Texts that are kept. Whoever asks for ever new filters and orders gets the text that fits all of
/// them, and the first order alone.
const TEXTS_MAX: usize = 1_000;

/// Records that hold a value of their own, and those that show an account's. Some columns of these
/// are the account's: a text that looks at one reads one kind after the other, by its own indexes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Both,
    Own,
    Linked,
}

impl Kind {
    /// What it reads, and what tells the kind.
    const fn source(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Both => ("password_records p", None),
            Self::Own => ("password_records p", Some("p.account_id IS NULL")),
            Self::Linked => (
                "password_records p JOIN accounts a ON a.id = p.account_id
                     JOIN system_details d ON d.system_id = a.system_id",
                Some("p.account_id IS NOT NULL"),
            ),
        }
    }

    const fn of(self, (own, linked): Texts) -> &'static str {
        match self {
            Self::Both | Self::Own => own,
            Self::Linked => linked,
        }
    }
}

/// Records that are read together: of a kind, and where a page begins with the greatest, those that
/// have what it is ordered by or those that miss it. An index puts what is missing first then.
#[derive(Clone, Copy)]
struct Branch {
    kind: Kind,
    misses: Option<bool>,
}

/// What is written for a record with a value of its own, and for one that shows an account's.
type Texts = (&'static str, &'static str);

macro_rules! own_changed {
    () => {
        "COALESCE(p.said_changed_at, p.value_changed_at)"
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

    const fn texts(self) -> Texts {
        match self {
            Self::Id => ("p.id", "p.id"),
            Self::Name => ("p.name_key", "p.name_key"),
            Self::Username => ("p.username_key", "a.name_key"),
            Self::Url => ("p.url_key", "p.url_key"),
            Self::Created => ("p.created_at", "p.created_at"),
            Self::Updated => ("p.updated_at", "p.updated_at"),
            Self::Changed => (own_changed!(), "a.last_change_at"),
            Self::Category => ("p.category_id", "p.category_id"),
        }
    }
}

/// What a text is made for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// For which database.
    pub(super) backend: Backend,
    /// Which of [`HOLDS`] it has, by bits.
    pub(super) holds: u32,
    /// `None` counts; otherwise a page in this order.
    pub(super) sorts: Option<Vec<PasswordSort>>,
    /// True: the last one comes first.
    pub(super) backwards: bool,
    /// How many values it has room for.
    pub(super) room: usize,
}

/// `own` is among the values of a kind, and so is `linked`.
macro_rules! any_of {
    ($kind:literal, $value:literal, $own:expr) => {
        any_of!($kind, $value, $own, $own)
    };
    ($kind:literal, $value:literal, $own:expr, $linked:expr) => {
        (
            concat!("NOT EXISTS (SELECT 1 FROM f WHERE f.kind = '", $kind, "')"),
            (
                concat!(
                    $own,
                    " IN (SELECT f.",
                    $value,
                    " FROM f WHERE f.kind = '",
                    $kind,
                    "')"
                ),
                concat!(
                    $linked,
                    " IN (SELECT f.",
                    $value,
                    " FROM f WHERE f.kind = '",
                    $kind,
                    "')"
                ),
            ),
        )
    };
}

/// The same for both kinds.
macro_rules! alike {
    ($text:expr) => {
        ($text, $text)
    };
}

/// What may have to hold, behind when it need not. `$1` is the user who asks, `$2` archived, `$3` a
/// part of a text, `$4` stale since, then three times from and until.
///
/// A text has what its filter needs and no more: a condition that holds for anything costs as much
/// as one that does not, a hundred thousand times a page.
const HOLDS: [(&str, Texts); 22] = [
    (
        "CAST($1 AS BIGINT) IS NULL",
        alike!(concat!(
            "(p.restricted = 0 OR EXISTS (SELECT 1 FROM password_readers x WHERE x.record_id = p.id AND ",
            names!("$1"),
            ")) AND (p.gate_id IS NULL OR p.gate_id IN (SELECT x.folder_id FROM password_readers x
            WHERE x.folder_id IS NOT NULL AND ",
            names!("$1"),
            "))"
        )),
    ),
    (
        "CAST($2 AS BIGINT) IS NULL",
        (
            "p.archived = $2",
            "$2 = CASE WHEN p.archived = 1 OR a.deleted_at IS NOT NULL THEN 1 ELSE 0 END",
        ),
    ),
    (
        "CAST($3 AS TEXT) IS NULL",
        (
            "EXISTS (SELECT 1 FROM password_texts t WHERE t.record_id = p.id AND CONTAINS(t.search_key))",
            "EXISTS (SELECT 1 FROM password_texts t WHERE t.record_id = p.id
            AND (CONTAINS(t.search_key) OR CONTAINS(d.name_key)))",
        ),
    ),
    (
        "CAST($4 AS BIGINT) IS NULL",
        (
            concat!("COALESCE(", own_changed!(), ", 0) < $4"),
            "COALESCE(a.last_change_at, 0) < $4",
        ),
    ),
    ("CAST($5 AS BIGINT) IS NULL", alike!("p.created_at >= $5")),
    ("CAST($6 AS BIGINT) IS NULL", alike!("p.created_at <= $6")),
    ("CAST($7 AS BIGINT) IS NULL", alike!("p.updated_at >= $7")),
    ("CAST($8 AS BIGINT) IS NULL", alike!("p.updated_at <= $8")),
    (
        "CAST($9 AS BIGINT) IS NULL",
        (concat!(own_changed!(), " >= $9"), "a.last_change_at >= $9"),
    ),
    (
        "CAST($10 AS BIGINT) IS NULL",
        (
            concat!(own_changed!(), " <= $10"),
            "a.last_change_at <= $10",
        ),
    ),
    any_of!("reach", "n", "p.organization_id"),
    any_of!("id", "n", "p.id"),
    any_of!("name", "t", "p.name_key"),
    any_of!("username", "t", "p.username_key", "a.name_key"),
    any_of!("url", "t", "p.url_key"),
    any_of!("organization", "n", "p.organization_id"),
    any_of!("category", "n", "p.category_id"),
    any_of!("folder", "n", "p.folder_id"),
    any_of!(
        "resource name",
        "t",
        "p.resource_name_key",
        "d.name_key || '/' || a.name_key"
    ),
    any_of!("resource id", "n", "p.resource_id", "p.account_id"),
    any_of!("resource type", "t", "p.resource_type", "'Managed Account'"),
    (
        "NOT EXISTS (SELECT 1 FROM f WHERE f.kind = 'excluded')",
        alike!("p.id NOT IN (SELECT f.n FROM f WHERE f.kind = 'excluded')"),
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

/// Its last parameters are a page's limit, its offset, and the sum of both.
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
    let text: &'static str = Box::leak(wanted.made().into_boxed_str());
    texts.insert(wanted, text);
    text
}

impl Wanted {
    fn made(&self) -> String {
        let row = |row: usize| {
            let first = SCALARS + row * 3 + 1;
            format!("(${first}, ${}, ${})", first + 1, first + 2)
        };
        let rows: Vec<String> = (0..self.room).map(row).collect();
        let kinds: &[Kind] = if self.tells_apart() {
            &[Kind::Own, Kind::Linked]
        } else {
            &[Kind::Both]
        };
        let select = match &self.sorts {
            None => {
                let one = |kind: &Kind| format!("(SELECT COUNT(*) {})", self.from(*kind, None));
                let counts: Vec<String> = kinds.iter().map(one).collect();
                counts.join(" + ")
            }
            Some(sorts) => self.page(sorts, kinds),
        };
        let text = format!(
            "WITH f (kind, n, t) AS (VALUES {}) SELECT {select}",
            rows.join(", ")
        );
        let contains = |text: String, column: &str| {
            let contains = self.backend.contains(column, "$3");
            text.replace(&format!("CONTAINS({column})"), &contains)
        };
        ["t.search_key", "d.name_key"]
            .into_iter()
            .fold(text, contains)
    }

    /// The conditions that it has.
    fn conditions(&self) -> impl Iterator<Item = &'static (&'static str, Texts)> {
        let has = |bit: usize| self.holds == ALL || self.holds >> bit & 1 == 1;
        let all = HOLDS.iter().enumerate();
        all.filter(move |(bit, _)| has(*bit)).map(|(_, one)| one)
    }

    /// True if it looks at what the kinds of records have in different places.
    fn tells_apart(&self) -> bool {
        let differ = |texts: Texts| texts.0 != texts.1;
        let mut sorts = self.sorts.iter().flatten();
        sorts.any(|(order, _)| differ(order.texts()))
            || self.conditions().any(|(_, texts)| differ(*texts))
    }

    /// Records of a kind that pass, and what else must hold of them.
    fn from(&self, kind: Kind, also: Option<String>) -> String {
        let (source, tells) = kind.source();
        let mut holds: Vec<String> = tells.map(str::to_owned).into_iter().collect();
        holds.extend(also);
        for (need_not, texts) in self.conditions() {
            let text = kind.of(*texts);
            holds.push(if self.holds == ALL {
                format!("({need_not} OR {text})")
            } else {
                text.to_owned()
            });
        }
        if holds.is_empty() {
            format!("FROM {source}")
        } else {
            format!("FROM {source} WHERE {}", holds.join(" AND "))
        }
    }

    /// An order: each column, whether it is reversed, and whether it may be missing.
    fn order(&self, by: impl Iterator<Item = (String, bool, bool)>, id: &str) -> String {
        let mut text = String::from("ORDER BY ");
        for (column, reversed, may_miss) in by {
            let way = if reversed == self.backwards {
                ""
            } else {
                " DESC"
            };
            // Where nothing is missing, an index gives the order as it is.
            let missing = match (may_miss, self.backwards) {
                (false, _) => "",
                (true, false) => " NULLS LAST",
                (true, true) => " NULLS FIRST",
            };
            for part in [column.as_str(), way, missing, ", "] {
                text.push_str(part);
            }
        }
        let way = if self.backwards { " DESC" } else { "" };
        text + id + way
    }

    fn page(&self, sorts: &[PasswordSort], kinds: &[Kind]) -> String {
        let limit = SCALARS + self.room * 3 + 1;
        let (offset, end) = (limit + 1, limit + 2);
        let page = format!("LIMIT ${limit} OFFSET ${offset}");
        let greatest_first = matches!(sorts, [(first, true), ..] if first.may_miss());
        let apart: &[Option<bool>] = if greatest_first {
            &[Some(false), Some(true)]
        } else {
            &[None]
        };
        let of = |kind: Kind| {
            let branch = move |misses: &Option<bool>| Branch {
                kind,
                misses: *misses,
            };
            apart.iter().map(branch)
        };
        let branches: Vec<Branch> = kinds.iter().flat_map(|kind| of(*kind)).collect();
        if let [only] = branches[..] {
            return format!("p.id {} {page}", self.branch(only, sorts));
        }
        // Of each branch as many as the page may need; all are read by their indexes.
        let part = |branch: &Branch| {
            let mut columns = String::from("p.id AS id");
            for (nth, (by, _)) in sorts.iter().enumerate() {
                let column = branch.kind.of(by.texts());
                columns = format!("{columns}, {column} AS k{nth}");
            }
            let rows = self.branch(*branch, sorts);
            format!("SELECT * FROM (SELECT {columns} {rows} LIMIT ${end}) x")
        };
        let parts: Vec<String> = branches.iter().map(part).collect();
        let by = sorts.iter().enumerate();
        let by =
            by.map(|(nth, (order, reversed))| (format!("u.k{nth}"), *reversed, order.may_miss()));
        let order = self.order(by, "u.id");
        format!("u.id FROM ({}) u {order} {page}", parts.join(" UNION ALL "))
    }

    /// The records of a branch, ordered.
    fn branch(&self, branch: Branch, sorts: &[PasswordSort]) -> String {
        let column = |order: PasswordOrder| branch.kind.of(order.texts()).to_owned();
        let also = sorts
            .first()
            .zip(branch.misses)
            .map(|((first, _), misses)| {
                let is = if misses { "IS NULL" } else { "IS NOT NULL" };
                format!("{} {is}", column(*first))
            });
        let by = sorts.iter().enumerate();
        let by = by.filter_map(|(nth, (order, reversed))| match (nth, branch.misses) {
            (0, Some(true)) => None,
            (0, Some(false)) => Some((column(*order), *reversed, false)),
            _ => Some((column(*order), *reversed, order.may_miss())),
        });
        let order = self.order(by, "p.id");
        format!("{} {order}", self.from(branch.kind, also))
    }
}
