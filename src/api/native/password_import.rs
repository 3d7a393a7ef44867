//! `/api/v1/imports/passwords`: brings password records in, from a CSV file, JSON rows or a KeePass
//! file.
//!
//! Invariant: a dry run writes nothing, an import rotates and reveals nothing, and no answer repeats
//! a value that was given.

mod keepass;

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::discovery::flag;
use super::import::{ImportFault, Lines};
use super::input::read;
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Params;
use crate::api::peer::Peer;
use crate::api::record::Asker;
use crate::api::record::import::{ImportRow, Verdict, column, import};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect, detached};
use crate::model::id::OrganizationId;
use crate::model::principal::Permission;

/// Rows of one import.
const ROWS_MAX: usize = 2_000;
/// Columns of one file.
const COLUMNS_MAX: usize = 100;
/// Longest name of a column that is told back.
const NAME_MAX_CHARS: usize = 60;
/// The password of a KeePass file: UTF-8, in base 64.
const KEEPASS_PASSWORD: &str = "x-keepass-password";

pub(super) fn routes() -> Routes {
    const BOTH: &[Permission] = &[Permission::ImportsRun, Permission::PasswordsWrite];
    Routes::new(Dialect::Native).post("/api/v1/imports/passwords", Need::All(BOTH), run)
}

/// Rows in JSON; a CSV file has the same names in its header line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPasswordImport {
    /// At most 2000. Each an object with `name`, `organization` or `organization_id`, and perhaps
    /// `username`, `password`, `otp_secret`, `url`, `notes`, `autofill_selectors`,
    /// `password_category` (its name), `password_folder` (a path), `archived`, `restricted`,
    /// `shareable`, `resource_type` with `resource_id`, `resource_name`, `password_updated_at`.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<Map<String, Value>>,
}

/// What came of an import.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasswordsImported {
    /// True: nothing was written, and this is what would have come of it.
    dry_run: bool,
    /// Columns that are not known here; what they held was left out.
    unknown_columns: BTreeSet<String>,
    counts: PasswordCounts,
    /// One for each row, in their order.
    rows: Vec<ImportedPassword>,
}

/// Rows by what came of them.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct PasswordCounts {
    created: usize,
    exists: usize,
    duplicate: usize,
    invalid: usize,
    unknown_organization: usize,
    failed: usize,
}

/// What came of one row.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImportedPassword {
    /// In CSV the line on which it begins; else its place, from 1.
    row: u64,
    /// `created`; `exists`: a record of its name and login name is there and stays as it is;
    /// `duplicate`: `row` `duplicate_of` names the same one; `invalid`; `unknown_organization`;
    /// `failed`: the database did not take it, import it again.
    status: &'static str,
    /// The record, once it is there.
    password_id: Option<i64>,
    duplicate_of: Option<u64>,
    errors: Vec<ImportFault>,
}

impl ImportedPassword {
    fn of((row, verdict): (u64, Verdict), counts: &mut PasswordCounts) -> Self {
        let mut answer = Self {
            row,
            status: "",
            password_id: None,
            duplicate_of: None,
            errors: Vec::new(),
        };
        let (status, count) = match verdict {
            Verdict::Created(id) => {
                answer.password_id = id.map(|id| id.0);
                ("created", &mut counts.created)
            }
            Verdict::Exists(id) => {
                answer.password_id = Some(id.0);
                ("exists", &mut counts.exists)
            }
            Verdict::Duplicate(first) => {
                answer.duplicate_of = Some(first);
                ("duplicate", &mut counts.duplicate)
            }
            Verdict::Invalid(faults) => {
                answer.errors = faults.into_iter().map(ImportFault::from).collect();
                ("invalid", &mut counts.invalid)
            }
            Verdict::UnknownOrganization => {
                ("unknown_organization", &mut counts.unknown_organization)
            }
            Verdict::Failed(why) => {
                answer.errors.push(ImportFault::whole(why));
                ("failed", &mut counts.failed)
            }
        };
        answer.status = status;
        *count += 1;
        answer
    }
}

/// What was given: its rows, and the columns that nobody knows.
struct Sheet {
    rows: Vec<ImportRow>,
    unknown: BTreeSet<String>,
}

