use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::model::id::{AccountId, OrganizationId, PasswordCategoryId, PasswordRecordId, UserId};
use crate::model::organization::OrganizationStatus;
use crate::model::reveal::{AccessMethod, Reader, Reveal, Subject};

fn subject(name: &str) -> Subject {
    Subject {
        record_id: Some(PasswordRecordId(54)),
        account: None,
        name: name.to_owned(),
        username: Some("Administrator".to_owned()),
        url: Some("https://DC01.example.com".to_owned()),
        notes: Some("<p>Primary account</p>".to_owned()),
        organization: Some((
            OrganizationId(2),
            "Acme".to_owned(),
            OrganizationStatus::Active,
        )),
        category: Some((PasswordCategoryId(3), "Network".to_owned())),
        updated_by: Some((UserId(4), "carol".to_owned())),
    }
}

fn bare() -> Subject {
    Subject {
        record_id: None,
        account: Some((AccountId(9), "db1/root".to_owned())),
        name: "db1/root".to_owned(),
        username: None,
        url: None,
        notes: None,
        organization: None,
        category: None,
        updated_by: None,
    }
}

fn reveal(seen: Vec<Subject>, export: bool) -> Reveal {
    Reveal {
        method: AccessMethod::ApiShow,
        at: Timestamp(1_780_000_000_000),
        by: Reader {
            user_id: UserId(7),
            name: "alice".to_owned(),
            email: "alice@example.org".to_owned(),
            address: "192.0.2.1".to_owned(),
        },
        version: Some(12),
        seen,
        export,
    }
}

fn filter(field: &str, operator: &str, values: &Value) -> Filter {
    Filter::new(field, operator, values.as_array().unwrap()).unwrap()
}

fn template(source: &str) -> Template {
    Template::parse(source).unwrap()
}

fn notice<'a>(reveal: &'a Reveal, seen: &'a [&'a Subject]) -> Notice<'a> {
    Notice {
        reveal,
        seen,
        workflow: "Tier 0",
        trigger: Trigger::PasswordAccess,
        event_id: "e-1",
        public_url: "https://keywheel.example.com",
    }
}

fn webhook(values: &[(&str, &str)]) -> Content {
    let payload = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), template(value)));
    Content::Webhook {
        payload: payload.collect(),
    }
}

fn slack(subject: &str, body: &str) -> Content {
    Content::Slack {
        subject: template(subject),
        body: template(body),
    }
}

#[test]
fn each_operator_on_each_field_lets_pass_what_it_says() {
    let seen = subject("Domain Admin");
    let bare = bare();
    for (field, hit, miss) in [
        ("password", 54, 55),
        ("organization", 2, 3),
        ("organization_status", 1, 2),
        ("updated_by", 4, 5),
        ("password_category", 3, 4),
    ] {
        for (operator, hits, misses, null) in [
            ("any_of", true, false, false),
            ("none_of", false, true, true),
        ] {
            let hit = [filter(field, operator, &json!([miss, hit]))];
            assert_eq!(passes(&hit, &seen), hits, "{field} {operator}");
            let miss = [filter(field, operator, &json!([miss]))];
            assert_eq!(passes(&miss, &seen), misses, "{field} {operator}");
            assert_eq!(passes(&hit, &bare), null, "{field} {operator} of nothing");
        }
    }
    for (field, begin, end) in [
        ("description", "domain", "ADMIN"),
        ("username", "ADMIN", "strator"),
        ("url", "HTTPS://", "example.COM"),
        ("notes", "<P>prim", "account</p>"),
    ] {
        for (operator, begins, ends) in [
            ("contains", true, true),
            ("does_not_contain", false, false),
            ("starts_with", true, false),
            ("ends_with", false, true),
        ] {
            let first = [filter(field, operator, &json!(["zz", begin]))];
            assert_eq!(passes(&first, &seen), begins, "{field} {operator} {begin}");
            let last = [filter(field, operator, &json!([end]))];
            assert_eq!(passes(&last, &seen), ends, "{field} {operator} {end}");
            if field != "description" {
                let null = operator == "does_not_contain";
                assert_eq!(passes(&first, &bare), null, "{field} {operator} of nothing");
            }
        }
    }
}

