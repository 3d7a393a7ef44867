//! Requests for credentials, and their approvals.
//!
//! Invariant: a request ends once; with the end of one that rotates, the change of its account is
//! ordered in the same transaction, whoever or whatever ends it.

use super::job::NewJob;
use super::{Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, JobId, RequestId, SystemId, UserId};
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::request::{NewRequest, Request, RequestState};

/// Which requests are wanted; what is `None` does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Who asked.
    pub user_id: Option<UserId>,
    /// For which account.
    pub account_id: Option<AccountId>,
    /// On which system.
    pub system_id: Option<SystemId>,
    /// Where it stands.
    pub state: Option<RequestState>,
    /// Only those that may still open something.
    pub live: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    user_id: i64,
    account_id: i64,
    system_id: i64,
    state: String,
    reason: String,
    rotates: i64,
    approvals_needed: i64,
    requested_at: i64,
    approved_at: Option<i64>,
    expires_at: i64,
    ended_at: Option<i64>,
}

impl TryFrom<Row> for Request {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let state = RequestState::parse(&row.state).ok_or(StoreError::Corrupt {
            table: "requests",
            row: row.id,
            problem: "unknown state",
        })?;
        Ok(Self {
            id: RequestId(row.id),
            user_id: UserId(row.user_id),
            account_id: AccountId(row.account_id),
            system_id: SystemId(row.system_id),
            state,
            reason: row.reason,
            rotates: row.rotates == 1,
            approvals_needed: row.approvals_needed,
            requested_at: Timestamp(row.requested_at),
            approved_at: row.approved_at.map(Timestamp),
            expires_at: Timestamp(row.expires_at),
            ended_at: row.ended_at.map(Timestamp),
        })
    }
}

macro_rules! columns {
    () => {
        "SELECT id, user_id, account_id, system_id, state, reason, CAST(rotates AS BIGINT) AS rotates,
             approvals_needed, requested_at, approved_at, expires_at, ended_at FROM requests"
    };
}

impl Store {
    /// A request.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn request(&self, id: RequestId) -> Result<Option<Request>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!(columns!(), " WHERE id = $1"))
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?;
        row.map(Request::try_from).transpose()
    }

    /// Requests, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn requests(
        &self,
        filter: RequestFilter,
        page: Page,
    ) -> Result<Vec<Request>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            columns!(),
            " WHERE (CAST($1 AS BIGINT) IS NULL OR user_id = $1)
                AND (CAST($2 AS BIGINT) IS NULL OR account_id = $2)
                AND (CAST($3 AS BIGINT) IS NULL OR system_id = $3)
                AND (CAST($4 AS TEXT) IS NULL OR state = $4)
                AND ($5 = 0 OR state IN ('pending', 'active'))
              ORDER BY id LIMIT $6 OFFSET $7"
        ))
        .bind(filter.user_id.map(|id| id.0))
        .bind(filter.account_id.map(|id| id.0))
        .bind(filter.system_id.map(|id| id.0))
        .bind(filter.state.map(RequestState::as_str))
        .bind(i64::from(filter.live))
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(Request::try_from).collect()
    }

    /// Live requests whose time is over, the longest over first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn expired_requests(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<RequestId>, StoreError> {
        let rows: Vec<(i64,)> = sqlx::query_as(
            "SELECT id FROM requests WHERE state IN ('pending', 'active') AND expires_at <= $1
             ORDER BY expires_at, id LIMIT $2",
        )
        .bind(now.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|(id,)| RequestId(id)).collect())
    }
}

