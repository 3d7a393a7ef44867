//! One dialogue with a system, on a thread of its own.
//!
//! Invariant: after the commit has begun to leave, whatever is not the system's own word about it
//! is [`Changed::Unknown`].

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use ssh2::{ExtendedData, PtyModeOpcode, PtyModes};
use zeroize::Zeroizing;

use super::definition::{
    Arm, Complaint, Dialogue, On, Operation, Piece, Start, Step, Template, Which,
};
use super::screen::{SENT, Screen, window};
use crate::ssh::lent::{Connection, Exchange};
use crate::{Changed, Class, Reason, Scope, Secret};

/// The longest wait for each line of `abort`.
const ABORT_MAX: Duration = Duration::from_secs(2);

/// The most pages that are turned in one step.
const PAGES_MAX: u32 = 1_000;

/// What stands in the places of templates.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) account: String,
    pub(super) new: Option<Secret>,
    pub(super) old: Option<Secret>,
    pub(super) enable: Option<Secret>,
}

impl Words {
    fn secret(&self, which: Which) -> Option<&Secret> {
        match which {
            Which::New => self.new.as_ref(),
            Which::Old => self.old.as_ref(),
            Which::Enable => self.enable.as_ref(),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the system must learn it, or it is redacted"
    )]
    fn plain(&self, which: Which) -> Option<&str> {
        self.secret(which).map(ExposeSecret::expose_secret)
    }

    /// Every secret, the longest first: one may stand within another.
    fn plains(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Which::ALL
            .into_iter()
            .filter_map(|which| self.plain(which))
            .collect();
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all
    }
}

/// Why a dialogue did not go on.
#[derive(Debug)]
enum Cause {
    /// The connection was lost.
    Lost,
    /// The deadline came, and nothing was heard since the last send.
    Silent,
    /// The deadline came; what was heard is nothing that the platform expects.
    Strange,
    /// More was said than the platform allows.
    TooMuch,
    /// The command ended, in a way that the platform does not expect.
    Ended,
    /// The system says so itself.
    Said(Class, Scope),
    /// It asks again what was answered, by this secret or by none.
    AskedAgain(Option<Which>),
    /// It asks for a secret that is not there.
    Missing(Which),
    /// Nothing began.
    NotBegun(Reason),
}

/// What became of a dialogue that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) changed: Changed,
    /// True: the connection was gone, or never served.
    pub(super) was_lost: bool,
}

impl Failed {
    /// Nothing was sent.
    pub(super) fn before(reason: Reason) -> Self {
        Self {
            changed: Changed::NotNow(reason),
            was_lost: false,
        }
    }

    /// Why, where nothing was to be changed.
    pub(super) fn reason(self) -> Reason {
        match self.changed {
            Changed::Refused(reason) | Changed::NotNow(reason) | Changed::Unknown(reason) => reason,
            Changed::Done => Reason::account(Class::Unknown, "the dialogue failed after its end"),
        }
    }
}

/// Where the dialogue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing that counts has left.
    Before,
    /// The commit has left; its answer is awaited.
    Committing,
    /// The commit was answered.
    Committed,
}

/// A dialogue and its connection.
pub(super) struct Talk {
    // First: dropped before the channel, whose farewell would wait for the system.
    connection: Connection,
    channel: ssh2::Channel,
    dialogue: Arc<Dialogue>,
    operation: &'static str,
    words: Words,
    exchange: Exchange,
    screen: Screen,
    /// The secrets of the last send.
    sent: Vec<Which>,
    left_bytes: usize,
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
            screen: Screen::default(),
            sent: Vec::new(),
            left_bytes: dialogue.limits.buffer_bytes,
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
                let command = self.rendered(run).map_err(|_| io::ErrorKind::Other)?;
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