#[test]
fn filters_are_anded_and_none_lets_everything_pass() {
    let seen = subject("Domain Admin");
    assert!(passes(&[], &seen));
    let organization = filter("organization", "any_of", &json!([2]));
    let lab = filter("notes", "does_not_contain", &json!(["lab", "primary"]));
    assert!(passes(std::slice::from_ref(&organization), &seen));
    assert!(!passes(&[organization, lab], &seen));
}

#[test]
fn a_filter_that_is_no_filter_is_refused_with_its_place() {
    for (field, operator, values, pointer, problem) in [
        ("password", "any_of", json!([]), "/values", "never match"),
        ("notes", "contains", json!([]), "/values", "never match"),
        ("notes", "contains", json!(["a", " "]), "/values/1", "blank"),
        ("notes", "contains", json!([5]), "/values/0", "a text"),
        ("notes", "any_of", json!(["a"]), "/operator", "starts_with"),
        ("password", "contains", json!([1]), "/operator", "none_of"),
        ("password", "any_of", json!(["1"]), "/values/0", "an id"),
        ("password", "any_of", json!([0]), "/values/0", "an id"),
        (
            "organization_status",
            "any_of",
            json!([9]),
            "/values/0",
            "status",
        ),
        ("value", "contains", json!(["a"]), "/field", "no field"),
        (
            "notes",
            "contains",
            json!(["x".repeat(256)]),
            "/values/0",
            "255",
        ),
        (
            "password",
            "any_of",
            json!(vec![1; 101]),
            "/values",
            "at most 100",
        ),
    ] {
        let refused = Filter::new(field, operator, values.as_array().unwrap()).unwrap_err();
        assert_eq!(refused.pointer, pointer, "{field} {operator}");
        assert!(refused.problem.contains(problem), "{}", refused.problem);
    }
}

#[test]
fn filters_that_nothing_passes_together_are_found() {
    for (one, other, contradict) in [
        (
            ("password", "any_of", json!([1, 2])),
            ("password", "any_of", json!([3])),
            true,
        ),
        (
            ("password", "any_of", json!([1, 2])),
            ("password", "any_of", json!([2])),
            false,
        ),
        (
            ("password", "any_of", json!([1, 2])),
            ("password", "none_of", json!([2])),
            true,
        ),
        (
            ("password", "none_of", json!([1])),
            ("password", "any_of", json!([1])),
            true,
        ),
        (
            ("password", "none_of", json!([1])),
            ("password", "none_of", json!([1])),
            false,
        ),
        (
            ("password", "any_of", json!([1])),
            ("organization", "none_of", json!([1])),
            false,
        ),
        (
            ("notes", "contains", json!(["LAB"])),
            ("notes", "does_not_contain", json!(["lab"])),
            true,
        ),
        (
            ("notes", "does_not_contain", json!(["la"])),
            ("notes", "starts_with", json!(["lab"])),
            true,
        ),
        (
            ("notes", "contains", json!(["lab", "x"])),
            ("notes", "does_not_contain", json!(["lab"])),
            false,
        ),
        (
            ("url", "contains", json!(["lab"])),
            ("notes", "does_not_contain", json!(["lab"])),
            false,
        ),
        (
            ("url", "starts_with", json!(["http:"])),
            ("url", "starts_with", json!(["https:"])),
            true,
        ),
        (
            ("url", "starts_with", json!(["http"])),
            ("url", "starts_with", json!(["https:"])),
            false,
        ),
        (
            ("url", "ends_with", json!(["a"])),
            ("url", "ends_with", json!(["b"])),
            true,
        ),
    ] {
        let both = [
            filter(one.0, one.1, &one.2),
            filter(other.0, other.1, &other.2),
        ];
        let found = contradictions(&both);
        assert_eq!(!found.is_empty(), contradict, "{one:?} {other:?}");
        assert!(found.iter().all(|(nth, _)| *nth == 1));
    }
}

