//! Opens KeePass files: KDBX 3.1 and 4, with a password.
//!
//! Such a file comes from outside: what it asks for in memory and time is bounded before anything is
//! done for it.
//!
//! Invariant: an error says which block is at fault, and holds no byte of the file; what was opened
//! is wiped when it is dropped.
//!
//! Source: the KDBX pages of the KeePass help centre, "KDBX 4" and "KDBX 3.1 file format".

mod kdf;

use std::collections::HashMap;
use std::io::Read;

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, digest, hmac};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use flate2::read::GzDecoder;
use salsa20::Salsa20;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use kdf::Kdf;

/// Longest content, unpacked: a packed file of a megabyte could be a thousand times as long.
const CONTENT_MAX_BYTES: u64 = 32 * 1_024 * 1_024;

/// Why a file was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KdbxError {
    /// Give the right password.
    #[error("the password does not open the file")]
    WrongPassword,
    /// Save it in another way.
    #[error("the file uses {0}, which is not read here")]
    Unsupported(&'static str),
    /// Save it with smaller settings.
    #[error("the file asks for {0}: save it with smaller settings")]
    TooCostly(&'static str),
    /// Save it anew.
    #[error("the file is broken in its {0}")]
    Broken(&'static str),
}

type Bytes = Zeroizing<Vec<u8>>;

/// What a file holds.
pub struct Unlocked {
    /// Its XML.
    pub xml: Bytes,
    stream: Stream,
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unlocked")
    }
}

/// What protected values are hidden under, one after the other.
enum Stream {
    None,
    Salsa20(Box<Salsa20>),
    ChaCha20(Box<ChaCha20>),
}

impl Unlocked {
    /// Uncovers the next protected value, in the order of the XML.
    pub fn uncover(&mut self, value: &mut [u8]) {
        match &mut self.stream {
            Stream::None => {}
            Stream::Salsa20(stream) => stream.apply_keystream(value),
            Stream::ChaCha20(stream) => stream.apply_keystream(value),
        }
    }
}

/// Opens a file.
///
/// # Errors
/// [`KdbxError`].
pub fn unlock(file: &[u8], password: &SecretString) -> Result<Unlocked, KdbxError> {
    let mut source = Source(file);
    let header = Header::read(&mut source)?;
    let length = file.len() - source.0.len();
    let head = file.get(..length).unwrap_or_default();
    if header.major == 3 {
        let transformed = header.transformed(password)?;
        return header.third(source.0, &transformed);
    }
    // Before any work: what was damaged is told from a wrong password.
    if source.take(32, "header's hash")? != sha256(&[head]).as_slice() {
        return Err(KdbxError::Broken("header: its hash is wrong"));
    }
    let transformed = header.transformed(password)?;
    header.fourth(head, source, &transformed)
}

/// Bytes that are taken from their beginning.
#[derive(Clone, Copy)]
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], KdbxError> {
        let cut = self.0.split_at_checked(count);
        let (taken, rest) = cut.ok_or(KdbxError::Broken(what))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A whole number, the least byte first.
    fn number(&mut self, bytes: usize, what: &'static str) -> Result<u64, KdbxError> {
        Ok(whole(self.take(bytes, what)?))
    }

    fn sized(&mut self, bytes: usize, what: &'static str) -> Result<&'a [u8], KdbxError> {
        let count = self.number(bytes, what)?;
        let count = usize::try_from(count).map_err(|_| KdbxError::Broken(what))?;
        self.take(count, what)
    }
}

fn whole(bytes: &[u8]) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    bytes.iter().rev().take(8).fold(0, add)
}

fn sha256(parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(hashed(&digest::SHA256, parts))
}

fn sha512(parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    Zeroizing::new(hashed(&digest::SHA512, parts))
}

fn hashed<const N: usize>(how: &'static digest::Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = digest::Context::new(how);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; N];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}

fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], KdbxError> {
    bytes.try_into().map_err(|_| KdbxError::Broken(what))
}

/// How the content is encrypted.
#[derive(Clone, Copy)]
enum Cipher {
    Aes,
    ChaCha20,
}

/// What stands before the content, in the clear.
struct Header {
    major: u64,
    cipher: Cipher,
    packed: bool,
    master_seed: Vec<u8>,
    iv: Vec<u8>,
    kdf: Kdf,
    /// Of KDBX 3.1: the stream's kind and key, and what the content begins with.
    stream: (u64, Vec<u8>),
    begins: Vec<u8>,
}

