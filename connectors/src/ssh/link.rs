//! One SSH connection: key exchange, host key, commands.
//!
//! Invariant: a [`Link`] that was made with a pinned key speaks with the holder of that key.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use ssh2::{ErrorCode, ExtendedData, HashType, MethodType, PtyModeOpcode, PtyModes};
use zeroize::Zeroizing;

use super::talk::{Say, Talk};
use super::turn::{Turn, hang_up};
use crate::{Class, HostKey, Reason, Target};

/// The most that one command may print; a hostile target never stops talking.
const OUTPUT_MAX_BYTES: usize = 65_536;

/// Host key algorithms, the preferred one first: type of the key, names in the key exchange.
const ALGORITHMS: [(&str, &str); 5] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256"),
];

/// What a command printed and how it ended.
#[derive(Debug)]
pub(super) struct Output {
    /// Both streams, in the order of arrival. May hold what a target should not say: never shown.
    pub(super) text: Zeroizing<String>,
    /// The same, byte for byte.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// The exit status; `None` when a signal ended the command or no status came.
    pub(super) status: Option<i32>,
}

#[cfg(test)]
impl Output {
    /// What a command would have printed; `KW#` stands for the marker with this nonce.
    pub(super) fn played(text: &str, nonce: &str, status: Option<i32>) -> Self {
        let text = text.replace("KW#", &format!("KW{nonce}"));
        Self {
            bytes: Zeroizing::new(text.clone().into_bytes()),
            text: Zeroizing::new(text),
            status,
        }
    }
}

/// A command, and how it runs.
#[derive(Clone)]
pub(super) struct Order {
    /// One line for the account's login shell.
    pub(super) command: String,
    /// True: on a terminal, which `passwd` insists on.
    pub(super) on_terminal: bool,
    /// The most that it may print.
    pub(super) output_max_bytes: usize,
}

impl Order {
    pub(super) fn new(command: String) -> Self {
        Self {
            command,
            on_terminal: false,
            output_max_bytes: OUTPUT_MAX_BYTES,
        }
    }
}

/// One connection. Dropping it closes the socket first, so that nothing waits for the target.
pub(super) struct Link {
    session: ssh2::Session,
    wire: Arc<TcpStream>,
}

impl Drop for Link {
    fn drop(&mut self) {
        hang_up(&self.wire);
    }
}

/// The target did not answer before the deadline.
pub(super) fn silent() -> Reason {
    Reason::account(Class::Unreachable, "the system did not answer in time")
}

/// Runs what blocks on a thread of its own.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Reason> {
    let lost = || Reason::system(Class::Unknown, "the thread of this exchange was lost");
    tokio::task::spawn_blocking(work).await.map_err(|_| lost())
}

/// Connects, without a word.
pub(super) async fn dial(target: &Target) -> Result<TcpStream, Reason> {
    let unreachable = |text| Reason::system(Class::Unreachable, text);
    let wire = tokio::net::TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(|_| unreachable("the system takes no connection at its address and port"))?;
    let ready = wire
        .set_nodelay(true)
        .and_then(|()| wire.into_std())
        .and_then(|wire| {
            wire.set_nonblocking(false)?;
            Ok(wire)
        });
    ready.map_err(|_| unreachable("the connection was lost at once"))
}

impl Link {
    /// Exchanges keys and compares the host's with the pinned one. Nothing secret is sent.
    pub(super) fn shake_hands(
        wire: TcpStream,
        pin: Option<&HostKey>,
        limit: Duration,
        turn: &Turn,
    ) -> Result<Self, Reason> {
        let broken = |_| Reason::system(Class::Unreachable, "the connection was lost at once");
        let held = Arc::new(wire.try_clone().map_err(broken)?);
        if !turn.watch(&held) {
            return Err(silent());
        }
        let mut session = ssh2::Session::new().map_err(|error| handshake_failed(&error))?;
        // Later than the watchdog, which knows that it was time and not the system.
        session.set_timeout(millis(limit + Duration::from_secs(1)));
        session.set_tcp_stream(wire);
        session
            .method_pref(MethodType::HostKey, &preference(pin))
            .map_err(|error| handshake_failed(&error))?;
        let mut link = Self {
            session,
            wire: held,
        };
        link.session
            .handshake()
            .map_err(|error| handshake_failed(&error))?;
        match pin {
            Some(pin) if link.host_key()?.sha256 != pin.sha256 => {
                let text = "the system shows another host key than the pinned one; nothing was \
                            sent. Compare its key, then trust it anew";
                Err(Reason::system(Class::IdentityMismatch, text))
            }
            _ => Ok(link),
        }
    }

