//! Reads query strings as the dialect's clients write them: pages, sort, filters and includes.
//!
//! `-` equals `_` in names and in what sort and include name; brackets come raw or encoded; `+` is a
//! space; a stray `&` and an empty value count for nothing; unknown names are ignored.
//!
//! Invariant: a filter that was understood narrows; a value of it that cannot be read is refused,
//! never dropped.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, NaiveDate, NaiveTime};

use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::nul;
use crate::model::Timestamp;

/// Entries of a page, where nobody says.
const SIZE_DEFAULT: i64 = 50;
/// Most entries of a page.
const SIZE_MAX: i64 = 1_000;
/// Last page that can be asked for: beyond it there is nothing.
const NUMBER_MAX: i64 = 2_147_483_647;
/// Values of one filter: as many as a page has entries.
const VALUES_MAX: usize = 1_000;

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// From 1.
    pub(super) number: i64,
    /// Entries of a page.
    pub(super) size: i64,
}

impl Page {
    /// Entries before it.
    pub(super) const fn offset(self) -> i64 {
        (self.number - 1).saturating_mul(self.size)
    }
}

/// A span of time, open where nothing stands; both ends are in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// Not before.
    pub(super) from: Option<Timestamp>,
    /// Not after.
    pub(super) to: Option<Timestamp>,
}

impl Span {
    /// True if a moment lies in it.
    pub(super) fn holds(self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at <= to)
    }
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    /// As it was sent, decoded.
    sent: String,
    /// With underscores.
    name: String,
    value: String,
}

impl Pair {
    /// True if the name was spelled with underscores.
    fn is_plain(&self) -> bool {
        self.sent == self.name
    }
}

/// The parameters of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<Pair>);

impl Query {
    /// Reads a query string; whatever stands there is some query.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if a text holds U+0000.
    pub(super) fn parse(raw: &str) -> Result<Self, ApiError> {
        let parts = raw.split('&').filter(|part| !part.is_empty());
        let pairs: Vec<Pair> = parts
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                let sent = decoded(name);
                Pair {
                    name: sent.replace('-', "_"),
                    sent,
                    value: decoded(value),
                }
            })
            .collect();
        nul::none_in(pairs.iter().map(|pair| pair.sent.as_str()))?;
        nul::none_in(pairs.iter().map(|pair| pair.value.as_str()))?;
        Ok(Self(pairs))
    }

    /// A parameter that has a value. Of two spellings the one with underscores counts, of several
    /// values the first.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let given = || {
            self.0
                .iter()
                .filter(|pair| pair.name == name && !pair.value.is_empty())
        };
        let found = given().find(|pair| pair.is_plain());
        found
            .or_else(|| given().next())
            .map(|pair| pair.value.as_str())
    }

    /// A switch; what is no switch was not given.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        boolean(self.text(name)?)
    }

    /// A number that must make sense to count.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// `page[number]` and `page[size]`.
    pub(super) fn page(&self) -> Page {
        let number = self.int("page[number]").filter(|number| *number >= 1);
        let size = self.int("page[size]").filter(|size| *size >= 1);
        Page {
            number: number.unwrap_or(1).min(NUMBER_MAX),
            size: size.unwrap_or(SIZE_DEFAULT).min(SIZE_MAX),
        }
    }

    /// What to sort by, of what is known; true: the other way round.
    pub(super) fn sort<T: Copy>(&self, known: &[(&str, T)]) -> Vec<(T, bool)> {
        let asked = self.text("sort").unwrap_or_default().split(',');
        asked
            .filter_map(|one| {
                let one = one.trim();
                let (reverse, name) = one
                    .strip_prefix('-')
                    .map_or((false, one), |name| (true, name));
                let name = name.replace('-', "_");
                let found = known.iter().find(|(known, _)| *known == name);
                found.map(|(_, by)| (*by, reverse))
            })
            .collect()
    }

    /// Names of what is to be included, with underscores.
    pub(super) fn includes(&self) -> Vec<String> {
        let asked = self.text("include").unwrap_or_default().split(',');
        let names = asked.map(|one| one.trim().replace('-', "_"));
        names.filter(|name| !name.is_empty()).collect()
    }

    /// The names of all filters that were sent, with or without a value: `filter[name]`.
    pub(super) fn filters(&self) -> impl Iterator<Item = &str> {
        let names = self.0.iter().map(|pair| pair.name.as_str());
        names.filter(|name| name.starts_with("filter") || name.starts_with("exclude"))
    }

    /// True if a filter has a value that passes less than everything: commas alone and dates that are
    /// open at both ends do not.
    pub(super) fn narrows(&self, name: &str) -> bool {
        let is_date = name.contains("_at]");
        let says = |sign: char| sign != ',' && !sign.is_whitespace() && !(is_date && sign == '*');
        self.text(name).is_some_and(|value| value.contains(says))
    }

    /// The values of a filter, any of which may fit; `\,` is a comma.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if there are too many.
    pub(super) fn any_of(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        let Some(raw) = self.text(name) else {
            return Ok(None);
        };
        let values = split(raw);
        if values.len() > VALUES_MAX {
            return Err(fault(name, &format!("has more than {VALUES_MAX} values")));
        }
        Ok(Some(values).filter(|values| !values.is_empty()))
    }

    /// The values of a filter, as ids.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if one is no number, or there are too many.
    pub(super) fn ids(&self, name: &str) -> Result<Option<Vec<i64>>, ApiError> {
        let Some(values) = self.any_of(name)? else {
            return Ok(None);
        };
        let ids = values.iter().map(|value| value.trim().parse().ok());
        let ids: Option<Vec<i64>> = ids.collect();
        ids.map(Some)
            .ok_or_else(|| fault(name, "must be ids with commas between them"))
    }

    /// A filter that is true or false.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if it is neither.
    pub(super) fn either(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(raw) = self.text(name) else {
            return Ok(None);
        };
        boolean(raw)
            .map(Some)
            .ok_or_else(|| fault(name, "must be true or false"))
    }

    /// A filter by date: `start,end` with `*` for open, or `[gt]`, `[gte]`, `[lt]`, `[lte]`.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if an end is no date.
    pub(super) fn span(&self, name: &str) -> Result<Option<Span>, ApiError> {
        let mut span = Span::default();
        if let Some(raw) = self.text(name) {
            let (from, to) = raw.split_once(',').unwrap_or((raw, "*"));
            span.from = end(name, from, false)?;
            span.to = end(name, to, true)?;
        }
        let of = |operator: &str, late| {
            let name = format!("{name}[{operator}]");
            self.text(&name)
                .map_or(Ok(None), |raw| end(&name, raw, late))
        };
        let later = |at: Timestamp| Timestamp(at.0.saturating_add(1));
        let sooner = |at: Timestamp| Timestamp(at.0.saturating_sub(1));
        let from = of("gte", false)?.max(of("gt", true)?.map(later));
        span.from = span.from.max(from);
        for to in [of("lte", true)?, of("lt", false)?.map(sooner)] {
            span.to = match (span.to, to) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        Ok(Some(span).filter(|span| *span != Span::default()))
    }

    /// The query string again, for another page.
    pub(super) fn with_page(&self, page: Page) -> String {
        let others = self
            .0
            .iter()
            .filter(|pair| !matches!(pair.name.as_str(), "page[number]" | "page[size]"))
            .map(|pair| (pair.sent.as_str(), pair.value.as_str()));
        let (number, size) = (page.number.to_string(), page.size.to_string());
        let own = [("page[number]", number.as_str()), ("page[size]", &size)];
        let pairs: Vec<(&str, &str)> = others.chain(own).collect();
        // Pairs of texts can always be encoded.
        serde_urlencoded::to_string(pairs).unwrap_or_default()
    }
}

