//! Whatever a directory sends.

use ldap3::asn1::{Tag, parse_tag};
use ldap3::controls::{Control, RawControl};
use ldap3::{LdapResult, ResultEntry};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::ber::{self, Malformed};
use super::super::dn::{dns_name, same};
use super::super::entry::Entry;
use super::super::flavour::Flavour;
use super::super::guard::{Ending, MESSAGE_MAX_BYTES, inspect, message_size};
use super::super::{age, diagnosis, page, ppolicy};
use super::*;
use crate::fuzz::{check, mutant_texts, mutants, noise, text};

/// A small tree of elements, with lengths that are right.
#[derive(Clone, Debug)]
enum Node {
    Leaf(u8, Vec<u8>),
    Row(u8, Vec<Node>),
}

/// Tags that mean something somewhere, and others.
const TAGS: [u8; 20] = [
    0x02, 0x04, 0x04, 0x04, 0x0a, 0x01, 0x30, 0x31, 0x61, 0x64, 0x65, 0x73, 0x78, 0x79, 0x80, 0x81,
    0x87, 0x8a, 0xa0, 0xa3,
];

fn nodes() -> impl Strategy<Value = Node> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..5),
        select(vec!["uid", "dc=test", "1.2.840.113556.1.4.319", ""])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let leaf = (select(TAGS.to_vec()), bytes).prop_map(|(tag, bytes)| Node::Leaf(tag, bytes));
    leaf.prop_recursive(5, 24, 4, |inner| {
        (select(TAGS.to_vec()), vec(inner, 0..4)).prop_map(|(tag, parts)| Node::Row(tag, parts))
    })
}

fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    if let Ok(short @ ..0x80) = u8::try_from(body.len()) {
        bytes.push(short);
    } else {
        bytes.push(0x84);
        bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    }
    bytes.extend(body);
    bytes
}

fn encoded(node: &Node) -> Vec<u8> {
    match node {
        Node::Leaf(tag, bytes) => element(*tag, bytes),
        Node::Row(tag, parts) => element(*tag, &parts.iter().flat_map(encoded).collect::<Vec<_>>()),
    }
}

/// Answers of directories, as slapd and domains send them.
fn answers() -> Vec<Vec<u8>> {
    let text = |text: &[u8]| element(4, text);
    let message = |id: u8, operation: Vec<u8>, rest: Vec<u8>| {
        element(0x30, &[element(2, &[id]), operation, rest].concat())
    };
    let result = |tag, code: u8, said: &[u8]| {
        element(
            tag,
            &[element(0x0a, &[code]), text(b"dc=test"), text(said)].concat(),
        )
    };
    let values = element(0x31, &[text(b"u1"), text(&[0xff, 0])].concat());
    let attribute = element(0x30, &[text(b"uid"), values].concat());
    let entry = element(
        0x64,
        &[text(b"uid=u1,dc=test"), element(0x30, &attribute)].concat(),
    );
    let policy = [
        text(b"1.3.6.1.4.1.42.2.27.8.5.1"),
        text(&[0x30, 3, 0x81, 1, 2]),
    ]
    .concat();
    let controls = element(0xa0, &element(0x30, &policy));
    let referral = element(0xa3, &text(b"ldap://other.example/"));
    let referred = [element(0x0a, &[10]), text(b""), text(b""), referral].concat();
    vec![
        message(1, result(0x61, 0, b""), controls),
        message(
            2,
            result(0x61, 49, b"80090308: LdapErr: x, data 52e, v1db1"),
            vec![],
        ),
        message(3, entry, vec![]),
        message(4, element(0x65, &referred), vec![]),
        message(5, element(0x73, &text(b"ldap://a.example/")), vec![]),
        message(0, result(0x78, 52, b"shutting down"), vec![]),
    ]
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let row = (
        1_u8..9,
        select(TAGS.to_vec()),
        vec(nodes(), 0..4),
        proptest::option::of(nodes()),
    );
    let shaped = row.prop_map(|(id, tag, parts, rest)| {
        let operation = Node::Row(tag, parts);
        let parts = [Some(Node::Leaf(2, vec![id])), Some(operation), rest];
        encoded(&Node::Row(0x30, parts.into_iter().flatten().collect()))
    });
    prop_oneof![3 => shaped, 3 => mutants(answers(), &[]), 1 => noise(60)]
}

