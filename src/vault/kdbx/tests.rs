//! Files that another program has written, and files that nobody should have.

use keepass::config::{CompressionConfig, DatabaseConfig, KdfConfig, OuterCipherConfig};
use keepass::db::fields;
use keepass::{Database, DatabaseKey};

use super::*;

const PASSWORD: &str = "Schlüssel 7731";

fn aes(rounds: u64) -> KdfConfig {
    KdfConfig::Aes { rounds }
}

fn argon2(memory: u64, iterations: u64) -> KdfConfig {
    let KdfConfig::Argon2 { version, .. } = DatabaseConfig::default().kdf_config else {
        panic!("the library's default is another");
    };
    KdfConfig::Argon2id {
        iterations,
        memory,
        parallelism: 2,
        version,
    }
}

/// A KDBX 4 file with one entry, written by a library of its own.
fn file(kdf: KdfConfig, cipher: OuterCipherConfig, compression: CompressionConfig) -> Vec<u8> {
    let mut config = DatabaseConfig::default();
    config.kdf_config = kdf;
    config.outer_cipher_config = cipher;
    config.compression_config = compression;
    let mut database = Database::with_config(config);
    let mut root = database.root_mut();
    let mut entry = root.add_entry();
    entry.set_unprotected(fields::TITLE, "Web");
    entry.set_protected(fields::PASSWORD, "value-7731");
    let mut bytes = Vec::new();
    let key = DatabaseKey::new().with_password(PASSWORD);
    database.save(&mut bytes, key).unwrap();
    bytes
}

fn small() -> Vec<u8> {
    file(aes(10), OuterCipherConfig::AES256, CompressionConfig::GZip)
}

fn opened(file: &[u8], password: &str) -> Result<Unlocked, KdbxError> {
    unlock(file, &SecretString::from(password))
}

#[test]
fn what_another_program_wrote_is_read() {
    for (kdf, cipher, compression) in [
        (aes(10), OuterCipherConfig::AES256, CompressionConfig::GZip),
        (
            aes(10),
            OuterCipherConfig::ChaCha20,
            CompressionConfig::None,
        ),
        (
            argon2(64 * 1_024, 2),
            OuterCipherConfig::ChaCha20,
            CompressionConfig::GZip,
        ),
    ] {
        let bytes = file(kdf, cipher, compression);
        let found = opened(&bytes, PASSWORD).unwrap();
        let xml = std::str::from_utf8(&found.xml).unwrap();
        assert!(xml.contains("<Value>Web</Value>"), "{xml}");
        assert!(!xml.contains("value-7731"), "{xml}");
        let wrong = opened(&bytes, "another").unwrap_err();
        assert_eq!(wrong, KdbxError::WrongPassword);
    }
}

#[test]
fn a_file_that_was_cut_or_turned_is_refused_in_words() {
    let whole = small();
    for length in 0..whole.len() {
        assert!(opened(&whole[..length], PASSWORD).is_err(), "{length}");
    }
    for at in 0..whole.len() {
        let mut turned = whole.clone();
        turned[at] ^= 0x41;
        assert!(opened(&turned, PASSWORD).is_err(), "{at}");
    }
}