#[test]
fn a_filter_is_read_back_as_it_was_written() {
    for one in [
        filter("organization", "none_of", &json!([2, 3])),
        filter("notes", "does_not_contain", &json!(["Lab"])),
    ] {
        assert_eq!(Filter::from_json(&one.to_json()), Some(one.clone()));
    }
    assert_eq!(Filter::from_json(&json!({"field": "notes"})), None);
}

#[test]
fn an_unknown_variable_is_named_with_its_place() {
    for (source, name, position) in [
        ("[password]", "password", 1),
        ("é [resource_name] [Resource_Name]", "Resource_Name", 19),
        ("[[resource_name] [value]", "value", 18),
    ] {
        let refused = Template::parse(source).unwrap_err();
        assert_eq!((refused.name.as_str(), refused.position), (name, position));
    }
    let long = Template::parse(&format!("[{}]", "x".repeat(500))).unwrap_err();
    assert_eq!(long.name.len(), 64);
}

#[test]
fn brackets_that_hold_no_name_are_text_and_values_are_no_templates() {
    let fill = |source: &str| template(source).fill(|one| format!("[{}]", one.name()));
    assert_eq!(fill("[url]"), "[url]");
    assert_eq!(fill("a [ b] [] [a b] [[url] ["), "a [ b] [] [a b] [url] [");
    let seen = subject("[user_name]");
    let reveal = reveal(vec![seen], false);
    let chosen: Vec<_> = reveal.seen.iter().collect();
    let body = render(
        &notice(&reveal, &chosen),
        "A",
        &webhook(&[("n", "[resource_name]")]),
    )
    .body;
    assert_eq!(body, r#"{"n":"[user_name]"}"#);
}

#[test]
fn every_variable_has_its_value_and_none_is_the_password() {
    let reveal = reveal(vec![subject("Domain Admin")], false);
    let chosen: Vec<_> = reveal.seen.iter().collect();
    let body = render(&notice(&reveal, &chosen), "SIEM", &webhook(&[])).body;
    let sent: BTreeMap<String, String> = serde_json::from_str(&body).unwrap();
    let wanted = [
        ("trigger_name", "Password Access"),
        (
            "resource_url",
            "https://keywheel.example.com/2/passwords/54",
        ),
        ("resource_name", "Domain Admin"),
        ("organization_name", "Acme"),
        ("workflow_name", "Tier 0"),
        ("action_name", "SIEM"),
        ("event_id", "e-1"),
        ("access_method", "api_show"),
        ("accessed_at", "2026-05-28T20:26:40Z"),
        ("user_name", "alice"),
        ("user_email", "alice@example.org"),
        ("ip_address", "192.0.2.1"),
        ("resource_id", "54"),
        ("resource_count", "1"),
        ("version_id", "12"),
        ("organization_id", "2"),
        ("organization_status", "Active"),
        ("password_category", "Network"),
        ("username", "Administrator"),
        ("url", "https://DC01.example.com"),
        ("updated_by", "carol"),
        ("managed_account", ""),
    ];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent, BTreeMap::from(wanted));
}

#[test]
fn an_account_without_a_record_is_named_by_its_own_page() {
    let reveal = reveal(vec![bare()], false);
    let chosen: Vec<_> = reveal.seen.iter().collect();
    let content = slack(
        "[resource_id] [managed_account]",
        "[resource_url][organization_name]",
    );
    let body = render(&notice(&reveal, &chosen), "A", &content).body;
    assert_eq!(
        body,
        r#"{"text":"*9 db1/root*\nhttps://keywheel.example.com/accounts/9"}"#
    );
}