impl Tx {
    /// Live requests for an account: (whose, which); under [`Tx::lock_queue`], so that two that
    /// come at once count each other.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn live_requests(
        &mut self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Vec<(UserId, RequestId)>, StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT user_id, id FROM requests
             WHERE account_id = $1 AND state IN ('pending', 'active') AND expires_at > $2
             ORDER BY id",
        )
        .bind(account.0)
        .bind(now.0)
        .fetch_all(&mut *self.inner)
        .await?;
        let live = |(user, id)| (UserId(user), RequestId(id));
        Ok(rows.into_iter().map(live).collect())
    }

    /// Makes a request; one that nobody has to approve is active at once.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the user or the account is gone.
    pub async fn insert_request(
        &mut self,
        new: &NewRequest,
        now: Timestamp,
    ) -> Result<RequestId, StoreError> {
        let id: RequestId = self.id(RequestId::KIND).await?;
        let open = new.approvals_needed == 0;
        let state = if open {
            RequestState::Active
        } else {
            RequestState::Pending
        };
        let done = sqlx::query(
            "INSERT INTO requests (id, user_id, account_id, system_id, state, reason, rotates,
                 approvals_needed, requested_at, approved_at, expires_at, ended_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, NULL)",
        )
        .bind(id.0)
        .bind(new.user_id.0)
        .bind(new.account_id.0)
        .bind(new.system_id.0)
        .bind(state.as_str())
        .bind(&new.reason)
        .bind(i64::from(new.rotates))
        .bind(new.approvals_needed)
        .bind(now.0)
        .bind(open.then_some(now.0))
        .bind(new.expires_at.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the request"))?;
        exactly(1, done.rows_affected(), "the request")?;
        Ok(id)
    }

    /// Counts one approval; whoever has approved before counts once. True if the request is
    /// active now.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it does not wait for approval.
    pub async fn approve_request(
        &mut self,
        id: RequestId,
        approver: UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done =
            sqlx::query("UPDATE requests SET state = state WHERE id = $1 AND state = 'pending'")
                .bind(id.0)
                .execute(&mut *self.inner)
                .await?;
        exactly(1, done.rows_affected(), "the request")?;
        sqlx::query(
            "INSERT INTO request_approvals (request_id, user_id, approved_at) VALUES ($1, $2, $3)
             ON CONFLICT (request_id, user_id) DO NOTHING",
        )
        .bind(id.0)
        .bind(approver.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        let done = sqlx::query(
            "UPDATE requests SET state = 'active', approved_at = $2
             WHERE id = $1 AND state = 'pending' AND approvals_needed <= (
                 SELECT COUNT(*) FROM request_approvals WHERE request_id = $1)",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets the credential change when the request ends.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it has ended.
    pub async fn rotate_at_end(&mut self, id: RequestId) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE requests SET rotates = 1 WHERE id = $1 AND state IN ('pending', 'active')",
        )
        .bind(id.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the request")
    }

    /// Ends a request, and orders the change of its account if it was open and rotates: the
    /// change's job, if there is one. False: it had ended before.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_request(
        &mut self,
        request: &Request,
        state: RequestState,
        actor: &str,
        now: Timestamp,
    ) -> Result<(bool, Option<JobId>), StoreError> {
        self.lock_queue(request.system_id).await?;
        // As it is now: approval may have come meanwhile.
        let ended: Option<(i64,)> = sqlx::query_as(
            "UPDATE requests SET state = $2, ended_at = $3
             WHERE id = $1 AND state IN ('pending', 'active')
             RETURNING CASE WHEN approved_at IS NOT NULL AND rotates = 1 THEN 1 ELSE 0 END",
        )
        .bind(request.id.0)
        .bind(state.as_str())
        .bind(now.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        match ended {
            None => Ok((false, None)),
            Some((0,)) => Ok((true, None)),
            Some(_) => Ok((true, self.change_after_release(request, actor, now).await?)),
        }
    }

    /// Ends a request whose owner makes another one for the same account: nothing changes yet.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it has ended.
    pub async fn replace_request(
        &mut self,
        id: RequestId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE requests SET state = 'canceled', ended_at = $2
             WHERE id = $1 AND state IN ('pending', 'active')",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the request")
    }

    async fn change_after_release(
        &mut self,
        request: &Request,
        actor: &str,
        now: Timestamp,
    ) -> Result<Option<JobId>, StoreError> {
        let account = request.account_id;
        let there: Option<(i64,)> = sqlx::query_as(
            "SELECT id FROM accounts WHERE id = $1 AND active = 1 AND deleted_at IS NULL",
        )
        .bind(account.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        if there.is_none() {
            return Ok(None);
        }
        self.ring();
        let Some(open) = self.open_job(account).await? else {
            let job = NewJob {
                account,
                system: request.system_id,
                kind: JobKind::Rotate,
                cause: Cause::Release,
                actor: actor.to_owned(),
                priority: Priority::Routine,
                run_at: now,
                parts: Parts::ALL_THERE_ARE,
                version: None,
                key_version: None,
            };
            return Ok(Some(self.enqueue(&job, now).await?));
        };
        if open.running {
            // It may have drawn its candidate before this end: the account changes once more.
            sqlx::query(
                "UPDATE jobs SET again = 1,
                     again_priority = CASE WHEN again = 1 THEN again_priority ELSE 2 END
                 WHERE id = $1 AND state = 'running'",
            )
            .bind(open.id.0)
            .execute(&mut *self.inner)
            .await?;
        } else if open.kind == JobKind::Test {
            self.redirect_job(open.id, Parts::ALL_THERE_ARE, (None, None), actor, now)
                .await?;
        }
        Ok(Some(open.id))
    }
}