/// Imports password records. Each row stands for itself: what is wrong with one keeps none of the
/// others away. Rows are written a hundred at a time. A record that is there stays as it is; nothing
/// is rotated. A KeePass file (KDBX 3.1 or 4) comes with its password in `X-KeePass-Password`,
/// UTF-8 in base 64, and needs `organization_id`; its groups become folders.
#[utoipa::path(
    post, path = "/api/v1/imports/passwords", tag = "imports",
    params(
        ("dry_run" = Option<bool>, Query, description = "True: only say what would come of it"),
        ("organization_id" = Option<i64>, Query, description = "Where all rows go, whatever they say"),
        ("X-KeePass-Password" = Option<String>, Header, description = "UTF-8, in base 64"),
    ),
    request_body(content(
        (NewPasswordImport = "application/json"), (String = "text/csv"),
        (Vec<u8> = "application/x-keepass2"),
    )),
    responses((status = 200, body = PasswordsImported), (status = "4XX", body = Problem)),
)]
pub(super) async fn run(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    params: Params,
    request: Request,
) -> Result<Response, ApiError> {
    let dry_run = flag(&params, "dry_run")?.unwrap_or(false);
    let into = params.int("organization_id", 1..=i64::MAX)?;
    let into = into.map(OrganizationId);
    if let Some(into) = into
        && api.store.organization(into).await?.is_none()
    {
        return Err(ApiError::NotFound {
            what: "Organization",
        });
    }
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    let body = axum::body::to_bytes(body, api.settings.body_max_bytes);
    let body = async { body.await.map_err(|_| ApiError::TooLarge) };
    let sheet = match kind.as_str() {
        "text/csv" => of_csv(&body.await?)?,
        "application/json" => of_json(read(&body.await?)?)?,
        "application/x-keepass2" => {
            if into.is_none() {
                return Err(ApiError::field("organization_id", "is required"));
            }
            let password = keepass_password(&parts.headers)?;
            let bytes = body.await?;
            let read = tokio::task::spawn_blocking(move || keepass::sheet(&bytes, &password));
            let sheet = read.await;
            sheet.map_err(|_| ApiError::Internal("a KeePass file stopped its reader"))??
        }
        _ => return Err(ApiError::MediaType),
    };
    let Sheet { rows, unknown } = sheet;
    // A caller that hangs up stops nothing: half a file is what nobody asked for.
    let ended = detached(async move {
        let asker = Asker::anywhere(&caller, from);
        import(&api, asker, (into, dry_run), rows).await
    });
    let mut counts = PasswordCounts::default();
    let verdicts = ended.await??;
    let rows = verdicts
        .into_iter()
        .map(|verdict| ImportedPassword::of(verdict, &mut counts))
        .collect();
    Ok(Json(PasswordsImported {
        dry_run,
        unknown_columns: unknown,
        counts,
        rows,
    })
    .into_response())
}

/// The password of a KeePass file. It stands in a header: a URL is written to logs.
fn keepass_password(headers: &HeaderMap) -> Result<SecretString, ApiError> {
    let why = |text| Err(ApiError::field("X-KeePass-Password", text));
    let Some(value) = headers.get(KEEPASS_PASSWORD) else {
        return why("is required: the file's password, UTF-8 in base 64");
    };
    let bytes = STANDARD.decode(value.as_bytes()).map(Zeroizing::new);
    let Ok(bytes) = bytes else {
        return why("must be base 64");
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(SecretString::from(text)),
        Err(_) => why("must be UTF-8 in base 64"),
    }
}

fn few(rows: usize) -> Result<(), ApiError> {
    if rows == 0 {
        return Err(ApiError::bad("there is no row"));
    }
    if rows > ROWS_MAX {
        return Err(ApiError::bad("an import has at most 2000 rows"));
    }
    Ok(())
}

/// The name of a column that nobody knows, as it is told back.
fn told(name: &str) -> String {
    let name = name.trim().chars().filter(|c| !c.is_control());
    name.take(NAME_MAX_CHARS).collect()
}

fn of_json(new: NewPasswordImport) -> Result<Sheet, ApiError> {
    few(new.rows.len())?;
    let mut unknown = BTreeSet::new();
    let mut rows = Vec::with_capacity(new.rows.len());
    for (number, fields) in (1_u64..).zip(new.rows) {
        let mut row = ImportRow::new(number);
        for (name, value) in fields {
            let Some(column) = column(&name) else {
                if unknown.len() < COLUMNS_MAX {
                    unknown.insert(told(&name));
                }
                continue;
            };
            match value {
                Value::Null => {}
                Value::String(text) => row.set(column, &Zeroizing::new(text)),
                Value::Bool(flag) => row.set(column, if flag { "true" } else { "false" }),
                Value::Number(number) => row.set(column, &number.to_string()),
                Value::Array(_) | Value::Object(_) => row.refuse(column, "must be a text"),
            }
        }
        rows.push(row);
    }
    Ok(Sheet { rows, unknown })
}

