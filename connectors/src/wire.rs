//! What the service and a connector process say to each other, and how it is framed.
//!
//! A frame is four bytes of length, the most significant first, and so many bytes of one message
//! in postcard's format. No type here holds itself, so that a message's depth is bounded by its
//! type, as its size is by [`FRAME_MAX_BYTES`].
//!
//! Invariant: a message is taken whole and exactly, or not at all, and every buffer that held one
//! is wiped.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, de};
use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroizing;

use crate::{
    Account, CanonicalIdentity, Changed, Checked, Credential, Evidence, Functional, Identity,
    Listing, Query, Reason, Target,
};

/// The longest message. Certificate bundles and listings are the longest parts of any.
pub const FRAME_MAX_BYTES: usize = 1_048_576;
/// The longest text of a [`Reason`].
const SENTENCE_MAX_BYTES: usize = 1_000;
/// The longest name of an algorithm or a flavour.
const WORD_MAX_BYTES: usize = 64;
/// The length in front of a message.
const HEAD_BYTES: usize = 4;

/// Why a message could not be sent or taken. Texts name no byte of it.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Split what was asked for, or make it smaller.
    #[error("a message of {length} bytes is longer than {FRAME_MAX_BYTES}")]
    TooLong {
        /// What it would have, or claims to have.
        length: usize,
    },
    /// End the other side: it does not keep to the format.
    #[error("a message does not keep to the format")]
    Malformed,
    /// The other side is gone.
    #[error("the connection was lost: {0}")]
    Lost(#[from] std::io::Error),
}

/// From the service to a connector process.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToProcess {
    /// Answer this; calls overlap.
    Call {
        /// Told again in the answer. Never used twice.
        id: u64,
        /// What to do.
        call: Box<Call>,
    },
    /// Nobody waits for this answer any more: stop, and say [`Answer::Cancelled`] unless the
    /// answer was sent before.
    Cancel {
        /// Of the call.
        id: u64,
    },
    /// Drop this session without a farewell.
    Forget {
        /// Its number.
        session: u64,
    },
    /// Say [`FromProcess::Pong`].
    Ping {
        /// Told again.
        number: u64,
    },
}

/// What a connector process is asked to do. The caller numbers the sessions.
#[derive(Debug, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields are the parameters of `Connector` and `Session`"
)]
pub enum Call {
    /// [`crate::Connector::identify`].
    Identify { target: Target },
    /// [`crate::Connector::open`].
    Open {
        session: u64,
        target: Target,
        functional: Option<Functional>,
    },
    /// [`crate::Session::change`].
    Change {
        session: u64,
        account: Account,
        new: Credential,
        current: Option<Credential>,
    },
    /// [`crate::Session::check`].
    Check {
        session: u64,
        account: Account,
        credential: Credential,
    },
    /// [`crate::Session::evidence`].
    Evidence {
        session: u64,
        account: Account,
        candidate: Credential,
        current: Option<Credential>,
    },
    /// [`crate::Session::retire`].
    Retire {
        session: u64,
        account: Account,
        old: Credential,
    },
    /// [`crate::Session::list`].
    List { session: u64, query: Query },
    /// [`crate::Session::identities`].
    Identities {
        session: u64,
        accounts: Vec<Account>,
    },
    /// [`crate::Session::close`].
    Close { session: u64 },
}

/// From a connector process to the service.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromProcess {
    /// The first message, once.
    Hello(Hello),
    /// To one call; every call has exactly one.
    Answer {
        /// Of the call.
        id: u64,
        /// What came of it.
        answer: Answer,
    },
    /// To [`ToProcess::Ping`].
    Pong {
        /// As it was asked.
        number: u64,
    },
}

/// What came of a [`Call`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Call::Identify`].
    Identified(Result<Identity, Reason>),
    /// To [`Call::Open`].
    Opened(Result<(), Reason>),
    /// To [`Call::Change`] and [`Call::Retire`].
    Changed(Changed),
    /// To [`Call::Check`].
    Checked(Checked),
    /// To [`Call::Evidence`].
    Evidence(Evidence),
    /// To [`Call::List`].
    Listed(Result<Listing, Reason>),
    /// To [`Call::Identities`].
    Identities(Result<Vec<Option<CanonicalIdentity>>, Reason>),
    /// To [`Call::Close`].
    Closed,
    /// To whatever was cancelled.
    Cancelled,
}

