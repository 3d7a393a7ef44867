//! Checks the operations: their steps, where the commit stands, who gets a secret and when.
//!
//! Invariant: every change has exactly one commit, and every secret but a new password goes only
//! to who has asked for it.

use std::time::Duration;

use regex::Regex;
use toml::Spanned;

use super::super::definition::{Arm, Limits, On, Operation, Start, Step, Which};
use super::super::format::{self, ChannelName, VerifyName};
use super::{Reader, STEP_MAX_S};

/// The most steps of an operation, arms of a step, lines of `abort`.
const STEPS_MAX: usize = 64;
const ARMS_MAX: usize = 16;
const ABORT_MAX: usize = 8;

/// The most that an arm may be answered.
const ANSWERS_MAX: i64 = 8;

/// The longest time until a system takes back what nobody confirmed, in seconds.
const UNDO_MAX_S: i64 = 3_600;

/// What the checks of one operation share.
struct Context<'a> {
    name: &'static str,
    channel: ChannelName,
    prompt: Option<&'a Regex>,
    prompt_is_given: bool,
    step_limit: Duration,
    /// True once a step has waited for words of its own, or for a prompt.
    was_asked: bool,
    commits: usize,
    sends_new: bool,
}

type Three = (Option<Operation>, Option<Operation>, Operation);