    /// The key that the host proved to hold.
    pub(super) fn host_key(&self) -> Result<HostKey, Reason> {
        let none = || Reason::system(Class::Incompatible, "the system shows no host key we know");
        let (blob, _) = self.session.host_key().ok_or_else(none)?;
        let algorithm = key_type(blob).ok_or_else(none)?.to_owned();
        let digest = self
            .session
            .host_key_hash(HashType::Sha256)
            .ok_or_else(none)?;
        let sha256 = digest.try_into().map_err(|_| none())?;
        Ok(HostKey { algorithm, sha256 })
    }

    pub(super) fn session(&self) -> &ssh2::Session {
        &self.session
    }

    /// Puts this connection under an exchange's watchdog; false when time is up already.
    pub(super) fn watched_by(&self, turn: &Turn) -> bool {
        turn.watch(&self.wire)
    }

    /// Whether the server is Dropbear, by its greeting.
    pub(super) fn is_dropbear(&self) -> bool {
        let greeting = self.session.banner_bytes().unwrap_or_default();
        greeting.starts_with(b"SSH-2.0-dropbear")
    }

    /// Ends the connection at once, from within a dialogue.
    pub(super) fn hang_up(&self) {
        hang_up(&self.wire);
    }

    /// Runs one command and returns all that it printed.
    ///
    /// On an error the connection is closed. [`Turn::was_sent`] tells whether a secret may have
    /// left.
    pub(super) fn run(
        &self,
        order: &Order,
        talk: &mut dyn Talk,
        turn: &Turn,
    ) -> Result<Output, Reason> {
        let lost = |text| Reason::account(Class::Unreachable, text);
        if !self.watched_by(turn) {
            return Err(lost("time was up before the command began"));
        }
        let mut channel = self
            .session
            .channel_session()
            .map_err(|error| match code(&error) {
                -21 => Reason::account(Class::Busy, "the system opens no further session now"),
                _ => lost("the connection was lost before the command began"),
            })?;
        let ended = converse(&mut channel, order, talk, turn);
        if !matches!(ended, Ok((_, Ended::ByItself))) {
            // Before the channel is dropped, or its farewell waits for the target.
            hang_up(&self.wire);
        }
        ended
            .map(|(output, _)| output)
            .map_err(|_| lost("the connection was lost during the command"))
    }
}

/// Something ended before its time; what, matters to nobody.
struct Lost;

impl From<ssh2::Error> for Lost {
    fn from(_: ssh2::Error) -> Self {
        Self
    }
}

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// Who ended a command.
enum Ended {
    ByItself,
    ByUs,
}