    fn rendered(&self, template: &Template) -> Result<Zeroizing<String>, Cause> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Ok(text.clone()),
            Piece::Account => Ok(self.words.account.clone()),
            Piece::Secret(_) => Ok(String::new()),
        };
        // Reserved first: a buffer that grows leaves copies behind.
        let mut bytes = self.dialogue.eol.len();
        for one in &template.0 {
            bytes += match one {
                Piece::Secret(which) => {
                    let plain = self.words.plain(*which);
                    plain.ok_or(Cause::Missing(*which))?.len()
                }
                other => piece(other)?.len(),
            };
        }
        let mut line = Zeroizing::new(String::with_capacity(bytes));
        for one in &template.0 {
            match one {
                Piece::Secret(which) => line.push_str(self.words.plain(*which).unwrap_or_default()),
                other => line.push_str(&piece(other)?),
            }
        }
        Ok(line)
    }

    /// Sends a line in one piece; what was heard before it is forgotten.
    fn say(&mut self, template: &Template, commit: bool) -> Result<(), Cause> {
        let mut line = self.rendered(template)?;
        line.push_str(&self.dialogue.eol);
        if commit {
            if !self.exchange.may_send() {
                return Err(Cause::Lost);
            }
            self.phase = Phase::Committing;
        }
        self.note("answered");
        self.screen.clear();
        self.sent = template.secrets().collect();
        tracing::trace!(
            platform = self.dialogue.id,
            operation = self.operation,
            step = self.step,
            line = shown(template, &self.words.account),
            "sent"
        );
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
            let text = self.screen.text(&secrets);
            if let Some(complaint) = complaint(&self.dialogue.errors, &text) {
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

    /// Logs what was heard since the last send: for whoever writes a definition.
    fn note(&self, how: &'static str) {
        if tracing::enabled!(tracing::Level::TRACE) {
            let heard = self.screen.text(&self.words.plains());
            tracing::trace!(
                platform = self.dialogue.id,
                operation = self.operation,
                step = self.step,
                heard = window(&heard),
                how,
                "heard"
            );
        }
    }
}

fn complaint(errors: &[Complaint], text: &str) -> Option<Cause> {
    let said = errors.iter().find(|error| error.pattern.is_match(text));
    said.map(|error| Cause::Said(error.class, error.scope))
}

/// A template as it may be shown.
pub(super) fn shown(template: &Template, account: &str) -> String {
    let pieces = template.0.iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Account => account,
        Piece::Secret(_) => SENT,
    });
    pieces.collect()
}

fn place(dialogue: &Dialogue, operation: &str, step: usize) -> String {
    format!("{} {operation}, step {step}", dialogue.id)
}

fn judge(place: &str, phase: Phase, cause: &Cause) -> Changed {
    let about = |class, scope, what: &str| Reason {
        class,
        scope,
        text: format!("{place}: {what}").into(),
    };
    let account = |class, what: &str| about(class, Scope::Account, what);
    let before = match cause {
        Cause::NotBegun(reason) => reason.clone(),
        Cause::Lost => account(Class::Unreachable, "the connection was lost"),
        Cause::Silent => account(Class::Unreachable, "the system did not answer in time"),
        Cause::Strange => account(
            Class::Incompatible,
            "the system says nothing that the platform expects, or waits behind another prompt",
        ),
        Cause::TooMuch => account(Class::Incompatible, "the system says too much"),
        Cause::Ended => account(
            Class::Incompatible,
            "the command ended in a way that the platform does not expect",
        ),
        Cause::Missing(which) => account(
            Class::Privilege,
            &format!(
                "the system asks for the {} secret, and none is stored",
                which.name()
            ),
        ),
        Cause::AskedAgain(which) => {
            let what = "the system asks again what was answered";
            match which {
                Some(Which::New) => account(Class::Refused, what),
                Some(Which::Old) => account(Class::Denied, what),
                Some(Which::Enable) => about(Class::Privilege, Scope::System, what),
                None => account(Class::Incompatible, what),
            }
        }
        Cause::Said(class, scope) => {
            let reason = about(
                *class,
                *scope,
                &format!("the system's answer means {}", class.name()),
            );
            // Its own word about the commit counts, unless that word is that it does not know.
            if phase != Phase::Committed && *class != Class::Unknown {
                return by_class(reason);
            }
            reason
        }
    };
    if phase == Phase::Before {
        return by_class(before);
    }
    let what = match phase {
        Phase::Committed => "the change was made, but a later step failed",
        Phase::Before | Phase::Committing => "the answer to the change was lost",
    };
    Changed::Unknown(account(Class::Unknown, what))
}

fn by_class(reason: Reason) -> Changed {
    match reason.class {
        Class::Refused | Class::NoAccount => Changed::Refused(reason),
        _ => Changed::NotNow(reason),
    }
}
