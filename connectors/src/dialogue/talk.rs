//! One dialogue with a system, on a thread of its own.
//!
//! Invariant: the commit leaves only while there is time, and once it has begun to leave the
//! dialogue says so, whatever becomes of it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ssh2::{ExtendedData, PtyModeOpcode, PtyModes};
use zeroize::Zeroizing;

use super::definition::{Arm, Complaint, Dialogue, On, Operation, Start, Step, Template, Which};
use super::outcome::{Cause, Failed, Phase, judge, place};
use super::screen::{Screen, settled, window};
use super::transcript::Transcript;
use super::words::{Words, shown};
use crate::ssh::lent::{Connection, Exchange};

/// The longest wait for each line of `abort`.
const ABORT_MAX: Duration = Duration::from_secs(2);

/// The most pages that are turned in one step.
const PAGES_MAX: u32 = 1_000;

/// How much may be looked at in one dialogue, the same bytes counted each time. What has come is
/// looked at whole after each piece; this is the longest dialogue in lines of 80 bytes.
const LOOKED_MAX_BYTES: usize = 512 << 20;

/// A dialogue and its connection.
pub(super) struct Talk {
    // First: dropped before the channel, whose farewell would wait for the system.
    connection: Connection,
    channel: ssh2::Channel,
    dialogue: Arc<Dialogue>,
    operation: &'static str,
    words: Words,
    exchange: Exchange,
    transcript: Transcript,
    screen: Screen,
    /// The secrets of the last send.
    sent: Vec<Which>,
    left_bytes: usize,
    looked_bytes: usize,
    until: Instant,
    ended: bool,
    phase: Phase,
    step: usize,
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures how long a system takes; decides nothing else"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

impl Talk {
    /// Opens the operation's channel on a connection. `limit` bounds the dialogue from here on.
    pub(super) fn begin(
        connection: Connection,
        dialogue: &Arc<Dialogue>,
        operation: &Operation,
        words: Words,
        exchange: &Exchange,
        transcript: Transcript,
        limit: Duration,
    ) -> Result<Self, Failed> {
        connection.limit_each_call(limit);
        let failed = |cause: &Cause, step| {
            let place = place(dialogue, operation.name, step);
            Failed {
                changed: judge(&place, Phase::Before, cause),
                was_lost: matches!(cause, Cause::NotBegun(_) | Cause::Lost),
            }
        };
        let opened = connection.channel(exchange).map_err(Cause::NotBegun);
        let channel = opened.map_err(|cause| failed(&cause, 0))?;
        let mut talk = Self {
            connection,
            channel,
            dialogue: Arc::clone(dialogue),
            operation: operation.name,
            words,
            exchange: exchange.clone(),
            transcript,
            screen: Screen::default(),
            sent: Vec::new(),
            left_bytes: dialogue.limits.buffer_bytes,
            looked_bytes: 0,
            until: now() + limit,
            ended: false,
            phase: Phase::Before,
            step: 0,
        };
        match talk.start(&operation.start) {
            Ok(()) => Ok(talk),
            Err(cause) => {
                talk.note("did not begin");
                Err(failed(&cause, 0))
            }
        }
    }

    fn start(&mut self, start: &Start) -> Result<(), Cause> {
        self.open(start).map_err(|_| Cause::Lost)?;
        if let (Start::Shell, Some(prompt)) = (start, self.dialogue.prompt.clone()) {
            let arm = Arm {
                on: On::Text(prompt),
                send: None,
                max: 0,
                commit: false,
            };
            self.listen(&[arm], self.dialogue.limits.step)?;
        }
        Ok(())
    }

