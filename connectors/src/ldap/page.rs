//! The control by which a long answer comes page by page.
//!
//! Invariant: a cookie is handed back as it came, and what cannot be read is the end.
//!
//! Source: RFC 2696.

use ldap3::controls::{Control, PagedResults, RawControl};

use super::ber;

const OID: &str = "1.2.840.113556.1.4.319";

/// Entries of one page: few enough to be waited for, and below every product's own limit.
const PAGE_ENTRIES: i32 = 100;

/// Asks for a page: the first one without a cookie.
pub(super) fn request(cookie: Vec<u8>) -> RawControl {
    let size = PAGE_ENTRIES;
    PagedResults { size, cookie }.into()
}

/// The cookie of an answer; `None`: there is no other page.
///
/// The library's own reader recurses as deep as the server likes.
pub(super) fn cookie(controls: &[Control]) -> Option<Vec<u8>> {
    let Control(_, control) = controls.iter().find(|Control(_, raw)| raw.ctype == OID)?;
    let sequence = ber::expect(0x30, control.val.as_deref()?)?;
    let size = ber::expect(0x02, sequence.body)?;
    let cookie = ber::expect(0x04, size.rest)?.body;
    (!cookie.is_empty()).then(|| cookie.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Option<Vec<u8>> {
        let raw = RawControl {
            ctype: OID.to_owned(),
            crit: false,
            val: Some(value.to_vec()),
        };
        cookie(&[Control(None, raw)])
    }

    #[test]
    fn a_cookie_is_read_only_from_its_own_form() {
        let asked = request(b"next".to_vec());
        assert_eq!(read(&asked.val.unwrap()), Some(b"next".to_vec()));
        let last: &[u8] = &[0x30, 5, 2, 1, 0, 4, 0];
        for value in [
            last,
            &[],
            &[0x30, 0],
            &[0x30, 3, 2, 1, 0],
            &[0x30, 5, 2, 1, 0, 4, 9],
        ] {
            assert_eq!(read(value), None, "{value:?}");
        }
        assert_eq!(read(&[0x30; 1_000]), None);
        assert_eq!(cookie(&[]), None);
    }
}