#[test]
fn values_are_escaped_as_their_channel_needs() {
    let reveal = reveal(vec![subject("a\"b\\\r\n<!channel> & [url]")], false);
    let chosen: Vec<_> = reveal.seen.iter().collect();
    let notice = notice(&reveal, &chosen);
    let hook = render(&notice, "A", &webhook(&[("k\"", "x [resource_name]")])).body;
    let sent: Value = serde_json::from_str(&hook).unwrap();
    assert_eq!(sent, json!({"k\"": "x a\"b\\\r\n<!channel> & [url]"}));
    let chat = render(&notice, "A", &slack("[resource_name]", "<b>")).body;
    let sent: Value = serde_json::from_str(&chat).unwrap();
    let text = "*a\"b\\ &lt;!channel&gt; &amp; [url]*\n&lt;b&gt;";
    assert_eq!(sent, json!({"text": text}));
    let mail = Content::Email {
        subject: template("[resource_name]\r\nBcc: x@example.org"),
        body: template("[resource_name]"),
        recipients: vec!["a@example.org".to_owned()],
    };
    let mail = render(&notice, "A", &mail);
    assert_eq!(mail.subject, "a\"b\\ <!channel> & [url] Bcc: x@example.org");
    assert_eq!(mail.body, "a\"b\\\r\n<!channel> & [url]");
}

#[test]
fn an_export_names_twenty_and_counts_all_that_pass() {
    let mut seen: Vec<_> = (0..30).map(|nth| subject(&format!("P{nth}"))).collect();
    seen[0].notes = Some("lab".to_owned());
    let reveal = reveal(seen, true);
    let lab = [filter("notes", "does_not_contain", &json!(["lab"]))];
    let chosen = chosen(&lab, &reveal);
    assert_eq!(chosen.len(), 29);
    let notice = notice(&reveal, &chosen);
    let content = webhook(&[
        ("names", "[resource_name]"),
        ("count", "[resource_count]"),
        ("organizations", "[organization_name]"),
    ]);
    let sent: Value = serde_json::from_str(&render(&notice, "A", &content).body).unwrap();
    assert_eq!(
        (&sent["count"], &sent["organizations"]),
        (&json!("29"), &json!("Acme"))
    );
    let names = sent["names"].as_str().unwrap();
    assert!(
        names.starts_with("P1, P2, ") && names.ends_with("P20 and 9 more"),
        "{names}"
    );
}

