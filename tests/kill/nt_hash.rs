//! What a domain keeps of a password: MD4 of its UTF-16LE.
//!
//! Invariant: nothing here protects a secret; it only tells which one a domain holds.
//!
//! Source: RFC 1320; MS-SAMR 3.1.1.8.6.

/// The hash of a password.
pub(crate) fn nt_hash(password: &str) -> [u8; 16] {
    let units = password.encode_utf16();
    let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    md4(&bytes)
}

fn md4(message: &[u8]) -> [u8; 16] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    let bits = u64::try_from(message.len()).unwrap() * 8;
    padded.extend_from_slice(&bits.to_le_bytes());
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let mixed = mix(state, &words);
        for (kept, new) in state.iter_mut().zip(mixed) {
            *kept = kept.wrapping_add(new);
        }
    }
    let bytes: Vec<u8> = state.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.try_into().unwrap()
}

/// Three rounds of sixteen steps.
fn mix(state: [u32; 4], words: &[u32]) -> [u32; 4] {
    const SHIFTS: [[u32; 4]; 3] = [[3, 7, 11, 19], [3, 5, 9, 13], [3, 9, 11, 15]];
    const SECOND: [usize; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
    const THIRD: [usize; 16] = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];
    let [mut a, mut b, mut c, mut d] = state;
    for step in 0..48 {
        let (round, at) = (step / 16, step % 16);
        let (word, mixed) = match round {
            0 => (words[at], (b & c) | (!b & d)),
            1 => (
                words[SECOND[at]].wrapping_add(0x5a82_7999),
                (b & c) | (b & d) | (c & d),
            ),
            _ => (words[THIRD[at]].wrapping_add(0x6ed9_eba1), b ^ c ^ d),
        };
        let sum = a.wrapping_add(mixed).wrapping_add(word);
        let new = sum.rotate_left(SHIFTS[round][at % 4]);
        (a, d, c, b) = (d, c, b, new);
    }
    [a, b, c, d]
}

#[test]
fn hashes_are_those_that_are_published() {
    let hex = |bytes: [u8; 16]| format!("{:032x}", u128::from_be_bytes(bytes));
    assert_eq!(hex(md4(b"")), "31d6cfe0d16ae931b73c59d7e0c089c0");
    assert_eq!(
        hex(md4(b"message digest")),
        "d9130a8164549fe818874806e1c7014b"
    );
    let long = "12345678901234567890123456789012345678901234567890123456789012345678901234567890";
    assert_eq!(
        hex(md4(long.as_bytes())),
        "e33b4ddc9c38f2199c3e7b164fcc0536"
    );
    assert_eq!(hex(nt_hash("password")), "8846f7eaee8fb117ad06bdd830b7586c");
}
