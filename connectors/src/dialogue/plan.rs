//! A dialogue as it would be held, for people.
//!
//! Invariant: no secret is shown, because none is known here.

use std::fmt::Write;

use super::definition::{Arm, Dialogue, On, Operation, Start, Step, Template};
use super::words::shown;
use crate::Login;

impl Dialogue {
    /// What would be said to a system, step by step; secrets read `<SENT>`.
    pub fn plan(&self, account: &Login) -> String {
        let mut plan = String::new();
        let operations = [
            self.set_password.as_ref(),
            self.change_own.as_ref(),
            Some(&self.check),
        ];
        for operation in operations.into_iter().flatten() {
            let lines = Lines {
                dialogue: self,
                account: account.as_str(),
            };
            // Writing to a text cannot fail.
            lines.operation(&mut plan, operation).unwrap_or_default();
        }
        plan
    }
}

struct Lines<'a> {
    dialogue: &'a Dialogue,
    account: &'a str,
}

impl Lines<'_> {
    fn shown(&self, template: &Template) -> String {
        shown(template, self.account).replace('\n', "\\n")
    }

    fn operation(&self, plan: &mut String, op: &Operation) -> std::fmt::Result {
        let Self { dialogue, account } = self;
        let who = if op.name == "set_password" {
            "the functional account"
        } else {
            account
        };
        writeln!(plan, "{} {}, as {who}", dialogue.id, op.name)?;
        match &op.start {
            Start::Exec(run) => writeln!(plan, "  run      {}", self.shown(run))?,
            Start::ExecPty(run) => {
                writeln!(plan, "  run      {} (on a terminal)", self.shown(run))?;
            }
            Start::Shell => {
                let prompt = dialogue
                    .prompt
                    .as_ref()
                    .map_or("", |prompt| prompt.as_str());
                writeln!(plan, "  await    {prompt}")?;
            }
        }
        for step in &op.steps {
            self.step(plan, step)?;
        }
        if !op.saves.is_empty() && op.verify {
            writeln!(plan, "  login    as {account} with the new password")?;
        }
        for step in &op.saves {
            self.step(plan, step)?;
        }
        for line in &op.abort {
            writeln!(plan, "  on failure  {}", self.shown(line))?;
        }
        Ok(())
    }

    fn step(&self, plan: &mut String, step: &Step) -> std::fmt::Result {
        if let Some(send) = &step.send {
            let mark = if step.commit { "   <- commit" } else { "" };
            writeln!(plan, "  send     {}{mark}", self.shown(send))?;
        }
        for arm in &step.arms {
            self.arm(plan, arm)?;
        }
        Ok(())
    }

    fn arm(&self, plan: &mut String, arm: &Arm) -> std::fmt::Result {
        let on = match &arm.on {
            On::Text(pattern) => pattern.as_str().to_owned(),
            On::Exit(code) => format!("exit {code}"),
        };
        let mark = if arm.commit { "   <- commit" } else { "" };
        match &arm.send {
            Some(send) => writeln!(
                plan,
                "  await    {on}, then send {}{mark}",
                self.shown(send)
            ),
            None => writeln!(plan, "  await    {on}"),
        }
    }
}