#[test]
fn a_file_that_asks_for_too_much_is_refused_at_once() {
    let whole = file(
        argon2(64 * 1_024, 2),
        OuterCipherConfig::AES256,
        CompressionConfig::GZip,
    );
    let name = |key: &[u8]| {
        let found = whole.windows(key.len()).position(|some| some == key);
        found.unwrap() + key.len()
    };
    // Name, its value's length, its value: memory in bytes, and passes.
    for (key, value) in [
        (&b"\x01\0\0\0M\x08\0\0\0"[..], u64::MAX),
        (b"\x01\0\0\0M\x08\0\0\0", 1 << 40),
        (b"\x01\0\0\0I\x08\0\0\0", u64::MAX),
    ] {
        let at = name(key);
        let mut costly = whole.clone();
        costly[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let refused = opened(&costly, PASSWORD).unwrap_err();
        assert!(matches!(refused, KdbxError::TooCostly(_)), "{refused:?}");
    }
    let rounds = file(aes(10), OuterCipherConfig::AES256, CompressionConfig::GZip);
    let key = b"\x01\0\0\0R\x08\0\0\0";
    let at = rounds.windows(key.len()).position(|some| some == key);
    let at = at.unwrap() + key.len();
    let mut costly = rounds;
    costly[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let refused = opened(&costly, PASSWORD).unwrap_err();
    assert!(matches!(refused, KdbxError::TooCostly(_)), "{refused:?}");
}

#[test]
fn nothing_else_is_taken_for_such_a_file() {
    for bytes in [&b""[..], b"PK\x03\x04", &[0; 100], &[0xff; 5_000]] {
        assert!(opened(bytes, PASSWORD).is_err());
    }
    let mut old = small();
    old[10] = 9;
    let refused = opened(&old, PASSWORD).unwrap_err();
    assert!(matches!(refused, KdbxError::Unsupported(_)), "{refused:?}");
}

/// A field of the header of KDBX 3.1.
fn field(into: &mut Vec<u8>, kind: u8, value: &[u8]) {
    into.push(kind);
    into.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
    into.extend_from_slice(value);
}

/// A KDBX 3.1 file, written by hand after its page; a library of its own reads it, too.
fn third(xml: &[u8]) -> Vec<u8> {
    use aws_lc_rs::cipher::{EncryptionContext, PaddedBlockEncryptingKey};
    let mut head = vec![3, 0xd9, 0xa2, 0x9a, 0x67, 0xfb, 0x4b, 0xb5, 1, 0, 3, 0];
    field(&mut head, 2, &AES_CIPHER.to_be_bytes());
    field(&mut head, 3, &0_u32.to_le_bytes());
    field(&mut head, 4, &[4; 32]);
    field(&mut head, 5, &[5; 32]);
    field(&mut head, 6, &7_u64.to_le_bytes());
    field(&mut head, 7, &[7; 16]);
    field(&mut head, 8, &[8; 32]);
    field(&mut head, 9, &[9; 32]);
    field(&mut head, 10, &2_u32.to_le_bytes());
    field(&mut head, 0, b"\r\n\r\n");
    let mut source = Source(&head);
    let header = Header::read(&mut source).unwrap();
    let key = header.transformed(&SecretString::from(PASSWORD)).unwrap();
    let key = header.master_key(&key);
    let mut content = vec![9; 32];
    for (number, block) in [(0_u32, xml), (1, &[][..])] {
        content.extend_from_slice(&number.to_le_bytes());
        let hash = sha256(&[block]);
        content.extend_from_slice(if block.is_empty() {
            &[0; 32]
        } else {
            hash.as_ref()
        });
        content.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        content.extend_from_slice(block);
    }
    let key = UnboundCipherKey::new(&AES_256, key.as_slice()).unwrap();
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).unwrap();
    let iv = EncryptionContext::Iv128(FixedLength::from([7; 16]));
    key.less_safe_encrypt(&mut content, iv).unwrap();
    head.extend_from_slice(&content);
    head
}

#[test]
fn the_older_format_is_read_as_another_program_reads_it() {
    let mut covered = b"value-7731".to_vec();
    let Stream::Salsa20(mut hidden) = stream(2, &[8; 32]).unwrap() else {
        panic!("no such stream");
    };
    hidden.apply_keystream(&mut covered);
    let covered = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &covered);
    let uuid = "AAECAwQFBgcICQoLDA0ODw==";
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeePassFile><Meta><Generator>x</Generator></Meta>\
         <Root><Group><UUID>{uuid}</UUID><Name>Root</Name><Entry><UUID>{uuid}</UUID>\
         <String><Key>Title</Key><Value>Web</Value></String><String><Key>Password</Key>\
         <Value Protected=\"True\">{covered}</Value></String></Entry></Group></Root></KeePassFile>"
    );
    let bytes = third(xml.as_bytes());
    let found = opened(&bytes, PASSWORD).unwrap();
    assert_eq!(found.xml.as_slice(), xml.as_bytes());
    assert_eq!(opened(&bytes, "no").unwrap_err(), KdbxError::WrongPassword);
    let key = DatabaseKey::new().with_password(PASSWORD);
    let theirs = Database::parse(&bytes, key).unwrap();
    let root = theirs.root();
    let entry = root.entry_by_name("Web").unwrap();
    assert_eq!(entry.get_password(), Some("value-7731"));
    for length in 0..bytes.len() {
        assert!(opened(&bytes[..length], PASSWORD).is_err(), "{length}");
    }
}

#[test]
fn a_file_that_unpacks_without_end_is_stopped() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0_u8; 1_024 * 1_024];
    for _ in 0..40 {
        std::io::Write::write_all(&mut gzip, &zeros).unwrap();
    }
    let packed = Zeroizing::new(gzip.finish().unwrap());
    assert!(packed.len() < 100_000);
    let bytes = small();
    let header = Header::read(&mut Source(&bytes)).unwrap();
    let refused = header.unpacked(packed).map(drop).unwrap_err();
    assert!(matches!(refused, KdbxError::TooCostly(_)), "{refused:?}");
}
