//! `keywheel audit tail`: the newest rows of the trail, and those that come.
//!
//! Invariant: rows are shown once and in the order of the chain, so that none is missed that
//! committed late.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use super::super::output::{Format, plain};
use super::super::{Exit, Globals, block_on, load};
use super::Ended;
use crate::app;
use crate::clock::SystemClock;
use crate::model::audit_chain::{Line, SealedRow};
use crate::store::Store;

/// Rows that are read at once.
const PAGE: i64 = 1_000;
/// How often new rows are looked for; the service seals them each second.
const PAUSE: Duration = Duration::from_millis(500);

/// Show the newest sealed rows, and follow those that come
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel audit tail --follow --act request --actor ada")]
pub(super) struct Tail {
    /// Go on with the rows that come, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many rows that are there already are shown first
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 10)]
    lines: usize,
    /// These events alone: one by its name, or all of a noun, for example `request`
    #[arg(long, value_name = "EVENT")]
    act: Option<String>,
    /// What this actor did alone, in any case
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// A JSON line for each row, as in an export
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let settings = load(&globals.inputs(Vec::new()))?.settings;
        let tail = Self {
            json: self.json || globals.output == Format::Json,
            ..self
        };
        let shown = block_on(async {
            let store = app::audit_store(&settings).await?;
            let shown = tail.show(&store).await;
            store.close().await;
            shown
        })?;
        shown.map_err(Ended::said)?;
        Ok(Exit::Done)
    }

    async fn show(&self, store: &Store) -> Result<(), Ended> {
        let clock = SystemClock::shared();
        let mut after = store.audit_head().await?.seq;
        for row in self.newest(store, after).await? {
            self.print(row)?;
        }
        if !self.follow {
            return Ok(());
        }
        loop {
            let page = store.sealed_audit(after, PAGE).await?;
            if page.is_empty() {
                clock.sleep(PAUSE).await;
            }
            for row in page {
                after = row.link.seq;
                if self.wants(&row) {
                    self.print(row)?;
                }
            }
        }
    }

    /// The newest wanted rows up to a place, oldest first. Read backwards page by page, so that a
    /// filter that fits little costs time and no memory.
    async fn newest(&self, store: &Store, head: i64) -> Result<VecDeque<SealedRow>, Ended> {
        let mut found = VecDeque::new();
        let mut end = head;
        while end > 0 && found.len() < self.lines {
            let begin = (end - PAGE).max(0);
            let page = store.sealed_audit(begin, end - begin).await?;
            let wanted = page.into_iter().rev();
            let wanted = wanted.filter(|row| row.link.seq <= end && self.wants(row));
            for row in wanted.take(self.lines - found.len()) {
                found.push_front(row);
            }
            end = begin;
        }
        Ok(found)
    }

    fn wants(&self, row: &SealedRow) -> bool {
        let event = row.row.event.as_str();
        let noun = event.split_once('.').map_or(event, |(noun, _)| noun);
        let act = self.act.as_deref();
        let actor = self.actor.as_ref().map(|actor| actor.to_lowercase());
        act.is_none_or(|act| act == event || act == noun)
            && actor.is_none_or(|actor| actor == row.row.actor.to_lowercase())
    }

    fn print(&self, sealed: SealedRow) -> Result<(), Ended> {
        let of_stdout = |error| Ended::File("stdout".into(), error);
        let text = if self.json {
            let line = Line::of(sealed, None).to_text();
            line.map_err(|fault| of_stdout(io::Error::other(fault)))?
        } else {
            in_words(&sealed)
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(of_stdout)
    }
}

/// One line for people. Names are other people's words: none of them moves the cursor.
fn in_words(SealedRow { link, row }: &SealedRow) -> String {
    let line = format!(
        "{} {} {} {} {} {}",
        link.seq,
        row.at.rfc3339(),
        row.actor,
        row.event,
        row.subject,
        row.body
    );
    plain(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::model::audit::AuditRow;
    use crate::model::audit_chain::{Link, Mac};
    use crate::model::id::AuditId;

    fn row(actor: &str, event: &str) -> SealedRow {
        SealedRow {
            link: Link {
                seq: 7,
                mac: Mac::NONE,
            },
            row: AuditRow {
                id: AuditId(9),
                at: Timestamp(0),
                actor: actor.to_owned(),
                event: event.to_owned(),
                subject: "request 1".to_owned(),
                body: "{}".to_owned(),
                seq: Some(7),
            },
        }
    }

    fn tail(act: Option<&str>, actor: Option<&str>) -> Tail {
        Tail {
            follow: false,
            lines: 10,
            act: act.map(str::to_owned),
            actor: actor.map(str::to_owned),
            json: false,
        }
    }

    #[test]
    fn a_filter_names_an_event_or_its_noun_and_an_actor_in_any_case() {
        let made = row("Ada", "request.made");
        for (act, actor, fits) in [
            (None, None, true),
            (Some("request.made"), None, true),
            (Some("request"), Some("ada"), true),
            (Some("requests"), None, false),
            (Some("request.m"), None, false),
            (Some("made"), None, false),
            (None, Some("ad"), false),
            (Some("request"), Some("bob"), false),
        ] {
            assert_eq!(tail(act, actor).wants(&made), fits, "{act:?} {actor:?}");
        }
    }

    #[test]
    fn a_name_does_not_move_the_cursor() {
        let line = in_words(&row("a\u{1b}[2Jb\n", "request.made"));
        assert!(line.starts_with("7 1970-01-01T00:00:00"), "{line}");
        assert!(!line.chars().any(char::is_control), "{line}");
    }
}