impl Header {
    fn read(source: &mut Source<'_>) -> Result<Self, KdbxError> {
        const WHAT: &str = "header";
        if source.take(8, "signature")? != [3, 0xd9, 0xa2, 0x9a, 0x67, 0xfb, 0x4b, 0xb5] {
            return Err(KdbxError::Broken("signature: it is no KDBX file"));
        }
        source.number(2, "version")?;
        let major = source.number(2, "version")?;
        let size = match major {
            3 => 2,
            4 => 4,
            _ => return Err(KdbxError::Unsupported("another version than 3.1 or 4")),
        };
        let mut fields: HashMap<u64, &[u8]> = HashMap::new();
        loop {
            let kind = source.number(1, WHAT)?;
            let value = source.sized(size, WHAT)?;
            if kind == 0 {
                break;
            }
            fields.insert(kind, value);
        }
        let field = |kind: u64, what| fields.get(&kind).copied().ok_or(KdbxError::Broken(what));
        let kdf = if major == 3 {
            let seed = field(5, "transform seed")?;
            Kdf::aes(seed, whole(field(6, "transform rounds")?))?
        } else {
            Kdf::read(field(11, "key derivation")?)?
        };
        let third = |kind: u64| fields.get(&kind).copied().unwrap_or_default().to_vec();
        Ok(Self {
            major,
            cipher: cipher(field(2, "cipher")?)?,
            packed: match whole(field(3, "compression")?) {
                0 => false,
                1 => true,
                _ => return Err(KdbxError::Unsupported("another compression than gzip")),
            },
            master_seed: field(4, "master seed")?.to_vec(),
            iv: field(7, "initialisation vector")?.to_vec(),
            kdf,
            stream: (whole(&third(10)), third(8)),
            begins: third(9),
        })
    }

    /// The password's key, after all its rounds.
    fn transformed(&self, password: &SecretString) -> Result<Zeroizing<[u8; 32]>, KdbxError> {
        #[expect(clippy::disallowed_methods, reason = "the file's key is made of it")]
        let hash = sha256(&[password.expose_secret().as_bytes()]);
        let composite = sha256(&[hash.as_slice()]);
        self.kdf.transform(&composite)
    }

    fn master_key(&self, transformed: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        sha256(&[&self.master_seed, transformed])
    }

    fn decrypted(&self, key: &[u8; 32], mut bytes: Bytes) -> Result<Bytes, KdbxError> {
        const WHAT: KdbxError = KdbxError::Broken("encrypted content");
        match self.cipher {
            Cipher::Aes => {
                let iv: [u8; 16] = fixed(&self.iv, "initialisation vector")?;
                let key = UnboundCipherKey::new(&AES_256, key).map_err(|_| WHAT)?;
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| WHAT)?;
                let context = DecryptionContext::Iv128(FixedLength::from(iv));
                let plain = key.decrypt(&mut bytes, context).map_err(|_| WHAT)?;
                let length = plain.len();
                bytes.truncate(length);
            }
            Cipher::ChaCha20 => {
                let iv: [u8; 12] = fixed(&self.iv, "initialisation vector")?;
                ChaCha20::new(&(*key).into(), &iv.into()).apply_keystream(&mut bytes);
            }
        }
        Ok(bytes)
    }

    fn unpacked(&self, bytes: Bytes) -> Result<Bytes, KdbxError> {
        if !self.packed {
            return Ok(bytes);
        }
        let mut content = Zeroizing::new(Vec::new());
        let mut reader = GzDecoder::new(bytes.as_slice()).take(CONTENT_MAX_BYTES + 1);
        let read = reader.read_to_end(&mut content);
        read.map_err(|_| KdbxError::Broken("compressed content"))?;
        if content.len() as u64 > CONTENT_MAX_BYTES {
            return Err(KdbxError::TooCostly("more than 32 MiB of content"));
        }
        Ok(content)
    }

    /// KDBX 3.1: encrypted as a whole, then in blocks with their hashes.
    fn third(&self, content: &[u8], transformed: &[u8; 32]) -> Result<Unlocked, KdbxError> {
        const WHAT: &str = "blocks";
        let key = self.master_key(transformed);
        // With a wrong key nearly all paddings are wrong, too.
        let plain = self.decrypted(&key, Zeroizing::new(content.to_vec()));
        let plain = plain.map_err(|_| KdbxError::WrongPassword)?;
        if self.begins.len() != 32 || !plain.starts_with(&self.begins) {
            return Err(KdbxError::WrongPassword);
        }
        let mut source = Source(plain.get(32..).unwrap_or_default());
        let mut packed = Zeroizing::new(Vec::with_capacity(plain.len()));
        loop {
            source.take(4, WHAT)?;
            let hash = source.take(32, WHAT)?;
            let block = source.sized(4, WHAT)?;
            if block.is_empty() {
                break;
            }
            if sha256(&[block]).as_slice() != hash {
                return Err(KdbxError::Broken("blocks: a hash is wrong"));
            }
            packed.extend_from_slice(block);
        }
        Ok(Unlocked {
            xml: self.unpacked(packed)?,
            stream: stream(self.stream.0, &self.stream.1)?,
        })
    }

    /// KDBX 4: blocks with their marks, then encrypted as a whole.
    fn fourth(
        &self,
        head: &[u8],
        mut source: Source<'_>,
        transformed: &[u8; 32],
    ) -> Result<Unlocked, KdbxError> {
        const WHAT: &str = "blocks";
        let base = sha512(&[&self.master_seed, transformed, &[1]]);
        let marked = |number: u64, parts: &[&[u8]], mark: &[u8]| {
            let key = sha512(&[&number.to_le_bytes(), base.as_slice()]);
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_slice());
            let mut context = hmac::Context::with_key(&key);
            for part in parts {
                context.update(part);
            }
            constant_time::verify_slices_are_equal(context.sign().as_ref(), mark).is_ok()
        };
        if !marked(u64::MAX, &[head], source.take(32, "header's mark")?) {
            return Err(KdbxError::WrongPassword);
        }
        let mut content = Zeroizing::new(Vec::with_capacity(source.0.len()));
        for number in 0.. {
            let mark = source.take(32, WHAT)?;
            let mut sizes = source;
            let size = sizes.take(4, WHAT)?;
            let block = source.sized(4, WHAT)?;
            if !marked(number, &[&number.to_le_bytes(), size, block], mark) {
                return Err(KdbxError::Broken("blocks: a mark is wrong"));
            }
            if block.is_empty() {
                break;
            }
            content.extend_from_slice(block);
        }
        let plain = self.decrypted(&self.master_key(transformed), content)?;
        let plain = self.unpacked(plain)?;
        let (xml, kind, key) = inner(&plain)?;
        Ok(Unlocked {
            stream: stream(kind, key)?,
            xml: Zeroizing::new(xml.to_vec()),
        })
    }
}