    fn open(&mut self, start: &Start) -> Result<(), io::Error> {
        self.channel.handle_extended_data(ExtendedData::Merge)?;
        if !matches!(start, Start::Exec(_)) {
            let pty = &self.dialogue.pty;
            let mut modes = PtyModes::new();
            modes.set_boolean(PtyModeOpcode::ECHO, false);
            modes.set_boolean(PtyModeOpcode::ONLCR, false);
            let size = Some((pty.cols, pty.rows, 0, 0));
            self.channel.request_pty(&pty.term, Some(modes), size)?;
        }
        match start {
            // A command holds no secret: the definition was checked.
            Start::Exec(run) | Start::ExecPty(run) => {
                let command = self.words.line(run, "");
                let command = command.map_err(|_| io::ErrorKind::Other)?;
                self.channel.exec(&command)?;
            }
            Start::Shell => self.channel.shell()?,
        }
        Ok(())
    }

    fn walk(&mut self, steps: &[Step]) -> Result<(), Cause> {
        for step in steps {
            self.step += 1;
            if let Some(send) = &step.send {
                self.say(send, step.commit)?;
            }
            self.listen(&step.arms, step.limit)?;
            if self.phase == Phase::Committing {
                self.phase = Phase::Committed;
            }
        }
        Ok(())
    }

    /// Sends a line in one piece; what was heard before it is forgotten.
    fn say(&mut self, template: &Template, commit: bool) -> Result<(), Cause> {
        let line = self.words.line(template, &self.dialogue.eol);
        let line = line.map_err(Cause::Missing)?;
        if commit {
            if !self.exchange.may_send() {
                return Err(Cause::Lost);
            }
            self.phase = Phase::Committing;
        }
        self.note("answered");
        self.screen.clear();
        self.sent = template.secrets().collect();
        let line_shown = || shown(template, &self.words.account);
        self.transcript.write(|| format!("sent: {}", line_shown()));
        let sent = self.channel.write_all(line.as_bytes());
        sent.and_then(|()| self.channel.flush())
            .map_err(|_| Cause::Lost)
    }

    /// Waits for one of the arms that end the step; answers the others meanwhile.
    fn listen(&mut self, arms: &[Arm], limit: Duration) -> Result<(), Cause> {
        let until = self.until.min(now() + limit);
        let mut answers = vec![0; arms.len()];
        let mut pages = 0;
        let mut turned = 0;
        loop {
            let secrets: Vec<&str> = self
                .sent
                .iter()
                .filter_map(|one| self.words.plain(*one))
                .collect();
            self.looked_bytes = self.looked_bytes.saturating_add(self.screen.len());
            if self.looked_bytes > LOOKED_MAX_BYTES {
                return Err(Cause::TooMuch);
            }
            let text = self.screen.text(&secrets);
            if let Some(complaint) = complaint(&self.dialogue.errors, settled(&text, &secrets)) {
                return Err(complaint);
            }
            let end = window(&text);
            let heard = |arm: &Arm| matches!(&arm.on, On::Text(pattern) if pattern.is_match(end));
            if let Some(at) = arms.iter().position(heard) {
                let Some(count) = answers.get_mut(at) else {
                    return Err(Cause::Strange);
                };
                let Some(arm) = arms.get(at) else {
                    return Err(Cause::Strange);
                };
                let Some(answer) = &arm.send else {
                    return Ok(());
                };
                *count += 1;
                if *count > arm.max {
                    return Err(Cause::AskedAgain(answer.secrets().next()));
                }
                turned = 0;
                self.say(answer, arm.commit)?;
                continue;
            }
            let fresh = self.screen.text_since(turned);
            let page = self.dialogue.pager.as_ref();
            if let Some(pager) = page.filter(|pager| pager.pattern.is_match(window(&fresh))) {
                let send = pager.send.clone();
                turned = self.screen.len();
                pages += 1;
                if pages > PAGES_MAX {
                    return Err(Cause::TooMuch);
                }
                self.channel
                    .write_all(send.as_bytes())
                    .map_err(|_| Cause::Lost)?;
            } else if self.ended {
                return self.how_it_ended(arms);
            }
            self.hear(until)?;
        }
    }