fn converse(
    channel: &mut ssh2::Channel,
    order: &Order,
    talk: &mut dyn Talk,
    turn: &Turn,
) -> Result<(Output, Ended), Lost> {
    channel.handle_extended_data(ExtendedData::Merge)?;
    if order.on_terminal {
        // Wide, so that nothing is wrapped; without echo, so that nothing comes back.
        channel.request_pty("dumb", Some(quiet()), Some((511, 24, 0, 0)))?;
    }
    channel.exec(&order.command)?;
    let mut heard = Zeroizing::new(Vec::new());
    let mut piece = Zeroizing::new([0; 4096]);
    let mut listens = true;
    loop {
        while listens {
            match talk.next(&heard) {
                Say::Nothing => break,
                // One write, one packet: half a line must never arrive.
                Say::Plain(bytes) => channel.write_all(&bytes)?,
                Say::Secret(bytes) => {
                    if !turn.may_send() {
                        return Err(Lost);
                    }
                    channel.write_all(&bytes)?;
                }
                Say::Over => {
                    channel.send_eof()?;
                    listens = false;
                }
                Say::HangUp => return Ok((output(heard, None), Ended::ByUs)),
            }
        }
        let count = channel.read(piece.as_mut_slice())?;
        if count == 0 {
            break;
        }
        heard.extend_from_slice(piece.get(..count).unwrap_or_default());
        if heard.len() > order.output_max_bytes {
            return Err(Lost);
        }
    }
    if !channel.eof() {
        return Err(Lost);
    }
    channel.wait_close()?;
    let signal = channel.exit_signal()?.exit_signal;
    // Without any status libssh2 says 0 too: only a sentinel in the text makes a success.
    let status = if signal.is_some() {
        None
    } else {
        Some(channel.exit_status()?)
    };
    Ok((output(heard, status), Ended::ByItself))
}

fn output(heard: Zeroizing<Vec<u8>>, status: Option<i32>) -> Output {
    Output {
        text: Zeroizing::new(String::from_utf8_lossy(&heard).into_owned()),
        bytes: heard,
        status,
    }
}

/// A terminal's modes: no echo, and line ends as they are.
fn quiet() -> PtyModes {
    let mut modes = PtyModes::new();
    modes.set_boolean(PtyModeOpcode::ECHO, false);
    modes.set_boolean(PtyModeOpcode::ONLCR, false);
    modes
}

fn millis(limit: Duration) -> u32 {
    // 0 would mean for ever.
    u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// The pinned algorithm first: a host with several keys then shows the one that we know.
fn preference(pin: Option<&HostKey>) -> String {
    let is_pinned = |key: &str| pin.is_some_and(|pin| pin.algorithm == key);
    let first = ALGORITHMS.iter().filter(|(key, _)| is_pinned(key));
    let others = ALGORITHMS.iter().filter(|(key, _)| !is_pinned(key));
    first
        .chain(others)
        .map(|(_, names)| *names)
        .collect::<Vec<_>>()
        .join(",")
}

/// The type that a public key's blob begins with, if we know it (RFC 4253, 6.6).
fn key_type(blob: &[u8]) -> Option<&'static str> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let name = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    ALGORITHMS
        .iter()
        .map(|(key, _)| *key)
        .find(|key| key.as_bytes() == name)
}

/// libssh2's number for an error.
pub(super) fn code(error: &ssh2::Error) -> i32 {
    match error.code() {
        ErrorCode::Session(code) | ErrorCode::SFTP(code) => code,
    }
}

fn handshake_failed(error: &ssh2::Error) -> Reason {
    match code(error) {
        -5 | -8 | -33 => {
            let text = "no key exchange, cipher or host key algorithm in common with the system";
            Reason::system(Class::Incompatible, text)
        }
        // One dropped connection says nothing about the system: it may have too many just now.
        _ => {
            let text = "the system ended the connection before the key exchange: too many \
                        connections, or no SSH server";
            Reason::account(Class::Unreachable, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_algorithm_is_preferred() {
        assert!(preference(None).starts_with("ssh-ed25519,ecdsa-sha2-nistp256,"));
        let pin = HostKey {
            algorithm: "ssh-rsa".into(),
            sha256: [0; 32],
        };
        let names = preference(Some(&pin));
        assert!(names.starts_with("rsa-sha2-512,rsa-sha2-256,ssh-ed25519,"));
        assert_eq!(names.matches("rsa-sha2-512").count(), 1);
    }

    #[test]
    fn a_key_blob_that_lies_about_its_length_has_no_type() {
        assert_eq!(key_type(b"\0\0\0\x0bssh-ed25519rest"), Some("ssh-ed25519"));
        for blob in [
            &b""[..],
            b"\0\0",
            b"\xff\xff\xff\xffssh-ed25519",
            b"\0\0\0\x03ssh-",
        ] {
            assert_eq!(key_type(blob), None);
        }
    }
}
