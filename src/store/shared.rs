//! Questions of the same kind that come at the same moment share a statement.
//!
//! Whoever comes while a statement is under way waits for it, and one of those who waited then
//! asks for all of them. So nobody waits for company, and the more there are, the less each costs.
//!
//! Invariant: a question is put to the database after it was asked: no answer is older than its
//! question.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Semaphore, oneshot};

use super::StoreError;

/// Questions in one statement at most: the widest of [`super::wide`].
const TOGETHER_MAX: usize = 64;

/// Those who ask the same kind of question.
#[derive(Debug)]
pub(crate) struct Shared<Q, A> {
    waiting: Mutex<Vec<(Q, oneshot::Sender<A>)>>,
    turns: Semaphore,
}

impl<Q: Clone, A> Shared<Q, A> {
    /// At most so many statements at once.
    pub(crate) fn new(turns: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            turns: Semaphore::new(turns),
        }
    }

    /// The answer to a question. `answer` gives one for each of several, in their order.
    ///
    /// # Errors
    /// That of `answer`, for this question alone.
    pub(crate) async fn ask<F>(
        &self,
        question: Q,
        answer: impl Fn(Vec<Q>) -> F,
    ) -> Result<A, StoreError>
    where
        F: Future<Output = Result<Vec<A>, StoreError>>,
    {
        let (sender, mut receiver) = oneshot::channel();
        self.lock().push((question.clone(), sender));
        let turn = tokio::select! {
            biased;
            answered = &mut receiver => match answered {
                Ok(answered) => return Ok(answered),
                Err(_) => return alone(question, answer).await,
            },
            turn = self.turns.acquire() => turn,
        };
        loop {
            match receiver.try_recv() {
                Ok(answered) => return Ok(answered),
                // Whoever asked for it has failed or gone: its reason may not be this one's.
                Err(TryRecvError::Closed) => break,
                Err(TryRecvError::Empty) => {}
            }
            let (questions, senders): (Vec<Q>, Vec<_>) = self.next().into_iter().unzip();
            if questions.is_empty() {
                // Another one asks for this question right now.
                drop(turn);
                return match receiver.await {
                    Ok(answered) => Ok(answered),
                    Err(_) => alone(question, answer).await,
                };
            }
            let Ok(answers) = answer(questions).await else {
                continue; // each for itself
            };
            for (sender, answer) in senders.into_iter().zip(answers) {
                // Who has gone needs none.
                drop(sender.send(answer));
            }
        }
        drop(turn);
        alone(question, answer).await
    }

    fn next(&self) -> Vec<(Q, oneshot::Sender<A>)> {
        let mut waiting = self.lock();
        let some = waiting.len().min(TOGETHER_MAX);
        waiting.drain(..some).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Q, oneshot::Sender<A>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn alone<Q, A, F>(question: Q, answer: impl Fn(Vec<Q>) -> F) -> Result<A, StoreError>
where
    F: Future<Output = Result<Vec<A>, StoreError>>,
{
    let one = answer(vec![question]).await?.pop();
    // A statement that answers fewer than it was asked would be a fault of this program.
    one.ok_or(StoreError::Stale {
        what: "the answer to a question",
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::{join, join_all};
    use tokio::sync::Notify;

    use super::*;

    async fn doubled(questions: Vec<u32>) -> Result<Vec<u32>, StoreError> {
        tokio::task::yield_now().await;
        Ok(questions.into_iter().map(|number| number * 2).collect())
    }

    #[tokio::test]
    async fn each_gets_its_own_answer_and_many_share_a_statement() {
        for turns in [1, 2] {
            let shared = Shared::new(turns);
            let statements = AtomicUsize::new(0);
            let ask = |number| {
                shared.ask(number, |questions| {
                    assert!((1..=TOGETHER_MAX).contains(&questions.len()));
                    statements.fetch_add(1, Ordering::Relaxed);
                    doubled(questions)
                })
            };
            let answers = join_all((0..200).map(ask)).await;
            for (number, answer) in (0..).zip(answers) {
                assert_eq!(answer.unwrap(), number * 2);
            }
            assert!(statements.load(Ordering::Relaxed) <= 6);
        }
    }

    #[tokio::test]
    async fn a_question_waits_for_no_company_and_is_never_answered_by_an_earlier_look() {
        let shared = Shared::new(1);
        let (looks, go) = (AtomicUsize::new(0), Notify::new());
        let look = |questions: Vec<u32>| {
            let nth = looks.fetch_add(1, Ordering::Relaxed);
            let go = &go;
            async move {
                if nth == 0 {
                    go.notified().await;
                }
                Ok(questions.iter().map(|_| nth).collect())
            }
        };
        let first = shared.ask(1, look);
        let second = async {
            // The same question, asked while the first look is under way.
            while looks.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            let second = shared.ask(1, look);
            let release = async {
                tokio::task::yield_now().await;
                go.notify_one();
            };
            join(second, release).await.0
        };
        let (first, second) = join(first, second).await;
        assert_eq!((first.unwrap(), second.unwrap()), (0, 1));
    }

    #[tokio::test]
    async fn whoever_fails_or_goes_leaves_the_others_to_themselves() {
        let shared = Shared::new(1);
        let ask = |number| {
            shared.ask(number, |questions| async move {
                tokio::task::yield_now().await;
                if questions.contains(&7) {
                    return Err(StoreError::Busy);
                }
                Ok(questions)
            })
        };
        let answers = join_all((0..20).map(ask)).await;
        for (number, answer) in (0..).zip(answers) {
            match answer {
                Ok(own) => assert_eq!(own, number),
                Err(error) => assert!(number == 7 && matches!(error, StoreError::Busy)),
            }
        }
        // One that asks for several is dropped while it does.
        let gone = Notify::new();
        let hang = shared.ask(1, |_| async {
            gone.notify_one();
            std::future::pending().await
        });
        let left = async {
            gone.notified().await;
        };
        tokio::select! {
            _ = hang => panic!("it hangs"),
            () = left => {}
        }
        assert_eq!(ask(3).await.unwrap(), 3);
    }
}