    /// Reads once.
    fn hear(&mut self, until: Instant) -> Result<(), Cause> {
        let late = if self.screen.is_empty() {
            Cause::Silent
        } else {
            Cause::Strange
        };
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return Err(late);
        }
        self.connection.limit_each_call(left);
        let mut piece = Zeroizing::new([0; 4_096]);
        let count = match self.channel.read(piece.as_mut_slice()) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(late),
            Err(_) => return Err(Cause::Lost),
        };
        if count == 0 {
            if !self.channel.eof() || self.ended {
                return Err(Cause::Lost);
            }
            self.ended = true;
        }
        self.left_bytes = self.left_bytes.checked_sub(count).ok_or(Cause::TooMuch)?;
        self.screen.hear(piece.get(..count).unwrap_or_default());
        Ok(())
    }

    fn how_it_ended(&mut self, arms: &[Arm]) -> Result<(), Cause> {
        self.channel.wait_close().map_err(|_| Cause::Lost)?;
        let signal = self.channel.exit_signal().map_err(|_| Cause::Lost)?;
        let status = self.channel.exit_status().map_err(|_| Cause::Lost)?;
        let is_this = |arm: &Arm| matches!(arm.on, On::Exit(code) if code == status);
        if signal.exit_signal.is_none() && arms.iter().any(is_this) {
            return Ok(());
        }
        Err(Cause::Ended)
    }

    /// Goes through these steps; if they fail, brings the system back to where it was.
    pub(super) fn go(&mut self, steps: &[Step], operation: &Operation) -> Result<(), Failed> {
        let Err(cause) = self.walk(steps) else {
            return Ok(());
        };
        let place = place(&self.dialogue, self.operation, self.step);
        let changed = judge(&place, self.phase, &cause);
        self.abort(operation, &cause);
        Err(Failed {
            changed,
            was_lost: matches!(cause, Cause::Lost),
        })
    }

    /// Whether the commit was sent and answered.
    pub(super) fn is_committed(&self) -> bool {
        self.phase == Phase::Committed
    }

    /// Ends the dialogue after its last step but before its saves.
    pub(super) fn give_up(mut self, operation: &Operation) {
        self.abort(operation, &Cause::Strange);
    }

    /// Brings the system back to where it was, as far as it listens.
    fn abort(&mut self, operation: &Operation, cause: &Cause) {
        self.note("failed");
        if self.ended || matches!(cause, Cause::Lost | Cause::NotBegun(_)) {
            return;
        }
        // What may follow is about the change no more.
        let phase = self.phase;
        for line in &operation.abort {
            let prompt = self.dialogue.prompt.clone();
            let arm = prompt.map(|prompt| Arm {
                on: On::Text(prompt),
                send: None,
                max: 0,
                commit: false,
            });
            let said = self.say(line, false);
            if said.is_err() {
                break;
            }
            // A complaint about one line is no reason to leave out the next.
            if let Some(arm) = arm
                && matches!(self.listen(&[arm], ABORT_MAX), Err(Cause::Lost))
            {
                break;
            }
        }
        self.phase = phase;
    }

    /// The connection, for another dialogue. The channel is closed first.
    pub(super) fn into_connection(self) -> Connection {
        self.note("done");
        let Self {
            connection,
            mut channel,
            ..
        } = self;
        if channel.send_eof().is_ok() {
            // A command that does not end by itself is ended with its channel.
            channel.close().unwrap_or_default();
        }
        drop(channel);
        connection
    }

    /// Writes down what was heard since the last send.
    fn note(&self, how: &'static str) {
        self.transcript.write(|| {
            let heard = self.screen.text(&self.words.plains());
            format!("heard, {how}: {}", window(&heard))
        });
    }
}

fn complaint(errors: &[Complaint], text: &str) -> Option<Cause> {
    let said = errors.iter().find(|error| error.pattern.is_match(text));
    said.map(|error| Cause::Said(error.class, error.scope))
}