#[test]
fn an_element_never_reaches_beyond_its_bytes() {
    let inputs = prop_oneof![
        messages(),
        nodes().prop_map(|node| encoded(&node)),
        noise(12)
    ];
    check("ldap::ber", &inputs, |bytes| {
        match ber::split(&bytes) {
            Ok(found) => {
                let (tag, head, size) = ber::header(&bytes).unwrap();
                prop_assert_eq!(found.tag, tag);
                prop_assert_eq!((found.body, found.rest), bytes[head..].split_at(size));
                prop_assert!(ber::expect(tag, &bytes).is_some());
                let number = ber::number(found.body);
                let padded: Vec<u8> = [&[0; 8][..], found.body].concat();
                let tail: [u8; 8] = padded[padded.len() - 8..].try_into().unwrap();
                prop_assert!(
                    number.is_none_or(|number| u64::from(number) == u64::from_be_bytes(tail))
                );
            }
            Err(Malformed::Short) => {
                // More bytes may help; none that are there are refused.
                let more = [&bytes[..], &[0; 16]].concat();
                prop_assert_ne!(ber::header(&more).err(), Some(Malformed::Short));
            }
            Err(Malformed::Form) => prop_assert!(ber::header(&bytes).is_err()),
        }
        Ok(())
    });
}

#[test]
fn a_message_that_passes_does_not_break_the_library() {
    check("ldap::guard", &messages(), |bytes| {
        let size = match message_size(&bytes) {
            Ok(Some(size)) => size,
            Ok(None) => {
                prop_assert!(bytes.len() < 6);
                return Ok(());
            }
            Err(ending) => {
                prop_assert!(matches!(ending, Ending::Violation(_)));
                return Ok(());
            }
        };
        prop_assert!((2..=MESSAGE_MAX_BYTES).contains(&size));
        let Some(message) = bytes.get(..size).filter(|whole| inspect(whole) == Ok(())) else {
            return Ok(());
        };
        // What the library does with it, panics and all.
        let (rest, message) = parse_tag(message).map_err(|_| TestCaseError::fail("no tag"))?;
        prop_assert!(rest.is_empty());
        let mut parts = message.expect_constructed().unwrap();
        if parts.len() == 3 {
            parts.pop();
        }
        let operation = parts.pop().unwrap();
        match operation.id {
            4 => prop_assert!(Entry::read(ResultEntry::new(operation)).is_some()),
            19 | 25 => {}
            _ => drop(LdapResult::from(Tag::StructureTag(operation))),
        }
        Ok(())
    });
}

#[test]
fn controls_are_read_within_their_bytes_and_doubt_is_an_objection() {
    let seeds = vec![
        vec![0x30, 8, 0xa0, 3, 0x81, 1, 2, 0x81, 1, 0],
        vec![0x30, 9, 2, 1, 0, 4, 4, b'n', b'e', b'x', b't'],
    ];
    let values = prop_oneof![
        mutants(seeds, &[]),
        nodes().prop_map(|node| encoded(&node)),
        noise(20)
    ];
    check("ldap::ppolicy and ldap::page", &values, |value| {
        let control = |oid: &str| {
            let raw = RawControl {
                ctype: oid.to_owned(),
                crit: false,
                val: Some(value.clone()),
            };
            [Control(None, raw)]
        };
        let objection = ppolicy::objection(&control("1.3.6.1.4.1.42.2.27.8.5.1"));
        if !value.is_empty() && ber::expect(0x30, &value).is_none() {
            prop_assert_eq!(objection, Some(ppolicy::Objection::Unreadable));
        }
        if let Some(cookie) = page::cookie(&control("1.2.840.113556.1.4.319")) {
            prop_assert!(value.windows(cookie.len()).any(|part| part == cookie));
        }
        Ok(())
    });
}

