//! Stands between a directory and the LDAP library: lets only well-formed answers through.
//!
//! The library's parser recurses without limit, buffers whatever length a server declares and
//! panics on shapes that it does not expect, all before any login.
//!
//! Invariant: no byte of an answer is passed on before its whole message was found sound.

use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::ber::{self, Element, Malformed};

/// The longest message, in bytes. A password reset's answer has under a hundred.
pub(super) const MESSAGE_MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of one message. A search entry with controls needs six.
const DEPTH_MAX: usize = 16;
/// How much is read at once, in bytes: one TLS record.
const CHUNK_BYTES: usize = 16 << 10;

/// Why a guarded connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// One of the sides closed it.
    Closed,
    /// The server announced the end itself.
    Notice,
    /// The server sent what no directory sends.
    Violation(&'static str),
}

/// Where the ending is written once, for whoever asks why an answer is missing.
pub(super) type EndingSlot = Arc<OnceLock<Ending>>;

/// Carries bytes between the server and the library until one of them ends, then closes both.
pub(super) async fn relay<S>(server: S, library: UnixStream, slot: EndingSlot)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut from_library, mut to_library) = library.into_split();
    let ending = tokio::select! {
        () = outward(&mut from_library, &mut to_server) => Ending::Closed,
        ending = inward(&mut from_server, &mut to_library) => ending,
    };
    // Written first: whoever sees the streams close must find the reason.
    slot.get_or_init(|| ending);
    drop(to_library);
    // A server that reads nothing must not keep this task; the socket closes with it anyway.
    drop(tokio::time::timeout(std::time::Duration::from_secs(1), to_server.shutdown()).await);
}

/// Requests: as they are, for they are ours.
async fn outward<R, W>(library: &mut R, server: &mut W)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut chunk = Zeroizing::new(vec![0_u8; CHUNK_BYTES]);
    while let Ok(size @ 1..) = library.read(&mut chunk).await {
        let Some(bytes) = chunk.get(..size) else {
            return;
        };
        if server.write_all(bytes).await.is_err() || server.flush().await.is_err() {
            return;
        }
    }
}

/// Answers: whole and sound messages only.
async fn inward<R, W>(server: &mut R, library: &mut W) -> Ending
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut held = Vec::with_capacity(CHUNK_BYTES);
    loop {
        match server.read_buf(&mut held).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Ending::Closed,
        }
        let sound = match sound_prefix(&held) {
            Ok(size) => size,
            Err(ending) => return ending,
        };
        if let Some(bytes) = held.get(..sound)
            && !bytes.is_empty()
        {
            if library.write_all(bytes).await.is_err() {
                return Ending::Closed;
            }
            held.drain(..sound);
        }
    }
}

/// How many of the held bytes are whole and sound messages.
fn sound_prefix(held: &[u8]) -> Result<usize, Ending> {
    let mut sound = 0;
    loop {
        let rest = held.get(sound..).unwrap_or_default();
        let Some(size) = message_size(rest)? else {
            return Ok(sound);
        };
        let Some(message) = rest.get(..size) else {
            return Ok(sound);
        };
        inspect(message)?;
        sound += size;
    }
}

/// The whole size of the message that the bytes begin with, in bytes; `None` until it is told.
pub(super) fn message_size(bytes: &[u8]) -> Result<Option<usize>, Ending> {
    // Told apart at the first byte: a web server's answer would declare a plausible length.
    if bytes.first().is_some_and(|&tag| tag != 0x30) {
        return Err(Ending::Violation("what answers is no LDAP server"));
    }
    match ber::header(bytes) {
        Ok((_, head, size)) if head.saturating_add(size) <= MESSAGE_MAX_BYTES => {
            Ok(Some(head + size))
        }
        Ok(_) => Err(Ending::Violation(
            "the directory announced a message over 1 MiB",
        )),
        Err(Malformed::Short) => Ok(None),
        Err(Malformed::Form) => Err(Ending::Violation("a message without a definite length")),
    }
}

/// Finds one whole message sound, or says what is wrong with it.
///
/// Source: RFC 4511 4.1.1 and 4.1.9; what the library would panic on is refused as well.
pub(super) fn inspect(message: &[u8]) -> Result<(), Ending> {
    walk(message)?;
    let shape = Ending::Violation("a message of the wrong shape");
    let envelope = ber::expect(0x30, message).ok_or(shape)?;
    let id = ber::expect(0x02, envelope.body).ok_or(shape)?;
    if ber::number(id.body).ok_or(shape)? == 0 {
        return Err(Ending::Notice);
    }
    let operation = ber::split(id.rest).map_err(|_| shape)?;
    let fits = match operation.tag {
        0x61 | 0x65 | 0x67 | 0x69 | 0x6b | 0x6d | 0x6f | 0x78 => is_result(operation.body),
        0x64 => is_entry(operation.body),
        0x73 | 0x79 => true,
        _ => false,
    };
    let follows = operation.rest.is_empty()
        || ber::expect(0xa0, operation.rest)
            .is_some_and(|controls| controls.rest.is_empty() && every(controls.body, is_control));
    if fits && follows { Ok(()) } else { Err(shape) }
}

/// Visits every element without recursion: definite lengths, children inside parents, bounded
/// depth.
fn walk(message: &[u8]) -> Result<(), Ending> {
    let mut open = vec![message];
    while let Some(bytes) = open.pop() {
        if bytes.is_empty() {
            continue;
        }
        let element = ber::split(bytes)
            .map_err(|_| Ending::Violation("an element longer than what holds it"))?;
        open.push(element.rest);
        if element.constructed() {
            if open.len() > DEPTH_MAX {
                return Err(Ending::Violation("a message nested too deep"));
            }
            open.push(element.body);
        }
    }
    Ok(())
}

