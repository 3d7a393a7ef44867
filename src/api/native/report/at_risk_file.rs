//! `/api/v1/reports/at-risk/export`: the same report as a file to keep or to print.
//!
//! Its rows lead to the pages of their records and accounts, where people reach the service.
//!
//! Invariant: the file holds no value; every text in it is escaped, and no cell of it is a formula.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::at_risk::{asked, chunk};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::native::problem::Problem;
use crate::api::passwordsafe::Params;
use crate::api::peer::Peer;
use crate::api::record::escaped;
use crate::api::reveal::{Seeing, on_record};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::UserId;
use crate::model::password_record::PasswordRecord;
use crate::model::report::{AccessedPassword, Tab, days_since, spreadsheet_text};
use crate::model::reveal::{AccessMethod, Subject, page_path};

/// Rows of one file.
const ROWS_MAX: usize = 20_000;

const COLUMNS: [&str; 11] = [
    "Organization",
    "Password",
    "Username",
    "Category",
    "Kind",
    "Linked account",
    "Last action",
    "Last accessed at",
    "Password updated at",
    "Days since change",
    "At risk",
];

/// The page has its style in itself, and nothing else.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

const STYLE: &str = "body{font:10pt sans-serif}table{border-collapse:collapse;width:100%}\
    th,td{border:1px solid #999;padding:2pt 4pt;text-align:left;vertical-align:top}\
    thead{display:table-header-group}tr{break-inside:avoid}.risk td{color:#b00020}\
    @page{size:A4 landscape;margin:12mm}";

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native).get(
        "/api/v1/reports/at-risk/export",
        Need::Administrator,
        export,
    )
}

/// What a row leads to: a URL if the operator has said where people reach the service, else a path.
fn link_of(row: &AccessedPassword, public_url: Option<&str>) -> Option<String> {
    let organization = row.organization.as_ref().map(|(id, _)| *id);
    let account = row.account.as_ref().map(|(id, _)| *id);
    let path = page_path(organization, row.record_id, account)?;
    Some(format!("{}{path}", public_url.unwrap_or_default()))
}

/// One row's texts, in the order of the columns.
fn cells(row: &AccessedPassword, now: Timestamp) -> [String; COLUMNS.len()] {
    let days = row.changed_at.map(|at| days_since(at, now).to_string());
    [
        row.organization.as_ref().map(|(_, name)| name.clone()),
        Some(row.name.clone()),
        row.username.clone(),
        row.category.clone(),
        Some(row.kind.to_owned()),
        row.account.as_ref().map(|(_, name)| name.clone()),
        Some(row.action.clone()),
        Some(row.accessed_at.rfc3339()),
        row.changed_at.map(Timestamp::rfc3339),
        days,
        Some(if row.at_risk { "yes" } else { "no" }.to_owned()),
    ]
    .map(Option::unwrap_or_default)
}

/// A table for a spreadsheet; what a row leads to is its last cell.
fn as_csv(
    rows: &[AccessedPassword],
    (public_url, now): (Option<&str>, Timestamp),
) -> Result<Vec<u8>, ApiError> {
    const BROKEN: ApiError = ApiError::Internal("a report could not be written");
    let mut file = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let heads = COLUMNS.into_iter().chain(["Link"]);
    file.write_record(heads).map_err(|_| BROKEN)?;
    for row in rows {
        let link = link_of(row, public_url).unwrap_or_default();
        let cells = cells(row, now);
        let cells = cells.iter().chain([&link]);
        let safe = cells.map(|cell| spreadsheet_text(cell));
        file.write_record(safe.map(|cell| cell.as_bytes().to_vec()))
            .map_err(|_| BROKEN)?;
    }
    file.into_inner().map_err(|_| BROKEN)
}

