//! One entry of a search, as the directory sent it.
//!
//! Invariant: values keep their bytes and their order, and an entry of another shape is none.

use ldap3::ResultEntry;
use ldap3::asn1::StructureTag;

/// `SearchResultEntry`. Source: RFC 4511 4.5.2.
const SEARCH_RESULT_ENTRY: u64 = 4;

/// A name and the attributes that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its distinguished name.
    pub(super) dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// Reads what the library parsed; `None` for another shape.
    ///
    /// The library's own reader sorts values that are no UTF-8 before the others, and the first
    /// of `tokenGroups` is the one that counts.
    pub(super) fn read(raw: ResultEntry) -> Option<Self> {
        let mut parts = raw.0.match_id(SEARCH_RESULT_ENTRY)?.expect_constructed()?;
        let attributes = parts.pop()?.expect_constructed()?;
        let dn = text(parts.pop()?)?;
        let attributes = attributes.into_iter().map(attribute);
        Some(Self {
            dn,
            attributes: attributes.collect::<Option<_>>()?,
        })
    }

    /// The values of an attribute; none if it is absent or hidden.
    pub(super) fn values(&self, name: &str) -> &[Vec<u8>] {
        let named = |(held, _): &&(String, Vec<Vec<u8>>)| held.eq_ignore_ascii_case(name);
        let found = self.attributes.iter().find(named);
        found.map_or(&[], |(_, values)| values)
    }

    /// The first value, if it is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.values(name).first()?).ok()
    }

    /// True if one of the values is this text, upper and lower case alike.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        let same = |held: &Vec<u8>| held.eq_ignore_ascii_case(value.as_bytes());
        self.values(name).iter().any(same)
    }
}

fn attribute(raw: StructureTag) -> Option<(String, Vec<Vec<u8>>)> {
    let mut parts = raw.expect_constructed()?;
    let values = parts.pop()?.expect_constructed()?.into_iter();
    let values = values.map(StructureTag::expect_primitive);
    Some((text(parts.pop()?)?, values.collect::<Option<_>>()?))
}

fn text(raw: StructureTag) -> Option<String> {
    String::from_utf8(raw.expect_primitive()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap3::asn1::{PL, TagClass};

    fn tag(id: u64, payload: PL) -> StructureTag {
        let class = TagClass::Universal;
        StructureTag { class, id, payload }
    }

    fn octets(bytes: &[u8]) -> StructureTag {
        tag(4, PL::P(bytes.to_vec()))
    }

    fn entry(attributes: Vec<StructureTag>) -> Option<Entry> {
        let parts = vec![octets(b"cn=a"), tag(16, PL::C(attributes))];
        Entry::read(ResultEntry::new(tag(4, PL::C(parts))))
    }

    #[test]
    fn values_keep_their_order_whatever_their_bytes() {
        let values = [&b"text"[..], &[0xff, 0], b"more"];
        let set = tag(
            17,
            PL::C(values.iter().map(|bytes| octets(bytes)).collect()),
        );
        let read = entry(vec![tag(16, PL::C(vec![octets(b"tokenGroups"), set]))]).unwrap();
        assert_eq!(read.values("TOKENGROUPS"), values.map(<[u8]>::to_vec));
        assert_eq!(read.text("tokengroups"), Some("text"));
        assert!(read.has("tokenGroups", "MORE") && !read.has("tokenGroups", "mor"));
        assert_eq!((read.values("other").len(), read.dn.as_str()), (0, "cn=a"));
    }

    #[test]
    fn another_shape_is_no_entry() {
        assert_eq!(entry(vec![octets(b"no attribute")]), None);
        assert_eq!(Entry::read(ResultEntry::new(tag(19, PL::C(vec![])))), None);
        assert_eq!(Entry::read(ResultEntry::new(tag(4, PL::C(vec![])))), None);
    }
}
