//! Who is who: names and identities, each of one record.

use keywheel::model::Timestamp;
use keywheel::model::id::{AccountId, PlatformId, SystemId};
use keywheel::model::identity::{Alias, Endpoint};
use keywheel::model::platform::Platforms;
use keywheel::model::system::SystemSettings;
use keywheel::store::{Holder, Standing};
use keywheel_connectors::CanonicalIdentity;

use super::inventory::{THEN, account, conflicts, linux_system, one_account, one_system};
use crate::support::database::on_both;

const FIRST: SystemId = SystemId(1);

fn later(by: i64) -> Timestamp {
    Timestamp(THEN.0 + by)
}

fn endpoint(host: &str, dns: Option<&str>) -> Endpoint {
    let mut settings = SystemSettings::of_host(host);
    settings.dns_name = dns.map(str::to_owned);
    Endpoint::of(&settings, Platforms::default().find(PlatformId(2)).unwrap())
}

on_both!(
    a_system_is_found_by_each_of_its_names_and_has_its_address_alone,
    |db| {
        let store = db.store().await;
        one_system(&store).await;
        let mut tx = store.begin().await.unwrap();
        let second = SystemId(2);
        tx.insert_system(&linux_system(2, "x"), THEN).await.unwrap();
        let here = endpoint("web1", Some("web1.test"));
        tx.name_system(FIRST, &here).await.unwrap();
        // Anew: the same names again.
        tx.name_system(FIRST, &here).await.unwrap();
        assert_eq!(tx.namesakes(FIRST, &here).await.unwrap(), []);
        for name in ["WEB1", "web1.test."] {
            let other = endpoint(name, None);
            assert_eq!(tx.namesakes(second, &other).await.unwrap(), [FIRST]);
        }
        assert_eq!(
            tx.namesakes(second, &endpoint("web2", None)).await.unwrap(),
            []
        );
        // A name that it is not reached by may be another's.
        tx.name_system(second, &endpoint("web1", None))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        conflicts(tx.name_system(second, &endpoint("web1.test", None)).await);
        tx.rollback().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.delete_system(FIRST, THEN).await.unwrap();
        tx.name_system(second, &endpoint("web1.test", None))
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
);

on_both!(
    an_account_is_found_by_names_that_are_certain_on_either_side,
    |db| {
        let store = db.store().await;
        one_account(&store).await;
        let alias = |name: &str, is_certain| Alias {
            name: name.to_owned(),
            is_certain,
        };
        let (first, second) = (AccountId(1), AccountId(2));
        let mut tx = store.begin().await.unwrap();
        tx.insert_account(&account(2, 1, "ann"), THEN)
            .await
            .unwrap();
        let names = [alias("dn:uid=ann", true), alias("login:ann", false)];
        tx.name_account(first, FIRST, &names).await.unwrap();
        // Anew: the same names again.
        tx.name_account(first, FIRST, &names).await.unwrap();
        for (asked, found) in [
            (alias("dn:uid=ann", true), true),
            (alias("dn:uid=ann", false), true),
            (alias("login:ann", true), true),
            (alias("login:ann", false), false),
            (alias("login:bob", true), false),
        ] {
            let asked = [alias("id:none", true), asked];
            let known = tx.account_known_by(second, FIRST, "none", &asked).await;
            assert_eq!(known.unwrap(), found.then_some(first), "{asked:?}");
        }
        // Its own names and its own identity are nobody else's.
        let own = tx.account_known_by(first, FIRST, "root", &names).await;
        assert_eq!(own.unwrap(), None);
        let same = tx.account_known_by(second, FIRST, "root", &[]).await;
        assert_eq!(same.unwrap(), Some(first));
        let doubled = [alias("login:ann", false), alias("dn:uid=bob", true)];
        tx.name_account(second, FIRST, &doubled).await.unwrap();
        tx.commit().await.unwrap();
        let known = store.account_called(FIRST, &names).await.unwrap();
        assert_eq!(known, Some(first));
        assert_eq!(
            store.account_called(SystemId(9), &names).await.unwrap(),
            None
        );
        let mut tx = store.begin().await.unwrap();
        conflicts(tx.name_account(second, FIRST, &names).await);
        tx.rollback().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.delete_account(first, THEN).await.unwrap();
        tx.name_account(second, FIRST, &names).await.unwrap();
        tx.commit().await.unwrap();
    }
);

on_both!(
    the_older_record_keeps_an_identity_and_another_being_is_told,
    |db| {
        let store = db.store().await;
        one_account(&store).await;
        let (first, second) = (AccountId(1), AccountId(2));
        let mut tx = store.begin().await.unwrap();
        tx.insert_account(&account(2, 1, "ann"), THEN)
            .await
            .unwrap();
        let of = |machine: &str, being: &str| CanonicalIdentity::of(machine.into(), being.into());
        let (one, restarted) = (of("m1", "uid 0").unwrap(), of("m2", "uid 0").unwrap());
        let holder = |account| Holder {
            account,
            system: FIRST,
        };
        let mut claim = async |account, identity: &CanonicalIdentity, by| {
            tx.claim_identity(account, identity, later(by))
                .await
                .unwrap()
        };
        assert_eq!(claim(first, &one, 0).await, Standing::New);
        assert_eq!(claim(first, &one, 1).await, Standing::Known);
        assert_eq!(claim(second, &one, 2).await, Standing::Taken(holder(first)));
        assert_eq!(claim(second, &restarted, 3).await, Standing::New);
        assert_eq!(
            claim(first, &restarted, 4).await,
            Standing::Ousts(holder(second))
        );
        assert_eq!(
            claim(second, &restarted, 5).await,
            Standing::Taken(holder(first))
        );
        let anew = of("m2", "uid 7").unwrap();
        assert_eq!(claim(first, &anew, 6).await, Standing::Another);
        tx.commit().await.unwrap();
        let known = store.identities(&[first, second]).await.unwrap();
        assert_eq!(
            known.into_iter().collect::<Vec<_>>(),
            [(first, restarted.clone())]
        );
        let mut tx = store.begin().await.unwrap();
        // Another machine: whoever is there is there for the first time.
        tx.forget_identities(FIRST).await.unwrap();
        let known_anew = tx.claim_identity(first, &anew, later(7)).await;
        assert_eq!(known_anew.unwrap(), Standing::New);
        tx.delete_accounts(FIRST, THEN).await.unwrap();
        tx.commit().await.unwrap();
        assert!(store.identities(&[first, second]).await.unwrap().is_empty());
    }
);