/// Reads a file: UTF-8, perhaps with a byte order mark, a header line, RFC 4180 otherwise.
fn of_csv(bytes: &[u8]) -> Result<Sheet, ApiError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.contains(&0) {
        return Err(ApiError::bad("the file must be UTF-8 without U+0000"));
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut records = reader.byte_records();
    let broken = |_| ApiError::bad("the file is no CSV");
    let first = records
        .next()
        .ok_or_else(|| ApiError::bad("the file has no header line"))?
        .map_err(broken)?;
    let (columns, unknown) = header_of(&first)?;
    let mut rows = Vec::new();
    let mut lines = Lines::of(bytes);
    for record in records {
        let record = record.map_err(broken)?;
        if record.iter().all(<[u8]>::is_empty) {
            continue; // a line that spreadsheets leave behind
        }
        let begin = record.position().map_or(0, csv::Position::byte);
        let mut row = ImportRow::new(lines.at(usize::try_from(begin).unwrap_or(usize::MAX)));
        if record.len() != columns.len() {
            row.refuse("", "has more or fewer fields than the first line");
        }
        for (column, cell) in columns.iter().zip(&record) {
            let Some(column) = column else { continue };
            match std::str::from_utf8(cell) {
                Ok(text) => row.set(column, text),
                Err(_) => row.refuse(column, "is no UTF-8"),
            }
        }
        rows.push(row);
        few(rows.len())?;
    }
    few(rows.len())?;
    Ok(Sheet { rows, unknown })
}

/// The columns of a header line, `None` where one is not known, and the names of those.
fn header_of(
    first: &csv::ByteRecord,
) -> Result<(Vec<Option<&'static str>>, BTreeSet<String>), ApiError> {
    if first.len() > COLUMNS_MAX {
        return Err(ApiError::bad("a file has at most 100 columns"));
    }
    let mut unknown = BTreeSet::new();
    let mut columns: Vec<Option<&'static str>> = Vec::with_capacity(first.len());
    for name in first {
        let name = std::str::from_utf8(name).map_err(|_| ApiError::bad("the file is no UTF-8"))?;
        let known = column(name);
        if known.is_some() && columns.contains(&known) {
            return Err(ApiError::bad("a column is named twice"));
        }
        if known.is_none() && !name.trim().is_empty() {
            unknown.insert(told(name));
        }
        columns.push(known);
    }
    // Without it the first line is none, and perhaps a row with a password.
    if !columns.contains(&Some("name")) {
        return Err(ApiError::bad(
            "the column name is missing in the first line",
        ));
    }
    Ok((columns, unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(file: &str) -> Vec<u64> {
        let sheet = of_csv(file.as_bytes()).unwrap();
        sheet.rows.iter().map(|row| row.number).collect()
    }

    #[test]
    fn columns_are_known_however_they_are_written() {
        let file = "\u{feff}Organization,NAME,Password Category,Resource-Type,color,Color\r\n\
                    Acme,\"two\nlines\",,,red,\r\n,,,,,\r\nAcme,b,,,,\r\n";
        assert_eq!(numbers(file), [2, 5]);
        let sheet = of_csv(file.as_bytes()).unwrap();
        assert_eq!(Vec::from_iter(&sheet.unknown), ["Color", "color"]);
    }

    #[test]
    fn a_file_that_is_none_is_refused_whole_and_nothing_of_it_repeated() {
        let long = format!("name\n{}", "a\n".repeat(ROWS_MAX + 1));
        let wide = format!("name{}\na", ",x".repeat(COLUMNS_MAX));
        for file in [
            "",
            "name\n",
            "web,secret-7731\n",
            "name,title\na,b\n",
            "name\na\0\n",
            &long,
            &wide,
        ] {
            let refused = of_csv(file.as_bytes()).map(drop).unwrap_err();
            assert!(!format!("{refused:?}").contains("7731"), "{file:.40}");
        }
    }

    #[test]
    fn a_bad_row_is_told_from_a_bad_file() {
        let sheet = of_csv(b"name,url\na\na,b,c\n\xff\xfe,b\na,b\n").unwrap();
        let sound: Vec<bool> = sheet.rows.iter().map(ImportRow::is_sound).collect();
        assert_eq!(sound, [false, false, false, true]);
    }

    #[test]
    fn json_rows_have_the_same_columns() {
        let new = |text: &str| of_json(read(text.as_bytes()).unwrap());
        let sheet = new(r#"{"rows": [{"name": "a", "archived": true, "id": 7, "url": ["x"]}]}"#);
        let sheet = sheet.unwrap();
        assert_eq!(Vec::from_iter(&sheet.unknown), ["id"]);
        assert!(!sheet.rows[0].is_sound());
        assert!(new(r#"{"rows": []}"#).is_err());
    }
}