/// A value and two spellings of it in a name. Source: RFC 4514, 2.4.
fn spelled(value: &str) -> [String; 2] {
    let hex = value.bytes().fold(String::new(), |mut hex, byte| {
        std::fmt::Write::write_fmt(&mut hex, format_args!("\\{byte:02x}")).unwrap();
        hex
    });
    let mut escaped = String::new();
    for sign in value.chars() {
        if " #=\"+,;<>\\".contains(sign) {
            escaped.push('\\');
        }
        escaped.push(sign);
    }
    [hex, escaped]
}

#[test]
fn a_value_cannot_become_another_part_of_a_name() {
    let value = text(8).prop_filter("a value", |value| {
        !value.trim().is_empty() && !value.contains('\0') && value.len() < 500
    });
    check(
        "ldap::dn of values",
        &(value, "[a-z]{1,5}"),
        |(value, other)| {
            let [hex, escaped] =
                spelled(&value).map(|value| format!("uid={value},ou=people,dc=test"));
            prop_assert!(same(&hex, &escaped), "{} and {}", hex, escaped);
            prop_assert!(
                !same(&hex, &format!("uid={other},ou=people,dc=test"))
                    || value.to_lowercase().trim() == other,
                "does not hold"
            );
            prop_assert!(!same(&hex, &format!("{hex},dc=more")), "does not hold");
            Ok(())
        },
    );
}

#[test]
fn a_name_equals_itself_and_equality_has_no_side() {
    let tokens = &[
        "uid=",
        ",dc=test",
        "\\2c",
        "\\,",
        "\"",
        "+cn=",
        "OID.2.5.4.3=",
        "\\ ",
    ];
    let names = || {
        let seeds = [
            "uid=u1,ou=people,dc=test",
            "cn=a\\2cb+uid=c, DC=x",
            "cn=\"a,b\";dc=x",
        ];
        prop_oneof![4 => mutant_texts(&seeds, tokens), 1 => text(20)]
    };
    check(
        "ldap::dn of mutants",
        &(names(), names()),
        |(left, right)| {
            prop_assert_eq!(same(&left, &right), same(&right, &left));
            if same(&left, &right) {
                prop_assert!(same(&left, &left) && same(&right, &right));
            }
            prop_assert!(!same(&left, ""));
            if let Some(domain) = dns_name(&left) {
                // Small letters may take more bytes than capitals.
                prop_assert!(domain.len() <= 2 * left.len());
            }
            Ok(())
        },
    );
}

#[test]
fn what_a_directory_says_decides_only_by_known_words() {
    let seeds = [
        "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1",
        "0000052D: Constraint violation - the password is too young to change!",
        "Invalid oldpasswd value",
    ];
    let said = prop_oneof![3 => mutant_texts(&seeds, &[", data ", "0000052D:", "too young"]), 1 => text(20)];
    check("ldap::diagnosis", &said, |said| {
        let read = diagnosis::read(&said);
        prop_assert_eq!(
            read,
            diagnosis::read(&said.to_ascii_uppercase()),
            "case says nothing"
        );
        let times = "20261121232754.0Z";
        prop_assert_eq!(age::millis(times), Some(1_795_303_674_000));
        Ok(())
    });
}

