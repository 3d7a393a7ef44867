//! Accounts that change themselves: no functional account is asked, and their own login counts.

use keywheel::model::job::JobState;
use keywheel_connectors::fake::OnChange;

use super::world::{Like, Site, World};
use crate::support::database::{Database, on_both};

async fn with(database: Database, evidence: bool) -> (World, Site) {
    let like = Like {
        own: true,
        ..Like::showing(evidence)
    };
    World::with(database, &like).await
}

on_both!(
    an_account_changes_itself_without_a_functional_account,
    |db| {
        let (world, site) = with(db, true).await;
        let job = world.change(site.account()).await;
        world.run_to_the_end().await;
        let state = world.state(job).await;
        assert_eq!(state, JobState::Succeeded, "{}", world.log(job).await);
        assert_eq!(world.version(site.account()).await, Some(2));
        world.assert_current_works(site.account()).await;
        assert_eq!(site.target.failed_logins(&site.login()), 0);
    }
);

on_both!(
    an_own_login_that_is_refused_is_counted_and_changes_nothing,
    |db| {
        let (world, site) = with(db, true).await;
        let login = site.login();
        site.target.set_behind(&login, "Somebody-else-vLm9Q");
        let job = world.change(site.account()).await;
        world.run_to_the_end().await;
        let log = world.log(job).await;
        assert_eq!(world.state(job).await, JobState::Failed, "{log}");
        // One an attempt: never more than was counted.
        let failed = site.target.failed_logins(&login);
        assert!((1..=5).contains(&failed), "{failed}: {log}");
        assert_eq!(site.target.changes(&login), 0, "{log}");
        assert_eq!(world.version(site.account()).await, Some(1));
    }
);

on_both!(a_lost_reply_of_an_own_change_loses_nothing, |db| {
    for evidence in [true, false] {
        for lost in [OnChange::LoseReply, OnChange::LoseOrder, OnChange::ObeyLate] {
            let (world, site) = with(Database::new(db.backend).await, evidence).await;
            site.target.next_change(&site.login(), lost);
            let job = world.change(site.account()).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(job).await, JobState::Succeeded, "{lost:?}");
            world.assert_current_works(site.account()).await;
            site.target.deliver_late();
            world.assert_current_works(site.account()).await;
        }
    }
});
