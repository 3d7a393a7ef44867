//! Reads BER elements out of bytes that a server sent.
//!
//! Invariant: nothing here recurses, allocates or panics, whatever the bytes are; an element
//! never reaches beyond the bytes it was read from.

/// What one byte string begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    /// Class, form and number in one byte.
    pub(super) tag: u8,
    /// The content.
    pub(super) body: &'a [u8],
    /// Whatever follows the element.
    pub(super) rest: &'a [u8],
}

impl Element<'_> {
    /// True if the content is itself a row of elements.
    pub(super) const fn constructed(self) -> bool {
        self.tag & 0x20 != 0
    }
}

/// Why bytes are no element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The element is longer than the bytes at hand.
    Short,
    /// A tag of several bytes, an indefinite length, or a length of more than four bytes.
    Form,
}

/// Reads the header of an element: its tag, its header's size and its content's, in bytes.
///
/// # Errors
/// [`Malformed::Short`] if more header bytes are needed.
///
/// Source: X.690 8.1, narrowed by RFC 4511 5.1 to definite lengths.
pub(super) fn header(bytes: &[u8]) -> Result<(u8, usize, usize), Malformed> {
    let (&tag, after_tag) = bytes.split_first().ok_or(Malformed::Short)?;
    // The number 31 announces further tag bytes; LDAP has no such tag.
    if tag & 0x1f == 0x1f {
        return Err(Malformed::Form);
    }
    let (&first, after_first) = after_tag.split_first().ok_or(Malformed::Short)?;
    if first < 0x80 {
        return Ok((tag, 2, usize::from(first)));
    }
    let octets = usize::from(first & 0x7f);
    if octets == 0 || octets > 4 {
        return Err(Malformed::Form);
    }
    let length = after_first.get(..octets).ok_or(Malformed::Short)?;
    let size = length
        .iter()
        .fold(0_usize, |sum, &octet| (sum << 8) | usize::from(octet));
    Ok((tag, 2 + octets, size))
}

/// Splits the first element off.
pub(super) fn split(bytes: &[u8]) -> Result<Element<'_>, Malformed> {
    let (tag, head, size) = header(bytes)?;
    let after = bytes.get(head..).ok_or(Malformed::Short)?;
    let (body, rest) = after.split_at_checked(size).ok_or(Malformed::Short)?;
    Ok(Element { tag, body, rest })
}

/// Splits the first element off if it carries this tag.
pub(super) fn expect(tag: u8, bytes: &[u8]) -> Option<Element<'_>> {
    split(bytes).ok().filter(|element| element.tag == tag)
}

/// Reads an INTEGER or ENUMERATED of one to four bytes that is not negative.
pub(super) fn number(body: &[u8]) -> Option<u32> {
    let fits = matches!(body.len(), 1..=4) && body.first().is_some_and(|&first| first < 0x80);
    fits.then(|| {
        body.iter()
            .fold(0_u32, |sum, &octet| (sum << 8) | u32::from(octet))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_ends_where_its_length_says() {
        let element = split(&[0x04, 0x02, b'a', b'b', 0x05, 0x00]).unwrap();
        assert_eq!(
            (element.tag, element.body, element.rest),
            (0x04, &b"ab"[..], &[5, 0][..])
        );
    }

    #[test]
    fn lengths_beyond_the_bytes_are_short() {
        assert_eq!(split(&[0x04, 0x03, b'a']).unwrap_err(), Malformed::Short);
        assert_eq!(
            split(&[0x04, 0x84, 0x7f, 0xff, 0xff, 0xff]).unwrap_err(),
            Malformed::Short
        );
    }

    #[test]
    fn indefinite_long_and_many_byte_forms_are_refused() {
        for bytes in [
            &[0x30, 0x80, 0, 0][..],
            &[0x04, 0x85, 0, 0, 0, 0, 1, 0],
            &[0x1f, 0x81, 0],
        ] {
            assert_eq!(split(bytes).unwrap_err(), Malformed::Form);
        }
    }

    #[test]
    fn numbers_are_not_negative_and_fit_four_bytes() {
        assert_eq!(number(&[0x31]), Some(0x31));
        assert_eq!(number(&[0x00, 0xff]), Some(255));
        assert_eq!(number(&[0xff]), None);
        assert_eq!(number(&[]), None);
        assert_eq!(number(&[0, 0, 0, 0, 1]), None);
    }
}