#[test]
fn a_time_is_read_as_a_calendar_has_it() {
    let seeds = ["20261121232754.0Z", "19700101000000Z", "99991231235959.9Z"];
    check(
        "ldap::age",
        &mutant_texts(&seeds, &["Z", ".", "é"]),
        |text| {
            let Some(at) = age::millis(&text) else {
                return Ok(());
            };
            // Day by day, as a calendar is turned.
            let digit = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
            let (year, month, day) = (digit(0, 4), digit(4, 6), digit(6, 8));
            if year == 0 {
                return Ok(()); // before every directory
            }
            let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let lengths = |year| {
                [
                    31,
                    if leap(year) { 29 } else { 28 },
                    31,
                    30,
                    31,
                    30,
                    31,
                    31,
                    30,
                    31,
                    30,
                    31,
                ]
            };
            let of_years: i64 = if year >= 1970 {
                (1970..year)
                    .map(|year| if leap(year) { 366 } else { 365 })
                    .sum()
            } else {
                -(year..1970)
                    .map(|year| if leap(year) { 366 } else { 365 })
                    .sum::<i64>()
            };
            let months = usize::try_from(month - 1).unwrap();
            let days = of_years + lengths(year)[..months].iter().sum::<i64>() + day - 1;
            let seconds = digit(8, 10) * 3_600 + digit(10, 12) * 60 + digit(12, 14);
            prop_assert_eq!(at, (days * 86_400 + seconds) * 1_000, "{}", text);
            Ok(())
        },
    );
}

#[test]
fn a_root_that_says_anything_is_told_or_refused() {
    let attribute = select(super::super::flavour::ATTRIBUTES.to_vec());
    let value = prop_oneof![
        select(vec![
            "1.2.840.113556.1.4.800",
            "1.3.6.1.4.1.4203.1.11.1",
            "1.3.6.1.4.1.4203.1.11.3",
            "389 Project",
            "Samba Team"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        noise(9),
    ];
    let entries = vec((attribute, vec(value, 0..3)), 0..6);
    check("ldap::entry and ldap::flavour", &entries, |attributes| {
        let octets = |bytes: &[u8]| Node::Leaf(4, bytes.to_vec());
        let rows = attributes.iter().map(|(name, values)| {
            let values = values.iter().map(|value| octets(value)).collect();
            Node::Row(0x30, vec![octets(name.as_bytes()), Node::Row(0x31, values)])
        });
        let entry = Node::Row(0x64, vec![octets(b"cn=a"), Node::Row(0x30, rows.collect())]);
        let bytes = encoded(&entry);
        let (_, tag) = parse_tag(&bytes).map_err(|_| TestCaseError::fail("no tag"))?;
        let read = Entry::read(ResultEntry::new(tag)).ok_or_else(|| TestCaseError::fail("none"))?;
        for (name, values) in attributes.iter().rev() {
            let first = attributes
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, values)| values);
            prop_assert_eq!(Some(read.values(name)), first.map(Vec::as_slice));
            prop_assert!(first.is_some() && values.len() < 3);
        }
        let domain = read.has("supportedCapabilities", "1.2.840.113556.1.4.800");
        match Flavour::of(&read) {
            Ok(flavour) => prop_assert_eq!(flavour.is_domain(), domain),
            Err(reason) => prop_assert_eq!(reason.class, Class::Incompatible),
        }
        Ok(())
    });
}

#[test]
fn what_a_directory_is_handed_is_a_name_and_one_line() {
    let dns = mutant_texts(
        &[
            "uid=u1,dc=test",
            "<GUID=48989570-7a4e-1041-8c42-ef8b0f921cc9>",
        ],
        &["<GUID=", ">", ")(uid=*"],
    );
    let names = ("[a-z]{1,8}", dns, text(6));
    check("ldap::admit", &names, |(login, dn, secret)| {
        let account = Account::named(crate::Login::parse(&login).unwrap(), Some(dn.clone()));
        let admitted = Ldap::new().admit(&account, Some(&Credential::from(secret.clone())));
        match admitted {
            Ok(()) => {
                prop_assert!(!secret.is_empty() && !secret.chars().any(char::is_control));
                let is_id = dn.starts_with("<GUID=") && !dn.contains(['(', ')', '*', '\\']);
                prop_assert!(is_id || same(&dn, &dn), "{}", dn);
            }
            Err(reason) => {
                prop_assert_eq!(reason.class, Class::Refused);
                let repeats = secret.chars().count() > 8 && reason.text.contains(&secret);
                prop_assert!(!repeats);
            }
        }
        Ok(())
    });
}
