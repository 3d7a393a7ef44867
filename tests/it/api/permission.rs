//! Every route × nobody, a user without permissions, each permission, and each role; and the table
//! that tells people the same.

use std::fmt::Write as _;
use std::fs;

use keywheel::api::route::{Declared, Need};
use keywheel::api::{Dialect, declared};
use keywheel::model::access::{Role, RuleKind};
use keywheel::model::id::{GroupId, SmartRuleId};
use keywheel::model::principal::Permission;
use serde_json::json;

use super::description::REWRITE;
use super::world::{Client, PS, World};
use crate::support::program::root;

/// A path that fits a template: every segment an id of nothing.
fn filled(template: &str) -> String {
    let segments = template
        .split('/')
        .map(|segment| match segment.strip_prefix('{') {
            Some(_) => "77",
            None => segment,
        });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn no_route_but_the_open_ones_answers_nobody() {
    let world = World::new().await;
    let mut open = Vec::new();
    for route in declared() {
        if route.need == Need::Open {
            open.push(route.path);
            continue;
        }
        let base = match route.dialect {
            Dialect::PasswordSafe => PS,
            Dialect::ItGlue => "/itglue",
            Dialect::Native => "",
        };
        let client = world.nobody().below(base);
        let answer = client
            .call(route.method, &filled(route.path), None, &[])
            .await;
        assert_eq!(answer.status, 401, "{route:?} {answer:?}");
    }
    let expected = [
        "/api/v1/sessions",
        "/auth/connect/token",
        "/auth/signappin",
        "/auth/signout",
        "/healthz",
        "/metrics",
        "/readyz",
    ];
    open.sort_unstable();
    assert_eq!(open, expected);
}

#[tokio::test]
async fn a_user_without_permissions_is_refused_before_anything_is_looked_up() {
    let world = World::new().await;
    let (_, keys) = world.user("eve", &[]).await;
    let session = world.session(&keys).await;
    let native = world.native(&keys).below("");
    let itglue = world.itglue(&keys);
    let mut checked = 0;
    for route in declared() {
        if matches!(route.need, Need::Open | Need::SignedIn) {
            continue;
        }
        checked += 1;
        let path = filled(route.path);
        match route.dialect {
            Dialect::PasswordSafe => {
                let answer = session.call(route.method, &path, None, &[]).await;
                assert_eq!(answer.status, 403, "{route:?} {answer:?}");
                assert_eq!(answer.json(), json!(4031));
            }
            Dialect::ItGlue => {
                let answer = itglue.call(route.method, &path, None, &[]).await;
                assert_eq!(answer.status, 403, "{route:?} {answer:?}");
                assert_eq!(answer.json()["message"], "Access denied");
            }
            Dialect::Native => {
                let answer = native.call(route.method, &path, None, &[]).await;
                assert_eq!(answer.status, 403, "{route:?} {answer:?}");
                assert_eq!(answer.json()["code"], "forbidden");
            }
        }
    }
    assert!(checked > 20, "only {checked} routes need a permission");
}

/// What a caller has for the walk.
enum Has {
    Everything,
    Permission(Permission),
    Role(Role),
}

/// A user who has this and nothing else, as a client of each interface: Password Safe, IT Glue,
/// native.
async fn caller(world: &World, name: &str, has: &Has) -> [Client; 3] {
    let keys = match has {
        Has::Everything => world.administrator().await.1,
        Has::Permission(permission) => world.user(name, &[*permission]).await.1,
        Has::Role(role) => {
            let (user, keys) = world.user(name, &[]).await;
            let mut tx = world.store.begin().await.unwrap();
            let group = keywheel::model::access::NewGroup {
                name: name.to_owned(),
                description: String::new(),
                permissions: [].into(),
            };
            let now = keywheel::model::Timestamp(1);
            let group: GroupId = tx.insert_group(&group, now).await.unwrap();
            tx.add_member(group, user).await.unwrap();
            let on = if role.fits(RuleKind::Account) { 1 } else { 2 };
            tx.set_rule_roles(group, SmartRuleId(on), &[*role].into(), Some(1))
                .await
                .unwrap();
            tx.commit().await.unwrap();
            keys
        }
    };
    let session = world.session(&keys).await.kept();
    let itglue = world.itglue(&keys).kept();
    [session, itglue, world.native(&keys).below("").kept()]
}

/// The statuses that a caller with this may get; `None`: the route is open to it in part, and its
/// handler decides.
fn refused(route: &Declared, has: &Has) -> Option<bool> {
    let may = |permission: &Permission| match has {
        Has::Everything => true,
        Has::Permission(own) => {
            own == permission || own.as_str().replace("write", "read") == permission.as_str()
                // The pairs with other words.
                || [("jobs.resolve", "jobs.read"), ("audit.export", "audit.read")]
                    .contains(&(own.as_str(), permission.as_str()))
        }
        Has::Role(_) => false,
    };
    match route.need {
        Need::Open => Some(false),
        // Keys: one's own, or those of others.
        Need::SignedIn => (route.dialect == Dialect::PasswordSafe).then_some(false),
        Need::One(permission) => Some(!may(&permission)),
        Need::Any(permissions) => Some(!permissions.iter().any(may)),
        Need::All(permissions) => Some(!permissions.iter().all(may)),
        Need::Administrator => Some(!matches!(has, Has::Everything)),
        Need::OrOwn(permission) => may(&permission).then_some(false),
        Need::OrRole(permissions, roles) => {
            if matches!(has, Has::Everything) || permissions.iter().any(may) {
                return Some(false);
            }
            match has {
                Has::Role(role) if roles.contains(role) => None,
                _ => Some(true),
            }
        }
    }
}

#[tokio::test]
async fn every_route_is_open_to_exactly_those_whom_it_names() {
    let world = World::new().await;
    let mut all = vec![("everything".to_owned(), Has::Everything)];
    let permissions = Permission::ALL.into_iter();
    all.extend(permissions.map(|one| (one.as_str().replace('.', "-"), Has::Permission(one))));
    let roles = Role::ALL.into_iter();
    all.extend(roles.map(|one| (one.name().replace(' ', "-"), Has::Role(one))));
    let (mut cells, mut open) = (0, 0);
    for (name, has) in &all {
        let [session, itglue, native] = caller(&world, name, has).await;
        for route in declared() {
            if matches!(route.need, Need::Open) {
                continue;
            }
            let client = match route.dialect {
                Dialect::PasswordSafe => &session,
                Dialect::ItGlue => &itglue,
                Dialect::Native => &native,
            };
            let path = filled(route.path);
            let answer = client.call(route.method, &path, None, &[]).await;
            let status = answer.status.as_u16();
            assert!(
                status != 401 && status < 500,
                "{name}: {route:?} {answer:?}"
            );
            if let Some(refused) = refused(&route, has) {
                assert_eq!(status == 403, refused, "{name}: {route:?} {answer:?}");
            }
            cells += 1;
            open += u32::from(status != 403);
        }
    }
    println!("permissions: {cells} cells, {open} of them open");
    assert!(cells > 4_000 && open > 400, "{cells} cells, {open} open");
}

fn need(need: Need) -> String {
    let words = |permissions: &[Permission]| {
        let words = permissions.iter().map(|one| format!("`{one}`"));
        words.collect::<Vec<_>>().join(" or ")
    };
    match need {
        Need::Open => "nothing".to_owned(),
        Need::SignedIn => "to be signed in".to_owned(),
        Need::One(permission) => format!("`{permission}`"),
        Need::Any(permissions) => words(permissions),
        Need::All(permissions) => words(permissions).replace(" or ", " and "),
        Need::Administrator => "to be an administrator".to_owned(),
        Need::OrOwn(permission) => format!("`{permission}`, or to have ordered it"),
        Need::OrRole(permissions, roles) => {
            let names = roles.iter().map(|role| role.name()).collect::<Vec<_>>();
            format!(
                "{}, or on its accounts: {}",
                words(permissions),
                names.join(", ")
            )
        }
    }
}

#[test]
fn the_table_that_people_read_is_the_one_that_is_enforced() {
    let path = root().join("docs/permissions.md");
    let shown = fs::read_to_string(&path).unwrap_or_default();
    let mut table = String::new();
    for (dialect, title) in [
        (
            Dialect::PasswordSafe,
            "Password Safe dialect, below `/BeyondTrust/api/public/v3`",
        ),
        (Dialect::ItGlue, "IT Glue dialect, below `/itglue`"),
        (Dialect::Native, "Native API"),
    ] {
        write!(table, "## {title}\n\n| Route | Needs |\n|---|---|\n").unwrap();
        for route in declared().iter().filter(|route| route.dialect == dialect) {
            let needs = need(route.need);
            writeln!(table, "| `{} {}` | {needs} |", route.method, route.path).unwrap();
        }
        table.push('\n');
    }
    let (head, _) = shown
        .split_once("## Password Safe dialect")
        .unwrap_or((&shown, ""));
    let whole = format!("{head}{}\n", table.trim_end());
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&path, &whole).unwrap();
        return;
    }
    assert!(
        shown == whole,
        "docs/permissions.md has drifted; look at the difference, then run this test with {REWRITE}=1"
    );
}