/// The header before the XML of KDBX 4: the XML, and the stream's kind and key.
fn inner(content: &[u8]) -> Result<(&[u8], u64, &[u8]), KdbxError> {
    const WHAT: &str = "inner header";
    let mut source = Source(content);
    let (mut kind, mut key): (u64, &[u8]) = (0, &[]);
    loop {
        let field = source.number(1, WHAT)?;
        let value = source.sized(4, WHAT)?;
        match field {
            0 => return Ok((source.0, kind, key)),
            1 => kind = whole(value),
            2 => key = value,
            _ => {} // attachments
        }
    }
}

fn stream(kind: u64, key: &[u8]) -> Result<Stream, KdbxError> {
    const NONCE: [u8; 8] = [0xe8, 0x30, 0x09, 0x4b, 0x97, 0x20, 0x5d, 0x2a];
    match kind {
        0 => Ok(Stream::None),
        2 => {
            let key = sha256(&[key]);
            let stream = Salsa20::new(&(*key).into(), &NONCE.into());
            Ok(Stream::Salsa20(Box::new(stream)))
        }
        3 => {
            let both = sha512(&[key]);
            let (key, rest) = both.split_at(32);
            let key: [u8; 32] = fixed(key, "stream key")?;
            let nonce: [u8; 12] = fixed(rest.get(..12).unwrap_or_default(), "stream key")?;
            let stream = ChaCha20::new(&key.into(), &nonce.into());
            Ok(Stream::ChaCha20(Box::new(stream)))
        }
        _ => Err(KdbxError::Unsupported("an old stream for protected values")),
    }
}

const AES_CIPHER: u128 = 0x31c1_f2e6_bf71_4350_be58_0521_6afc_5aff;
const CHACHA20_CIPHER: u128 = 0xd603_8a2b_8b6f_4cb5_a524_339a_31db_b59a;

fn cipher(id: &[u8]) -> Result<Cipher, KdbxError> {
    match u128::from_be_bytes(fixed(id, "cipher")?) {
        AES_CIPHER => Ok(Cipher::Aes),
        CHACHA20_CIPHER => Ok(Cipher::ChaCha20),
        _ => Err(KdbxError::Unsupported(
            "another cipher than AES-256 and ChaCha20",
        )),
    }
}

#[cfg(test)]
mod tests;