impl Reader<'_> {
    pub(super) fn operations(
        &mut self,
        raw: &Spanned<format::Operations>,
        prompt: Option<&Regex>,
        prompt_is_given: bool,
        limits: Option<Limits>,
    ) -> Option<Three> {
        let step_limit = limits.map_or(Duration::from_secs(1), |limits| limits.step);
        let ops = raw.get_ref();
        if ops.set_password.is_none() && ops.change_own.is_none() {
            let text = "op must have set_password, change_own, or both";
            self.fault(raw.span(), text);
        }
        let mut operation = |name, op: &Option<Spanned<format::Operation>>| {
            let context = |op: &Spanned<format::Operation>| Context {
                name,
                channel: *op.get_ref().channel.get_ref(),
                prompt,
                prompt_is_given,
                step_limit,
                was_asked: false,
                commits: 0,
                sends_new: false,
            };
            op.as_ref().map(|op| self.operation(op, context(op)))
        };
        let set_password = operation("set_password", &ops.set_password);
        let change_own = operation("change_own", &ops.change_own);
        let check = operation("check", &ops.check);
        let check = match check {
            Some(check) => check,
            None if prompt_is_given => Some(shell_check()),
            None => {
                let text = "op must have check, or the definition a prompt: one of them shows \
                            that a login works";
                self.fault(raw.span(), text);
                None
            }
        };
        let unwrap = |op: Option<Option<Operation>>| op.map_or(Some(None), |op| op.map(Some));
        Some((unwrap(set_password)?, unwrap(change_own)?, check?))
    }

    fn operation(
        &mut self,
        raw: &Spanned<format::Operation>,
        mut context: Context<'_>,
    ) -> Option<Operation> {
        let (span, op) = (raw.span(), raw.get_ref());
        let is_check = context.name == "check";
        let start = self.start(op, &mut context);
        self.counts(op);
        let undo = op.undo_s.as_ref();
        let undo = undo.map(|undo| self.seconds(undo, "undo_s", UNDO_MAX_S));
        if is_check && (op.verify.is_some() || op.undo_s.is_some() || !op.abort.is_empty()) {
            let text = "check changes nothing: it has no verify, undo_s or abort";
            self.fault(span.clone(), text);
        }
        let mut steps = Vec::new();
        let mut saves: Vec<Option<Step>> = Vec::new();
        for step in &op.step {
            let read = self.step(step, &mut context);
            if step.get_ref().save {
                saves.push(read);
            } else {
                if !saves.is_empty() {
                    self.fault(step.span(), "save steps must be the last ones");
                }
                steps.push(read);
            }
        }
        if is_check && context.commits + saves.len() > 0 {
            let text = "check changes nothing: it has no commit and no save";
            self.fault(span, text);
        } else if !is_check && context.commits != 1 {
            let text = format!(
                "op.{} must have exactly one commit; it has {}",
                context.name, context.commits
            );
            self.fault(span, text);
        } else if !is_check && !context.sends_new {
            let text = format!("op.{} never sends {{secret:new}}", context.name);
            self.fault(span, text);
        }
        let abort = op.abort.iter();
        let abort: Vec<_> = abort
            .map(|line| self.open_template(line, "abort"))
            .collect();
        Some(Operation {
            name: context.name,
            start: start?,
            verify: op.verify.as_ref().map(Spanned::get_ref) != Some(&VerifyName::None),
            undo: undo.flatten(),
            steps: steps.into_iter().collect::<Option<_>>()?,
            saves: saves.into_iter().collect::<Option<_>>()?,
            abort: abort.into_iter().collect::<Option<_>>()?,
        })
    }

    fn counts(&mut self, op: &format::Operation) {
        if let Some(step) = op.step.get(STEPS_MAX) {
            self.fault(step.span(), format!("more than {STEPS_MAX} steps"));
        }
        if let Some(line) = op.abort.get(ABORT_MAX) {
            self.fault(line.span(), format!("more than {ABORT_MAX} lines of abort"));
        }
    }

    fn start(&mut self, op: &format::Operation, context: &mut Context<'_>) -> Option<Start> {
        match (context.channel, &op.run) {
            (ChannelName::Shell, None) => {
                // Its prompt comes before the first step.
                context.was_asked = true;
                if !context.prompt_is_given {
                    let text = "a shell needs the definition's prompt";
                    self.fault(op.channel.span(), text);
                }
                Some(Start::Shell)
            }
            (ChannelName::Shell, Some(run)) => {
                self.fault(run.span(), "a shell runs no command; send it in a step");
                None
            }
            (_, None) => {
                self.fault(op.channel.span(), "this channel needs run, the command");
                None
            }
            (ChannelName::Exec, Some(run)) => self.open_template(run, "run").map(Start::Exec),
            (ChannelName::ExecPty, Some(run)) => self.open_template(run, "run").map(Start::ExecPty),
        }
    }

    fn step(&mut self, raw: &Spanned<format::Step>, context: &mut Context<'_>) -> Option<Step> {
        let (span, step) = (raw.span(), raw.get_ref());
        let limit = step.limit_s.as_ref();
        let limit = limit.map(|limit| self.seconds(limit, "step_s", STEP_MAX_S));
        let send = step
            .send
            .as_ref()
            .map(|send| self.sent(send, step, context));
        if step.commit {
            context.commits += 1;
            if step.send.is_none() {
                self.fault(span.clone(), "a commit must send something");
            }
            if step.save {
                self.fault(span.clone(), "a save comes after the commit, it is none");
            }
        }
        if step.save && context.commits == 0 {
            self.fault(span.clone(), "a save comes after the commit");
        }
        let arms = self.arms(&span, step, context)?;
        context.was_asked = true;
        Some(Step {
            send: match send {
                Some(send) => Some(send?),
                None => None,
            },
            arms,
            commit: step.commit,
            limit: limit.map_or(Some(context.step_limit), |limit| limit)?,
        })
    }

    /// What a step sends by itself.
    fn sent(
        &mut self,
        raw: &Spanned<String>,
        step: &format::Step,
        context: &mut Context<'_>,
    ) -> Option<super::Template> {
        let template = self.template(raw)?;
        for which in template.secrets() {
            self.secret_fits(raw, which, step, context);
            if which != Which::New {
                let text = format!(
                    "{{secret:{}}} may only answer an arm that asks for it",
                    which.name()
                );
                self.fault(raw.span(), text);
            } else if !context.was_asked {
                let text = "no secret before the system has said that it is ready for it";
                self.fault(raw.span(), text);
            }
        }
        Some(template)
    }

    /// Whether the operation has such a secret to send at all.
    fn secret_fits(
        &mut self,
        raw: &Spanned<String>,
        which: Which,
        step: &format::Step,
        context: &mut Context<'_>,
    ) {
        if context.name == "check" {
            self.fault(raw.span(), "check sends no secret: it is logged in already");
        } else if which == Which::Old && context.name != "change_own" {
            let text = format!("op.{} has no {{secret:old}}", context.name);
            self.fault(raw.span(), text);
        } else if step.save {
            self.fault(raw.span(), "a save sends no secret");
        }
        context.sends_new |= which == Which::New;
    }

    fn arms(
        &mut self,
        span: &std::ops::Range<usize>,
        step: &format::Step,
        context: &mut Context<'_>,
    ) -> Option<Vec<Arm>> {
        let Some(arms) = &step.expect else {
            if !context.prompt_is_given {
                let text = "a step without expect waits for the prompt, and there is none";
                self.fault(span.clone(), text);
            }
            let on = On::Text(context.prompt?.clone());
            return Some(vec![Arm {
                on,
                send: None,
                max: 0,
                commit: false,
            }]);
        };
        if arms.get_ref().is_empty() {
            self.fault(arms.span(), "expect is empty");
        }
        if let Some(arm) = arms.get_ref().get(ARMS_MAX) {
            self.fault(arm.span(), format!("more than {ARMS_MAX} arms"));
        }
        if arms
            .get_ref()
            .iter()
            .all(|arm| arm.get_ref().send.is_some())
        {
            let text = "every arm answers and stays: none ends the step";
            self.fault(arms.span(), text);
        }
        let arms = arms.get_ref().iter();
        let arms: Vec<_> = arms.map(|arm| self.arm(arm, step, context)).collect();
        arms.into_iter().collect()
    }

    fn arm(
        &mut self,
        raw: &Spanned<format::Arm>,
        step: &format::Step,
        context: &mut Context<'_>,
    ) -> Option<Arm> {
        let (span, arm) = (raw.span(), raw.get_ref());
        let on = match (&arm.pattern, &arm.exit) {
            (Some(pattern), None) => self.regex(pattern).map(On::Text),
            (None, Some(exit)) => {
                if context.channel == ChannelName::Shell {
                    self.fault(exit.span(), "a shell has no exit to wait for");
                }
                if arm.send.is_some() {
                    self.fault(span.clone(), "what has ended cannot be answered");
                }
                let exit = self.number(exit, "exit", 0, 255);
                exit.and_then(|exit| i32::try_from(exit).ok()).map(On::Exit)
            }
            _ => {
                self.fault(span.clone(), "an arm has either match or exit");
                None
            }
        };
        if arm.send.is_none() && (arm.commit || arm.max.is_some()) {
            let text = "commit and max belong to an arm that sends";
            self.fault(span, text);
        }
        context.commits += usize::from(arm.commit);
        let send = match &arm.send {
            Some(send) => {
                let template = self.template(send);
                for which in template.iter().flat_map(super::Template::secrets) {
                    self.secret_fits(send, which, step, context);
                }
                Some(template?)
            }
            None => None,
        };
        let max = arm.max.as_ref();
        let max = max.map_or(Some(1), |max| self.number(max, "max", 1, ANSWERS_MAX));
        Some(Arm {
            on: on?,
            send,
            max: max?,
            commit: arm.commit,
        })
    }
}

/// How a login is shown to work where nothing else is said: the prompt comes.
fn shell_check() -> Operation {
    Operation {
        name: "check",
        start: Start::Shell,
        verify: false,
        undo: None,
        steps: Vec::new(),
        saves: Vec::new(),
        abort: Vec::new(),
    }
}
