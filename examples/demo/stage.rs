//! What the audience sees: acts with their reason, bars, the table, the closing lines.
//!
//! Invariant: without a terminal there are no control characters, and one line for each change
//! of state.

#![expect(clippy::print_stdout, reason = "the demo talks to people")]

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent};
use console::{Term, style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use keywheel::clock::SharedClock;
use tempfile::TempDir;

use crate::fleet::Fleet;
use crate::proof::Verdict;
use crate::service::Service;

const INDENT: &str = "    ";
const HEADS: [&str; 7] = [
    "system",
    "accounts",
    "changed",
    "old refused",
    "new accepted",
    "left alone",
    "seconds",
];

/// The stage; acts are numbered as they begin.
pub(crate) struct Stage {
    live: bool,
    acts: u8,
    clock: SharedClock,
    began: Duration,
}

impl Stage {
    /// An empty stage.
    pub(crate) fn new(clock: SharedClock) -> Self {
        let live = Term::stdout().features().is_attended();
        Self {
            live,
            acts: 0,
            began: clock.monotonic(),
            clock,
        }
    }

    /// A plain line.
    #[expect(clippy::unused_self, reason = "whoever talks has a stage")]
    pub(crate) fn says(&self, text: &str) {
        println!("{text}");
    }

    /// Before the first act.
    pub(crate) fn opening(&self, folder: &TempDir) {
        self.says(&format!(
            "\n  {}  {}",
            style("Keywheel").bold().cyan(),
            style("privileged-access rotation that never loses a credential").dim()
        ));
        self.note(&format!(
            "Everything happens on loopback and in {}; both are gone when this ends.",
            shown(folder.path())
        ));
    }

    /// Begins an act: its name, and in one line what happens and why it matters.
    pub(crate) fn act(&mut self, name: &str, why: &str) {
        self.acts += 1;
        self.says(&format!(
            "\n  {} {}",
            style(self.acts).cyan(),
            style(name).bold()
        ));
        self.note(why);
    }

    /// Something that holds now.
    pub(crate) fn done(&self, text: &str) {
        self.says(&format!("{INDENT}{} {text}", style("✓").green()));
    }

    /// A remark.
    pub(crate) fn note(&self, text: &str) {
        self.says(&format!("{INDENT}{}", style(text).dim()));
    }

    /// Something that went wrong.
    pub(crate) fn failed(&self, text: &str) {
        self.says(&format!("{INDENT}{} {text}", style("✗").red().bold()));
    }

    /// Room for bars that move side by side.
    pub(crate) fn bars(&self) -> Bars {
        let target = if self.live {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        };
        Bars {
            live: self.live,
            together: MultiProgress::with_draw_target(target),
        }
    }

    /// The summary; true if every proof holds.
    pub(crate) fn table(
        &self,
        fleet: &Fleet,
        verdicts: &[Verdict],
        seconds: &[Option<Duration>],
    ) -> bool {
        let mut table = Table::new();
        table
            .load_preset(NOTHING)
            .set_style(TableComponent::HeaderLines, '─')
            .set_style(TableComponent::MiddleHeaderIntersections, '─')
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(HEADS);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for ((system, verdict), seconds) in fleet.systems.iter().zip(verdicts).zip(seconds) {
            let seconds = seconds.map_or("-".to_owned(), |it| format!("{:.1}", it.as_secs_f64()));
            table.add_row([
                system.name.to_owned(),
                verdict.accounts.to_string(),
                share(verdict.changed, verdict.meant),
                share(verdict.refused, verdict.meant),
                share(verdict.accepted, verdict.meant),
                share(verdict.kept, verdict.accounts - verdict.meant),
                seconds,
            ]);
        }
        self.says("");
        for line in table.to_string().lines() {
            let head = line.contains("accounts");
            let line = if head {
                style(line).bold()
            } else {
                style(line)
            };
            self.says(&format!("{INDENT}{line}"));
        }
        let holds = !verdicts.is_empty() && verdicts.iter().all(Verdict::holds);
        self.says("");
        if holds {
            self.done("Every old password is dead, every new one is alive, and none was lost.");
        } else {
            self.failed("Not every proof holds.");
        }
        holds
    }

    /// How long it took.
    pub(crate) fn total(&self) {
        let all = self.clock.monotonic().saturating_sub(self.began);
        self.note(&format!(
            "The demo took {:.0} s, its own proofs included.",
            all.as_secs_f64()
        ));
    }

    /// Where to look around while everything still runs.
    pub(crate) fn closing(&self, service: &Service) {
        let url = &service.url;
        self.says(&format!(
            "  {:<18}{url}/docs/api",
            style("API reference").bold()
        ));
        self.says(&format!("  {:<18}{url}/metrics", style("Metrics").bold()));
        self.says(&format!(
            "  {:<18}{}",
            style("Keys to try it").bold(),
            shown(&service.credentials)
        ));
        self.says("\n  Ctrl-C ends it and removes everything.");
    }
}

/// How many of how many; what is missing stands out without colour too.
fn share(is: usize, of: usize) -> String {
    if (is, of) == (0, 0) {
        return "-".to_owned();
    }
    let mark = if is == of { "" } else { "! " };
    format!("{mark}{is}/{of}")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Bars below each other.
pub(crate) struct Bars {
    live: bool,
    together: MultiProgress,
}

impl Bars {
    /// One more bar.
    pub(crate) fn add(&self, name: &str, all: usize) -> Bar {
        let bar = ProgressBar::new(u64::try_from(all).unwrap_or(u64::MAX));
        let look = "    {prefix:<11} {bar:32.cyan/black.bright} {pos:>3}/{len}  {msg:.dim}";
        if let Ok(look) = ProgressStyle::with_template(look) {
            bar.set_style(look.progress_chars("━╸━"));
        }
        let bar = self.together.add(bar);
        bar.set_prefix(name.to_owned());
        Bar {
            live: self.live,
            name: name.to_owned(),
            said: Cell::new((0, String::new())),
            bar,
        }
    }
}

/// How far something has come.
pub(crate) struct Bar {
    live: bool,
    name: String,
    said: Cell<(u64, String)>,
    bar: ProgressBar,
}

impl Bar {
    /// One more, of which nobody needs to read without a terminal.
    pub(crate) fn tick(&self) {
        self.bar.inc(1);
    }

    /// One more; without a terminal, a line for each quarter.
    pub(crate) fn step(&self, text: &str) {
        self.bar.inc(1);
        self.bar.set_message(text.to_owned());
        let (is, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        if is * 4 / all.max(1) != (is - 1) * 4 / all.max(1) {
            self.line(text);
        }
    }

    /// This many; without a terminal, a line if that is news.
    pub(crate) fn set(&self, is: usize, text: &str) {
        let is = u64::try_from(is).unwrap_or(u64::MAX);
        self.bar.set_position(is);
        self.bar.set_message(text.to_owned());
        let news = (is, text.to_owned());
        if self.said.replace(news.clone()) != news {
            self.line(text);
        }
    }

    /// Takes it off the stage.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        if !self.live {
            let (is, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            println!("{INDENT}  {:<11} {is:>3}/{all}  {text}", self.name);
        }
    }
}