/// True if the bytes are a row of elements that all fit.
fn every(mut bytes: &[u8], fits: impl Fn(Element<'_>) -> bool) -> bool {
    while !bytes.is_empty() {
        match ber::split(bytes) {
            Ok(element) if fits(element) => bytes = element.rest,
            _ => return false,
        }
    }
    true
}

fn is_text(element: Element<'_>) -> bool {
    element.tag == 0x04 && std::str::from_utf8(element.body).is_ok()
}

/// `LDAPResult`: a code, two texts, then referrals and an operation's own parts.
fn is_result(body: &[u8]) -> bool {
    let Some(code) = ber::expect(0x0a, body) else {
        return false;
    };
    let texts = ber::split(code.rest)
        .ok()
        .filter(|first| is_text(*first))
        .and_then(|matched| {
            ber::split(matched.rest)
                .ok()
                .filter(|second| is_text(*second))
                .map(|second| second.rest)
        });
    ber::number(code.body).is_some()
        && texts.is_some_and(|parts| {
            every(parts, |part| match part.tag {
                0xa3 => every(part.body, is_text),
                0x8a => std::str::from_utf8(part.body).is_ok(),
                // The library looks at the number alone, so another class may not borrow it.
                tag => tag == 0x87 || tag == 0x8b || !matches!(tag & 0x1f, 3 | 7 | 10 | 11),
            })
        })
}

/// `SearchResultEntry`: a name and a row of attributes with their values.
fn is_entry(body: &[u8]) -> bool {
    let Ok(name) = ber::split(body) else {
        return false;
    };
    let Some(attributes) = ber::expect(0x30, name.rest) else {
        return false;
    };
    is_text(name)
        && every(attributes.body, |attribute| {
            let Ok(kind) = ber::split(attribute.body) else {
                return false;
            };
            attribute.tag == 0x30
                && is_text(kind)
                && ber::expect(0x31, kind.rest)
                    .is_some_and(|values| every(values.body, |value| value.tag == 0x04))
        })
}

/// `Control`: an object identifier, perhaps whether it is critical, perhaps a value.
fn is_control(control: Element<'_>) -> bool {
    let Ok(kind) = ber::split(control.body) else {
        return false;
    };
    let value = match ber::expect(0x01, kind.rest) {
        Some(critical) if critical.body.len() == 1 => critical.rest,
        Some(_) => return false,
        None => kind.rest,
    };
    let last =
        value.is_empty() || ber::expect(0x04, value).is_some_and(|value| value.rest.is_empty());
    control.tag == 0x30 && is_text(kind) && last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sound bind response with message id 1.
    const BIND: [u8; 14] = [0x30, 12, 2, 1, 1, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0];

    fn nested(levels: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..levels {
            let mut outer = vec![0x30, 0x82];
            outer.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
            outer.extend(&bytes);
            bytes = outer;
        }
        bytes
    }

    fn violates(message: &[u8]) -> bool {
        matches!(sound_prefix(message), Err(Ending::Violation(_)))
    }

    #[test]
    fn whole_messages_pass_and_a_torn_one_waits() {
        let mut held = BIND.to_vec();
        held.extend(BIND);
        held.extend(&BIND[..5]);
        assert_eq!(sound_prefix(&held), Ok(28));
        for cut in 0..BIND.len() {
            assert_eq!(sound_prefix(&BIND[..cut]), Ok(0), "{cut} bytes");
        }
    }

    #[test]
    fn an_answer_with_a_ppolicy_control_passes() {
        let oid = b"1.3.6.1.4.1.42.2.27.8.5.1";
        let mut control = vec![0x04, u8::try_from(oid.len()).unwrap()];
        control.extend(oid);
        control.extend([0x04, 5, 0x30, 3, 0x81, 1, 2]);
        let mut controls = vec![0x30, u8::try_from(control.len()).unwrap()];
        controls.extend(control);
        let mut message = BIND[2..].to_vec();
        message.extend([0xa0, u8::try_from(controls.len()).unwrap()]);
        message.extend(controls);
        let mut whole = vec![0x30, u8::try_from(message.len()).unwrap()];
        whole.extend(message);
        assert_eq!(inspect(&whole), Ok(()));
    }

    #[test]
    fn a_server_that_says_goodbye_is_told_from_a_hostile_one() {
        let mut goodbye = BIND;
        goodbye[4] = 0;
        goodbye[5] = 0x78;
        assert_eq!(inspect(&goodbye), Err(Ending::Notice));
    }

    #[test]
    fn hostile_messages_are_stopped() {
        let mut not_utf8 = vec![0x30, 13, 2, 1, 1, 0x61, 8, 0x0a, 1, 0, 4, 0, 4, 1];
        not_utf8.push(0xff);
        let hostile: [(&str, Vec<u8>); 8] = [
            ("nested 7,600 deep", nested(7_600)),
            ("declares 2 GiB", vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]),
            (
                "child longer than its parent",
                vec![0x30, 5, 2, 1, 1, 0x61, 0x50],
            ),
            ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            ("text that is no UTF-8", not_utf8),
            ("an empty message", vec![0x30, 0]),
            ("an empty operation", vec![0x30, 5, 2, 1, 1, 0x61, 0]),
            ("an indefinite length", vec![0x30, 0x80, 2, 1, 1]),
        ];
        for (what, message) in hostile {
            assert!(violates(&message), "{what}");
        }
    }

    #[test]
    fn any_change_of_one_byte_neither_panics_nor_grows_the_message() {
        for at in 0..BIND.len() {
            for byte in 0..=u8::MAX {
                let mut message = BIND;
                message[at] = byte;
                if let Ok(size) = sound_prefix(&message) {
                    assert!(size <= message.len());
                }
            }
        }
    }
}
