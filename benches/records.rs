//! Lists of 100,000 password records, on both databases: every filter and order, first pages and
//! last ones, as a caller that sees all of them and as one that sees what is not restricted.
//!
//! Invariant: every figure is of one run; a page that misses its target fails the run.
#![cfg(test)]

#[path = "../tests/it/support/database.rs"]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "made for the tests"
)]
mod database;
#[path = "../tests/it/support/program.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod program;
#[path = "../tests/it/support/queue.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod queue;
#[expect(dead_code, unused_imports, reason = "only the machine is shared")]
mod support;

use std::collections::BTreeSet;
use std::process::ExitCode;

use keywheel::clock::{SharedClock, SystemClock};
use keywheel::model::Timestamp;
use keywheel::model::id::{OrganizationId, PasswordFolderId, PasswordRecordId, UserId};
use keywheel::model::organization::OrganizationFields;
use keywheel::model::password_record::PasswordFields;
use keywheel::model::principal::NewUser;
use keywheel::store::{
    Backend, FolderFields, NewPasswordRecord, Page, PasswordFilter, PasswordOrder, PasswordSort,
    Seeing, Store,
};

use database::Database;
use queue::{NOW, account_id};
use support::{introduce, show_load};

const RECORDS: i64 = 100_000;
/// Records that are made in one transaction.
const CHUNK: i64 = 2_000;
const ORGANIZATIONS: i64 = 50;
/// Records that show one of as many managed accounts.
const LINKED: i64 = 2_000;
const CALLS: usize = 100;
const TARGET_MS: f64 = 50.0;

fn at(nth: i64) -> Timestamp {
    Timestamp(NOW.0 - nth * 60_000)
}

/// One record of those: every hundredth restricted, every tenth archived, every fourth without a URL.
fn fields(nth: i64, folder: PasswordFolderId) -> PasswordFields {
    let server = nth % 1_000;
    PasswordFields {
        username: Some(format!("admin{}", nth % 500)),
        url: (nth % 4 > 0).then(|| format!("https://srv{server:04}.example.net/console")),
        notes: Some(format!(
            "<p>Created: 2026-01-02</p><p>Purpose: administration of machine {server:04}, rack \
             {}</p><p>Ask the people who run it before it is changed by hand.</p>",
            nth % 77
        )),
        category_id: (nth % 8 > 0).then(|| (nth % 8).into()),
        folder_id: (nth % 3 > 0).then_some(folder),
        restricted: nth % 100 == 0,
        archived: nth % 10 == 0,
        ..PasswordFields::named(format!("srv{server:04} account {nth}"))
    }
}