/// What a connector process says of itself before it takes a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The connector that it serves.
    #[serde(deserialize_with = "word")]
    pub connector: String,
    /// How it is confined.
    pub confinement: Confinement,
}

/// How a connector process is confined, as it found by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each was tried by itself")]
pub struct Confinement {
    /// Its user.
    pub user: u32,
    /// How much of Landlock the kernel has.
    pub landlock: Enforced,
    /// Whether a seccomp filter stands.
    pub seccomp: bool,
    /// A file that it has no use for could be read.
    pub reads_files: bool,
    /// A file could be made.
    pub writes_files: bool,
    /// A program could be started.
    pub starts_programs: bool,
    /// It holds a capability.
    pub capable: bool,
}

/// How much of a confinement the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforced {
    /// All that was asked for.
    Fully,
    /// An older kernel: a part.
    Partly,
    /// Nothing.
    No,
}

/// Makes a frame.
///
/// # Errors
/// [`WireError::TooLong`]; nothing was made.
pub fn encode(message: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let sized = postcard::ser_flavors::Size::default();
    let length =
        postcard::serialize_with_flavor(message, sized).map_err(|_| WireError::Malformed)?;
    let head = u32::try_from(length)
        .ok()
        .filter(|_| length <= FRAME_MAX_BYTES)
        .ok_or(WireError::TooLong { length })?;
    // Made in its full length: a buffer that grows leaves copies behind.
    let mut frame = Zeroizing::new(vec![0; HEAD_BYTES + length]);
    let (start, body) = frame.split_at_mut(HEAD_BYTES);
    start.copy_from_slice(&head.to_be_bytes());
    postcard::to_slice(message, body).map_err(|_| WireError::Malformed)?;
    Ok(frame)
}

/// Takes a message out of a frame's body.
///
/// # Errors
/// [`WireError::Malformed`], also for bytes left over.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::Malformed),
    }
}

/// Reads the next message; `None` if the other side has ended between two.
///
/// # Errors
/// [`WireError`]: nothing more can be read.
pub async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, WireError> {
    let mut head = [0; HEAD_BYTES];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > FRAME_MAX_BYTES {
        return Err(WireError::TooLong { length });
    }
    let mut body = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut body).await?;
    decode(&body).map(Some)
}

/// Takes a sentence of ours: printable, and no longer than one.
pub(crate) fn sentence<'de, D: Deserializer<'de>>(from: D) -> Result<Cow<'static, str>, D::Error> {
    let text = String::deserialize(from)?;
    if text.len() > SENTENCE_MAX_BYTES || text.chars().any(char::is_control) {
        return Err(de::Error::custom("no sentence"));
    }
    Ok(text.into())
}

/// Takes a name: printable ASCII without spaces.
pub(crate) fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.len() > WORD_MAX_BYTES || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(de::Error::custom("no word"));
    }
    Ok(text)
}

/// Secrets in messages.
pub(crate) mod secret {
    use secrecy::ExposeSecret;
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    use crate::Secret;

    #[expect(
        clippy::disallowed_methods,
        reason = "hands it to the process that speaks with its target"
    )]
    pub(crate) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return Err(ser::Error::custom("a secret has no readable form"));
        }
        to.serialize_str(secret.expose_secret())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        if from.is_human_readable() {
            return Err(de::Error::custom("a secret has no readable form"));
        }
        // One allocation of the exact length, which the secret then owns and wipes.
        String::deserialize(from).map(Secret::from)
    }
}

/// The same for a secret that may be missing.
#[cfg(feature = "dialogue")]
pub(crate) mod optional_secret {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Secret;

    #[derive(Serialize)]
    struct Lent<'a>(#[serde(serialize_with = "super::secret::serialize")] &'a Secret);

    #[derive(Deserialize)]
    struct Owned(#[serde(deserialize_with = "super::secret::deserialize")] Secret);

    #[expect(clippy::ref_option, reason = "serde hands the field over")]
    pub(crate) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Lent).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<Owned>::deserialize(from)?.map(|owned| owned.0))
    }
}

#[cfg(test)]
mod tests;