#[test]
fn of_several_records_of_one_value_the_first_that_passes_is_named() {
    let mut other = subject("Two");
    other.organization = Some((
        OrganizationId(3),
        "Other".to_owned(),
        OrganizationStatus::Active,
    ));
    let reveal = reveal(vec![subject("One"), other, subject("Three")], false);
    let only = [filter("organization", "any_of", &json!([3]))];
    let named = |filters: &[Filter]| {
        let found = super::chosen(filters, &reveal);
        found
            .iter()
            .map(|seen| seen.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(named(&[]), ["One"]);
    assert_eq!(named(&only), ["Two"]);
    assert!(named(&[filter("organization", "any_of", &json!([9]))]).is_empty());
}

#[test]
fn a_text_has_an_end_however_much_goes_into_it() {
    let reveal = reveal(vec![subject(&"é".repeat(20_000))], false);
    let chosen: Vec<_> = reveal.seen.iter().collect();
    let content = slack("s", &"[resource_name]".repeat(600));
    let sent = render(&notice(&reveal, &chosen), "A", &content).body;
    assert!(sent.len() < 140_000, "{}", sent.len());
}

#[test]
fn an_address_is_shown_without_its_secret_part() {
    for (raw, masked) in [
        (
            "https://siem.example.com/hook?k=1",
            "https://siem.example.com/***",
        ),
        (
            "http://127.0.0.1:9/services/T0/B0",
            "http://127.0.0.1:9/***",
        ),
        ("https://siem.example.com", "https://siem.example.com/"),
        (
            "https://siem.example.com/?key=1",
            "https://siem.example.com/***",
        ),
    ] {
        let url = HookUrl::parse(raw).unwrap();
        assert_eq!(url.masked(), masked);
        assert_eq!(format!("{url:?}"), format!("HookUrl({masked})"));
    }
    for (raw, why) in [
        ("siem.example.com/hook", HookUrlError::NoUrl),
        ("ftp://siem.example.com/", HookUrlError::NoUrl),
        ("https://u:p@siem.example.com/", HookUrlError::UserInfo),
        ("https://siem.example.com/#k", HookUrlError::Fragment),
        ("https://siem.example.com/***", HookUrlError::Masked),
        (
            &format!("https://siem.example.com/{}", "a".repeat(2_100)),
            HookUrlError::TooLong,
        ),
    ] {
        let refused = HookUrl::parse(raw).unwrap_err();
        assert_eq!(refused, why, "{raw}");
        assert!(!refused.to_string().contains("siem"));
    }
}

#[test]
fn an_action_without_what_it_needs_is_refused() {
    let mail = |subject: &str, body: &str, recipients: &[&str]| Content::Email {
        subject: template(subject),
        body: template(body),
        recipients: recipients.iter().map(|one| (*one).to_owned()).collect(),
    };
    for (content, fields) in [
        (mail("s", "b", &["a@example.org"]), vec![]),
        (mail("", " ", &[]), vec!["subject", "body", "recipients"]),
        (
            mail("s\nt", "b", &["a@example.org\r\nBcc: b@c"]),
            vec!["subject", "recipients"],
        ),
        (mail("s", "b", &["a"; 51]), vec!["recipients", "recipients"]),
        (slack("", ""), vec!["subject", "body"]),
        (webhook(&[]), vec![]),
        (webhook(&[("", "x")]), vec!["payload"]),
        (webhook(&[("k", &"x".repeat(1_001))]), vec!["payload"]),
    ] {
        let found = Action::faults("Mail", &content);
        let found: Vec<_> = found.iter().map(|fault| fault.field).collect();
        assert_eq!(found, fields, "{content:?}");
    }
    assert_eq!(Action::faults(" ", &webhook(&[]))[0].field, "name");
}

#[test]
fn mail_addresses_are_told_from_what_could_break_a_header() {
    for right in [
        "a@example.org",
        "first.last+tag@mail-1.example.co",
        "root@localhost",
    ] {
        assert_eq!(email_fault(right), None, "{right}");
    }
    for wrong in [
        "",
        "a",
        "@b",
        "a@",
        "a@b@c",
        "a b@c",
        "a@b,c@d",
        "<a@b>",
        "\"a\"@b",
        "a@b\r\nX: y",
        "a@.b",
        ".a@b",
        "a@b..c",
        "ä@b",
    ] {
        assert!(email_fault(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn an_alert_says_what_was_not_told() {
    let mail = alert(&Failure {
        workflow: "Tier 0".to_owned(),
        action: "SIEM".to_owned(),
        event_at: Timestamp(1_780_000_000_000),
        about: "Domain Admin".to_owned(),
        attempts: 7,
        error: "the receiver answered 500".to_owned(),
        failed: 3,
    });
    assert_eq!(mail.subject, "Keywheel could not deliver: Tier 0, SIEM");
    for part in [
        "Workflow: Tier 0\n",
        "Action: SIEM\n",
        "Event time: 2026-05-28T20:26:40Z\n",
        "Password: Domain Admin\n",
        "Attempts: 7\n",
        "Last error: the receiver answered 500\n",
        "since the last alert: 3\n",
    ] {
        assert!(mail.body.contains(part), "{}", mail.body);
    }
}

#[test]
fn waits_grow_end_and_heed_the_receiver() {
    let exact = |span| span;
    let waits: Vec<_> = (0..9).map(|tries| next_wait(tries, None, exact)).collect();
    let seconds = |waits: &[Option<std::time::Duration>]| {
        waits
            .iter()
            .map(|wait| wait.map(|wait| wait.as_secs()))
            .collect::<Vec<_>>()
    };
    let wanted = [0, 10, 60, 300, 1_800, 7_200, 21_600].map(Some);
    assert_eq!(seconds(&waits[..7]), wanted);
    assert_eq!(seconds(&waits[7..]), [None, None]);
    let asked = |seconds| Some(std::time::Duration::from_secs(seconds));
    assert_eq!(seconds(&[next_wait(1, asked(120), exact)]), [Some(120)]);
    assert_eq!(seconds(&[next_wait(3, asked(120), exact)]), [Some(300)]);
    assert_eq!(
        seconds(&[next_wait(1, asked(9_000_000), exact)]),
        [Some(21_600)]
    );
    assert_eq!(next_wait(7, asked(5), exact), None);
}