impl FromRequestParts<Api> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

/// A fault of a parameter: it is no attribute, and has no pointer.
fn fault(name: &str, text: &str) -> ApiError {
    ApiError::bad(format!("{name} {text}"))
}

/// `true`, `false`, `1` or `0`.
pub(super) fn boolean(raw: &str) -> Option<bool> {
    match raw.trim().trim_matches('"').to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Percent-decoded, with `+` for a space; what is no UTF-8 becomes U+FFFD.
fn decoded(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, behind @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                match digit(high).zip(digit(low)) {
                    Some((high, low)) => {
                        bytes.extend(u8::try_from(high * 16 + low));
                        rest = behind;
                    }
                    None => bytes.push(b'%'),
                }
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Values between commas; `\,` is a comma in one.
fn split(raw: &str) -> Vec<String> {
    let (mut values, mut value) = (Vec::new(), String::new());
    let mut signs = raw.chars().peekable();
    while let Some(sign) = signs.next() {
        match (sign, signs.peek()) {
            ('\\', Some(',')) => value.extend(signs.next()),
            (',', _) => values.push(std::mem::take(&mut value)),
            _ => value.push(sign),
        }
    }
    values.push(value);
    values.retain(|value| !value.is_empty());
    values
}

/// One end of a span; a date alone is its first moment, or as a late end its last.
fn end(name: &str, raw: &str, late: bool) -> Result<Option<Timestamp>, ApiError> {
    let raw = raw.trim();
    if raw.is_empty() || raw == "*" {
        return Ok(None);
    }
    let read = moment(raw, late);
    read.map(Some)
        .ok_or_else(|| fault(name, "must be dates as 2026-03-01T09:30:00Z, or *"))
}

/// A moment by RFC 3339, or a date.
pub(super) fn moment(raw: &str, late: bool) -> Option<Timestamp> {
    if let Ok(at) = DateTime::parse_from_rfc3339(raw) {
        return Some(Timestamp::from_utc(at.to_utc()));
    }
    let date = NaiveDate::parse_from_str(raw, "%Y-%m-%d").ok()?;
    let date = if late { date.succ_opt()? } else { date };
    let at = Timestamp::from_utc(date.and_time(NaiveTime::MIN).and_utc());
    Some(Timestamp(at.0 - i64::from(late)))
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;

    fn query(raw: &str) -> Query {
        Query::parse(raw).unwrap()
    }

    #[test]
    fn every_spelling_of_a_parameter_is_read() {
        for raw in [
            "filter[organization_id]=2&x",
            "&&filter%5Borganization_id%5D=2&",
            "filter[organization-id]=2",
            "filter%5borganization%2Did%5d=%32",
        ] {
            let found = query(raw).ids("filter[organization_id]").unwrap();
            assert_eq!(found, Some(vec![2]), "{raw}");
        }
        let name = query("filter[name]=A+B%20C%2B");
        assert_eq!(name.text("filter[name]"), Some("A B C+"));
        let both = query("show-password=false&show_password=true");
        assert_eq!(both.flag("show_password"), Some(true));
        let empty = query("show-password=1&show_password=");
        assert_eq!(empty.flag("show_password"), Some(true));
        assert_eq!(query("filter=%7B%22id%22%3A1%7D").text("filter[id]"), None);
        assert_eq!(query("a=%zz%4&b=%").text("a"), Some("%zz%4"));
    }

    #[test]
    fn pages_are_clamped_and_nonsense_is_the_default() {
        for (raw, number, size) in [
            ("", 1, 50),
            ("page[number]=3&page[size]=25", 3, 25),
            ("page%5Bnumber%5D=2&page%5Bsize%5D=5000", 2, 1_000),
            ("page[number]=0&page[size]=-1", 1, 50),
            ("page[number]=x&page[size]=", 1, 50),
            ("page[number]=99999999999999999999", 1, 50),
        ] {
            assert_eq!(query(raw).page(), Page { number, size }, "{raw}");
        }
        let far = query("page[number]=9223372036854775807&page[size]=1000").page();
        assert_eq!(far.offset(), (NUMBER_MAX - 1) * 1_000);
    }

    #[test]
    fn sorts_and_includes_know_both_spellings_and_skip_the_unknown() {
        let known = [("name", 1), ("updated_at", 2)];
        let found = query("sort=-updated-at,colour,%20name").sort(&known);
        assert_eq!(found, [(2, true), (1, false)]);
        let found = query("include=password-category,,password_folder").includes();
        assert_eq!(found, ["password_category", "password_folder"]);
    }

    #[test]
    fn commas_part_values_unless_a_backslash_stands_before() {
        let found = query("filter[name]=a\\,b,c")
            .any_of("filter[name]")
            .unwrap();
        assert_eq!(found, Some(vec!["a,b".to_owned(), "c".to_owned()]));
        assert_eq!(
            query("filter[name]=,,").any_of("filter[name]").unwrap(),
            None
        );
        let found = query("filter[id]=1,%202").ids("filter[id]").unwrap();
        assert_eq!(found, Some(vec![1, 2]));
        query("filter[id]=1,x").ids("filter[id]").unwrap_err();
    }

    #[test]
    fn a_filter_that_passes_everything_is_told_from_one_that_narrows() {
        for (raw, narrows) in [
            ("filter[id]=1", true),
            ("filter[id]=,1", true),
            ("filter[id]=,,", false),
            ("filter[id]=+", false),
            ("filter[id]=", false),
            ("filter[name]=*", true),
            ("filter[name]=\\,", true),
            ("filter[created_at]=*,*", false),
            ("filter[created_at][gt]=*", false),
            ("filter[created_at]=*,2026-01-01", true),
        ] {
            let (name, _) = raw.split_once('=').unwrap();
            assert_eq!(query(raw).narrows(name), narrows, "{raw}");
        }
    }

    #[test]
    fn spans_are_open_where_a_star_stands() {
        let at = |text: &str| moment(text, false);
        let span = |raw: &str| query(raw).span("filter[updated_at]").unwrap();
        let name = "filter[updated_at]";
        let found = span(&format!("{name}=2026-01-01,*")).unwrap();
        assert_eq!((found.from, found.to), (at("2026-01-01T00:00:00Z"), None));
        let found = span(&format!("{name}=*,2026-01-01")).unwrap();
        assert_eq!(found.to, at("2026-01-01T23:59:59.999Z"));
        let found = span(&format!("{name}[gt]=2026-01-01&{name}[lt]=2026-01-03")).unwrap();
        assert_eq!(
            (found.from, found.to),
            (at("2026-01-02"), at("2026-01-02T23:59:59.999Z"))
        );
        assert_eq!(span(&format!("{name}=*,*")), None);
        query(&format!("{name}=soon")).span(name).unwrap_err();
    }

    #[test]
    fn a_link_keeps_every_other_parameter() {
        let page = Page {
            number: 2,
            size: 25,
        };
        let link = query("page[number]=1&sort=-name&filter[name]=A%20B&&").with_page(page);
        assert_eq!(
            link,
            "sort=-name&filter%5Bname%5D=A+B&page%5Bnumber%5D=2&page%5Bsize%5D=25"
        );
    }
}