/// A page to print; a password's name leads to its page.
fn as_html(
    rows: &[AccessedPassword],
    title: &str,
    (public_url, now): (Option<&str>, Timestamp),
) -> String {
    let mut page = String::with_capacity(1_024 + rows.len() * 512);
    let title = escaped(title);
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    page.push_str(&title);
    page.push_str("</title><style>");
    page.push_str(STYLE);
    page.push_str("</style></head><body><h1>");
    page.push_str(&title);
    page.push_str("</h1><p>");
    page.push_str(&now.rfc3339());
    page.push_str("</p><table><thead><tr>");
    for column in COLUMNS {
        page.push_str("<th>");
        page.push_str(column);
        page.push_str("</th>");
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str(if row.at_risk {
            "<tr class=\"risk\">"
        } else {
            "<tr>"
        });
        for (column, cell) in COLUMNS.iter().zip(cells(row, now)) {
            let text = escaped(&cell);
            let named = Some(row).filter(|_| *column == "Password");
            if let Some(href) = named.and_then(|row| link_of(row, public_url)) {
                page.push_str("<td><a href=\"");
                page.push_str(&escaped(&href));
                page.push_str("\">");
                page.push_str(&text);
                page.push_str("</a></td>");
            } else {
                page.push_str("<td>");
                page.push_str(&text);
                page.push_str("</td>");
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></body></html>\n");
    page
}

/// The form of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Html,
}

async fn rows(api: &Api, user: UserId, tab: Tab) -> Result<Vec<AccessedPassword>, ApiError> {
    let mut found = Vec::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let chunk = chunk(api, user, after).await?;
        next = chunk.next;
        let rows = chunk.rows.into_iter().flat_map(|(_, rows)| rows);
        found.extend(rows.filter(|row| tab == Tab::AllAccessed || row.at_risk));
        if found.len() > ROWS_MAX {
            let text = "The report has more than 20000 rows: read it page by page";
            return Err(ApiError::conflict(text));
        }
    }
    Ok(found)
}

/// What a row is of, as workflows see it.
fn subject(row: &AccessedPassword) -> Subject {
    Subject {
        record_id: row.record_id,
        account: row.account.clone(),
        name: row.name.clone(),
        username: row.username.clone(),
        url: None,
        notes: None,
        organization: None,
        category: None,
        updated_by: None,
    }
}

/// The report as a file. It holds no values; that it was taken out is an access all the same, and
/// workflows tell of it.
#[utoipa::path(
    get, path = "/api/v1/reports/at-risk/export", tag = "reports",
    params(
        ("user_id" = i64, Query, description = "Whose accesses"),
        ("tab" = Option<String>, Query, description = "`at_risk` (default) or `all_accessed`"),
        ("format" = Option<String>, Query, description = "`csv` (default), or `html`: a page to print"),
    ),
    responses(
        (status = 200, description = "The file",
         content((String = "text/csv"), (String = "text/html"))),
        (status = "4XX", body = Problem),
    ),
)]
pub(in crate::api::native) async fn export(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    params: Params,
) -> Result<Response, ApiError> {
    let (user, tab) = asked(&api, &params).await?;
    let format = match params.text("format") {
        None | Some("csv") => Format::Csv,
        Some("html") => Format::Html,
        Some(_) => return Err(ApiError::field("format", "must be csv or html")),
    };
    let rows = rows(&api, user, tab).await?;
    let at = (api.settings.public_url.as_deref(), api.clock.now());
    let file = match format {
        Format::Csv => as_csv(&rows, at)?,
        Format::Html => {
            let title = format!("Passwords at risk: user {}, {}", user.0, tab.as_str());
            as_html(&rows, &title, at).into_bytes()
        }
    };
    let seen = seen(&api, &rows).await?;
    let details = json!({"tab": tab.as_str(), "rows": rows.len()});
    let event = Event::by(caller.actor(), "report.exported", user, details);
    let seeing = Seeing {
        caller: &caller,
        from,
        method: AccessMethod::AtRiskExport,
    };
    let mut tx = api.store.begin().await?;
    on_record(&api, &mut tx, seeing, (None, seen, true), &[&event]).await?;
    tx.commit().await?;
    let (kind, name) = match format {
        Format::Csv => (
            "text/csv; charset=utf-8",
            "attachment; filename=\"at-risk.csv\"",
        ),
        Format::Html => (
            "text/html; charset=utf-8",
            "inline; filename=\"at-risk.html\"",
        ),
    };
    let mut response = file.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
    if format == Format::Html {
        headers.insert(header::CONTENT_SECURITY_POLICY, CSP);
    }
    Ok(response)
}

/// What is in the file, as filters look at it.
async fn seen(api: &Api, rows: &[AccessedPassword]) -> Result<Vec<Subject>, ApiError> {
    let ids: Vec<_> = rows.iter().filter_map(|row| row.record_id).collect();
    let records = api.store.password_records_by_id(&ids).await?;
    let mut seen: Vec<Subject> = records.iter().map(PasswordRecord::subject).collect();
    let bare = rows.iter().filter(|row| row.record_id.is_none());
    seen.extend(bare.map(subject));
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{OrganizationId, PasswordRecordId};

    fn row(name: &str) -> AccessedPassword {
        AccessedPassword {
            organization: Some((OrganizationId(2), "A & B".into())),
            record_id: Some(PasswordRecordId(54)),
            name: name.into(),
            username: Some("=cmd|' /C calc'!A0".into()),
            category: None,
            kind: "general",
            account: None,
            action: "api_show".into(),
            accessed_at: Timestamp(0),
            changed_at: None,
            at_risk: true,
        }
    }

    #[test]
    fn no_cell_is_a_formula_and_none_breaks_out() {
        let file = as_csv(&[row("a,\"b\"\r\nc")], (None, Timestamp(0))).unwrap();
        let mut reader = csv::Reader::from_reader(file.as_slice());
        let cells = reader.records().next().unwrap().unwrap();
        assert_eq!(cells.len(), COLUMNS.len() + 1);
        assert_eq!(&cells[1], "a,\"b\"\r\nc");
        assert_eq!(&cells[2], "'=cmd|' /C calc'!A0");
    }

    #[test]
    fn the_page_holds_no_markup_of_others() {
        let at = (Some("https://a.example/\"kw"), Timestamp(0));
        let page = as_html(&[row("<script>x</script>\"'&")], "t<u>", at);
        assert!(
            !page.contains("<script>") && !page.contains("t<u>"),
            "{page}"
        );
        assert!(
            page.contains("<a href=\"https://a.example/&quot;kw/2/passwords/54\">&lt;script&gt;"),
            "{page}"
        );
        assert!(page.contains("<td>A &amp; B</td>"), "{page}");
    }
}
