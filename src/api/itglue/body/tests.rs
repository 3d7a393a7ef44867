//! What bodies say.

mod fuzz;

use super::*;

fn one(body: &str) -> Result<Item, ApiError> {
    Document::parse(Some("application/vnd.api+json"), body.as_bytes())?.one("passwords")
}

fn has(item: &Item, name: &str) -> bool {
    item.attributes.0.contains_key(name)
}

fn words(error: &ApiError) -> String {
    match error {
        ApiError::Invalid(faults) => format!("{faults:?}"),
        other => panic!("{other}"),
    }
}

#[test]
fn every_form_of_a_resource_says_the_same() {
    for body in [
        r#"{"data":{"type":"passwords","attributes":{"name":"n","organization-id":2}}}"#,
        r#"{"data":{"attributes":{"name":"n","organization_id":"2"}}}"#,
        r#"{"data":{"type":"passwords","name":"n","organizationId":2}}"#,
        r#"{"type":"passwords","attributes":{"name":"n","organization_id":2}}"#,
        r#"{"name":"n","organization-id":"2"}"#,
        r#"{"data":{"name":"n","organization-id":7,"organization_id":2}}"#,
    ] {
        let item = one(body).unwrap();
        assert_eq!(item.text("name", 9).unwrap(), Sent::Value("n".to_owned()));
        let organization = item.id_of("organization_id").unwrap();
        assert_eq!(organization, Sent::Value(2), "{body}");
    }
}

#[test]
fn a_type_may_be_left_out_but_not_be_another() {
    for kind in ["passwords", "Passwords"] {
        one(&format!(r#"{{"data":{{"type":"{kind}","name":"n"}}}}"#)).unwrap();
    }
    let other = one(r#"{"data":{"type":"contacts","name":"n"}}"#).unwrap_err();
    assert!(words(&other).contains("data/type"));
    let folder = br#"{"data":{"type":"password-folders"}}"#;
    let folder = Document::parse(None, folder).unwrap();
    folder.one("password_folders").unwrap();
}

#[test]
fn an_id_stands_beside_the_attributes_or_among_them() {
    for (body, id) in [
        (r#"{"data":{"id":"54","attributes":{}}}"#, Some(54)),
        (r#"{"data":{"attributes":{"id":54}}}"#, Some(54)),
        (r#"{"data":{"id":1,"attributes":{"id":"54"}}}"#, Some(54)),
        (r#"{"data":{"attributes":{}}}"#, None),
    ] {
        assert_eq!(one(body).unwrap().id, id, "{body}");
    }
    one(r#"{"data":{"id":"x","attributes":{}}}"#).unwrap_err();
}

#[test]
fn switches_numbers_texts_and_dates_are_read_as_they_come() {
    let item = one(
        r#"{"data":{"a":true,"b":"false","c":1,"d":"0","e":"yes","f":null,"g":"",
            "h":"2026-03-01T09:30:00.000Z","i":"2026-03-01","otpSecret":"GEZD"}}"#,
    )
    .unwrap();
    for (name, flag) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        assert_eq!(item.flag(name).unwrap(), Sent::Value(flag), "{name}");
    }
    item.flag("e").unwrap_err();
    assert_eq!(item.flag("z").unwrap(), Sent::Absent);
    assert_eq!(item.flag("f").unwrap(), Sent::Null);
    assert_eq!(item.text("g", 9).unwrap(), Sent::Null);
    assert!(has(&item, "f") && has(&item, "otp_secret") && !has(&item, "z"));
    let at = item.moment("h").unwrap().value().unwrap();
    assert_eq!(at.rfc3339_millis(), "2026-03-01T09:30:00.000Z");
    assert!(item.moment("i").unwrap().value().unwrap() < at);
}

#[test]
fn relationships_are_objects_or_arrays_of_one() {
    let item = one(r#"{"data":{"attributes":{"name":"n"},"relationships":{
            "organization":{"data":{"type":"organizations","id":"2"}},
            "password-category":{"data":[{"attributes":{"name":"Cloud"}}]},
            "updater":{"data":[1,2]}}}}"#)
    .unwrap();
    assert_eq!(item.related_id("organization"), Some(2));
    assert_eq!(item.related_name("password_category"), Some("Cloud"));
    assert_eq!(item.related_id("updater"), None);
}

#[test]
fn arrays_have_places_and_a_longest_length() {
    let body = br#"{"data":[{"attributes":{"name":"a"}},{"name":7}]}"#;
    let (items, many) = Document::parse(None, body)
        .unwrap()
        .all("passwords")
        .unwrap();
    assert!(many && items.len() == 2);
    let fault = items[1].text("name", 9).unwrap_err();
    assert!(words(&fault).contains("data/1/attributes/name"));
    let most = format!("[{}]", vec!["{}"; ITEMS_MAX].join(","));
    Document::parse(None, most.as_bytes()).unwrap();
    let over = format!("[{}]", vec!["{}"; ITEMS_MAX + 1].join(","));
    Document::parse(None, over.as_bytes()).unwrap_err();
}

#[test]
fn a_fault_names_the_attribute_and_never_the_value() {
    let item = one(r#"{"data":{"password":7731,"name":"7731"}}"#).unwrap();
    for error in [
        item.secret("password", 9).unwrap_err(),
        item.text("name", 3).unwrap_err(),
        item.id_of("name")
            .map(|_| ())
            .and(item.flag("name").map(|_| ()))
            .unwrap_err(),
    ] {
        assert!(!words(&error).contains("7731"), "{error:?}");
    }
    assert!(!format!("{item:?}").contains("7731"));
    let broken = one(r#"{"data":{"password":"7731""#).unwrap_err();
    assert!(!words(&broken).contains("7731"));
}

#[test]
fn types_of_bodies_are_json_or_nothing() {
    for kind in [
        None,
        Some("application/json"),
        Some("application/vnd.api+json; charset=utf-8"),
    ] {
        let read = Document::parse(kind, b"{}").unwrap();
        assert!(!read.is_empty(), "{kind:?}");
    }
    let form = Document::parse(Some("application/x-www-form-urlencoded"), b"a=1").unwrap_err();
    assert!(matches!(form, ApiError::MediaType));
    // Nothing at all is of any type.
    assert!(
        Document::parse(Some("text/plain"), b" ")
            .unwrap()
            .is_empty()
    );
    assert!(Document::parse(None, b"{\"data\":[]}").unwrap().is_empty());
    Document::parse(None, b"7").unwrap_err();
}
