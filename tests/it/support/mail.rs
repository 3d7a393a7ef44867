//! Real mail servers: aiosmtpd, with STARTTLS and sign-in, and one that says nothing.
//!
//! Invariant: a server ends with its test, since its standard input does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::certificate::Issued;
use super::program::{command, root};
use super::wait::LIMIT;

/// Debian's own interpreter: the one that its package of aiosmtpd is for.
const PYTHON: &str = "/usr/bin/python3";

/// A mail server.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    lines: Receiver<Value>,
    child: Child,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

impl MailServer {
    /// Takes every mail, unprotected.
    pub(crate) fn plain() -> Self {
        Self::start(&json!({}))
    }

    /// Answers every recipient so.
    pub(crate) fn refusing(answer: &str) -> Self {
        Self::start(&json!({"refuse": answer}))
    }

    /// Answers this recipient so, and takes all other mail.
    pub(crate) fn refusing_one(answer: &str, whom: &str) -> Self {
        Self::start(&json!({"refuse": answer, "whom": whom}))
    }

    /// Asks for STARTTLS, then for this user and password.
    pub(crate) fn guarded(issued: &Issued, user: &str, password: &str) -> Self {
        Self::start(&json!({
            "certificate": issued.certificate, "key": issued.key,
            "user": user, "password": password,
        }))
    }

    fn start(told: &Value) -> Self {
        let mut child = command(PYTHON)
            .arg(root().join("tests/it/support/mail_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3: apt-get install python3-aiosmtpd");
        let stdin = child.stdin.as_mut().unwrap();
        writeln!(stdin, "{told}").unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (to, lines) = channel();
        #[expect(clippy::disallowed_methods, reason = "it ends with the server")]
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else {
                    return;
                };
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        let first: Value = lines
            .recv_timeout(LIMIT)
            .expect("aiosmtpd listens: apt-get install python3-aiosmtpd");
        Self {
            port: u16::try_from(first["port"].as_u64().unwrap()).unwrap(),
            lines,
            child,
        }
    }

    /// The next mail; waits for it.
    pub(crate) async fn mail(&self) -> Value {
        super::wait::until("a mail", async || self.lines.try_recv().ok()).await
    }

    /// True if no other mail has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.try_recv().is_err()
    }
}
