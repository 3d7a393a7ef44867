//! Where tests stand between the store and its database: a hurdle may hold up what comes to it,
//! refuse it, or say that a commit's answer was lost.
//!
//! A service has none; then nothing is asked and nothing is allocated.
//!
//! Invariant: what a hurdle refuses never reached the database; [`Moment::Committed`] alone comes
//! after the fact.

use std::any::Any as Held;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, AnyPool, Describe, Either, Execute, Executor, SqlStr};

/// What is about to be asked of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A read outside of a transaction.
    Read,
    /// A write transaction begins.
    Begin,
    /// It is about to commit.
    Commit,
    /// It has committed, and its caller does not know yet.
    Committed,
}

/// Held for as long as a read or a transaction goes on.
pub type Pass = Box<dyn Held + Send + Sync>;

/// Stands before the database.
#[async_trait]
pub trait Hurdle: Send + Sync + fmt::Debug {
    /// Lets the caller pass, when it likes.
    ///
    /// # Errors
    /// What the database is made to have said.
    async fn pass(&self, at: Moment) -> Result<Pass, sqlx::Error>;
}

/// Passes the hurdle, if there is one.
pub(super) async fn pass(
    hurdle: Option<&Arc<dyn Hurdle>>,
    at: Moment,
) -> Result<Option<Pass>, sqlx::Error> {
    match hurdle {
        Some(hurdle) => hurdle.pass(at).await.map(Some),
        None => Ok(None),
    }
}

/// The pool that reads.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) pool: AnyPool,
    pub(super) hurdle: Option<Arc<dyn Hurdle>>,
}

type Step = Either<AnyQueryResult, AnyRow>;

impl<'c> Executor<'c> for &'c Reader {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let Some(hurdle) = &self.hurdle else {
            return self.pool.fetch_many(query);
        };
        let opened = async move {
            let pass = hurdle.pass(Moment::Read).await?;
            let steps = self.pool.fetch_many(query);
            Ok::<_, sqlx::Error>(steps.inspect(move |_| {
                let _held = &pass;
            }))
        };
        stream::once(opened).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let Some(hurdle) = &self.hurdle else {
            return self.pool.fetch_optional(query);
        };
        Box::pin(async move {
            let _pass = hurdle.pass(Moment::Read).await?;
            self.pool.fetch_optional(query).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, sqlx::Error>>
    where
        'c: 'e,
    {
        self.pool.describe(sql)
    }
}