/// Fills the store; somebody who is named nowhere.
async fn fill(database: &Database) -> (Store, UserId) {
    let queue = database.queue().await;
    queue.system(1, 2, 100, LINKED).await;
    let store = queue.store;
    let mut tx = store.begin().await.unwrap();
    let mut places = Vec::new();
    for nth in 0..ORGANIZATIONS {
        let fields = OrganizationFields::named(format!("Customer {nth}"));
        let of = tx.insert_organization(&fields, NOW).await.unwrap();
        let folder = FolderFields {
            name: "Infrastructure".into(),
            parent_id: None,
            restricted: false,
        };
        let folder = tx.insert_password_folder(of, &folder, NOW).await.unwrap();
        places.push((of, folder));
    }
    let user = NewUser {
        name: "reader".into(),
        display_name: String::new(),
        email: String::new(),
        administrator: false,
        granted: BTreeSet::new(),
    };
    let user = tx.insert_user(&user, NOW).await.unwrap();
    tx.commit().await.unwrap();
    for first in (0..RECORDS).step_by(usize::try_from(CHUNK).unwrap()) {
        let mut tx = store.begin().await.unwrap();
        for nth in first..first + CHUNK {
            let place = usize::try_from(nth % ORGANIZATIONS).unwrap();
            let (organization_id, folder) = places[place];
            let linked = nth % (RECORDS / LINKED) == 0;
            let id = tx.password_record_id().await.unwrap();
            let new = NewPasswordRecord {
                id,
                organization_id,
                fields: fields(nth, folder),
                account_id: linked.then(|| account_id(1, nth / (RECORDS / LINKED) + 1)),
                said_changed_at: (nth % 20 > 0).then(|| at(nth)),
                by: Some(user),
            };
            tx.insert_password_record(&new, at(nth)).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    store.analyze().await.unwrap();
    (store, user)
}

/// A kind of page: what it is called, which records, in which order, and which part.
type Case = (&'static str, PasswordFilter, Vec<PasswordSort>, Page);

#[rustfmt::skip]
fn cases(user: UserId) -> Vec<Case> {
    use PasswordOrder::{Changed, Created, Id, Name, Updated, Url, Username};
    let base = PasswordFilter::default;
    let first = Page::first(50);
    let last = Page { limit: 50, offset: RECORDS - 50 };
    let ids = (1..=200).map(|nth| PasswordRecordId(nth * 400)).collect();
    let some = vec![OrganizationId(3), OrganizationId(7)];
    let own = Seeing { user: Some(user) };
    vec![
        ("all, first page", base(), vec![], first),
        ("all, last page", base(), vec![], last),
        ("all, 1,000 a page", base(), vec![], Page::first(1_000)),
        ("all, by name", base(), vec![(Name, false)], first),
        ("all, by name, last page", base(), vec![(Name, true)], last),
        ("all, by name, in the middle", base(), vec![(Name, false)], Page { limit: 50, offset: RECORDS / 2 }),
        ("all, by login name", base(), vec![(Username, false)], first),
        ("all, by login name, last page", base(), vec![(Username, true)], last),
        ("all, by URL", base(), vec![(Url, true)], first),
        ("all, by creation", base(), vec![(Created, true)], first),
        ("all, by edit", base(), vec![(Updated, true)], first),
        ("all, by change", base(), vec![(Changed, true)], first),
        ("all, by URL and name", base(), vec![(Url, false), (Name, true)], first),
        ("seen by a user", PasswordFilter { seeing: own, ..base() }, vec![(Name, false)], first),
        ("200 ids", PasswordFilter { ids, ..base() }, vec![(Id, true)], first),
        ("without one id", PasswordFilter { excluded: vec![7.into()], ..base() }, vec![], first),
        ("a name", PasswordFilter { names: vec!["SRV0007 account 7".into()], ..base() }, vec![], first),
        ("login names", PasswordFilter { usernames: vec!["admin7".into(), "admin9".into()], ..base() }, vec![], first),
        ("a URL", PasswordFilter { urls: vec!["https://srv0007.example.net/console".into()], ..base() }, vec![], first),
        ("two organizations", PasswordFilter { organizations: some.clone(), ..base() }, vec![(Name, false)], first),
        ("two organizations in reach", PasswordFilter { reach: some, ..base() }, vec![(Name, false)], first),
        ("a category", PasswordFilter { categories: vec![3.into()], ..base() }, vec![(Updated, true)], first),
        ("a folder", PasswordFilter { folders: vec![3.into()], ..base() }, vec![(Name, false)], first),
        ("not archived", PasswordFilter { archived: Some(false), ..base() }, vec![(Name, false)], first),
        ("a resource's name", PasswordFilter { resource_names: vec!["host1/user7".into()], ..base() }, vec![], first),
        ("a resource's kind", PasswordFilter { resource_types: vec!["Managed Account".into()], ..base() }, vec![], first),
        ("a part of a text", PasswordFilter { server: Some("srv0007".into()), ..base() }, vec![], first),
        ("a part of every text", PasswordFilter { server: Some("srv0".into()), ..base() }, vec![(Name, false)], first),
        ("a part of no text", PasswordFilter { server: Some("nowhere".into()), ..base() }, vec![], first),
        ("stale", PasswordFilter { stale_since: Some(at(50_000)), ..base() }, vec![(Changed, false)], first),
        ("made of late", PasswordFilter { created: (Some(at(5_000)), None), ..base() }, vec![(Created, true)], first),
        ("changed within", PasswordFilter { changed: (Some(at(9_000)), Some(at(5_000))), ..base() }, vec![(Changed, true)], first),
    ]
}

async fn measure(clock: &SharedClock, backend: Backend) -> bool {
    let database = Database::durable(backend).await;
    let began = clock.monotonic();
    let (store, user) = fill(&database).await;
    let took = clock.monotonic().saturating_sub(began).as_secs_f64();
    println!("{backend:?}: {RECORDS} records made in {took:.0} s");
    let mut met = true;
    for (what, filter, sorts, page) in cases(user) {
        let mut spans = Vec::with_capacity(CALLS);
        let mut total = 0;
        for _ in 0..CALLS {
            let start = clock.monotonic();
            let (_, found) = store.password_records(&filter, &sorts, page).await.unwrap();
            let took = clock.monotonic().saturating_sub(start);
            spans.push(took.as_secs_f64() * 1e3);
            total = found;
        }
        spans.sort_by(f64::total_cmp);
        let (p50, p95) = (spans[CALLS / 2], spans[CALLS * 95 / 100]);
        let hit = p95 <= TARGET_MS;
        met &= hit;
        let word = if hit { "" } else { "  MISSED" };
        println!("  {what:<30} {total:>7} found; p50 {p50:>6.1} ms, p95 {p95:>6.1} ms{word}");
    }
    met
}

#[tokio::main]
async fn main() -> ExitCode {
    introduce("lists of password records");
    let clock: SharedClock = SystemClock::shared();
    let mut met = true;
    for backend in [Backend::Sqlite, Backend::Postgres] {
        met &= measure(&clock, backend).await;
    }
    show_load("at the end");
    println!("target: p95 of any page <= {TARGET_MS:.0} ms");
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
