//! `/api/v1/imports`: brings accounts in, from a CSV file or JSON rows.
//!
//! Invariant: a dry run writes nothing, and no answer repeats a value that was given.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::discovery::flag;
use super::input::read;
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::Act;
use crate::api::inventory::import::{self, ImportRow, Verdict};
use crate::api::passwordsafe::Params;
use crate::api::route::Routes;
use crate::api::{Api, Dialect, detached};
use crate::model::fault::Fault;
use crate::model::principal::Permission;

/// Rows of one import: a transaction each, while somebody waits.
const ROWS_MAX: usize = 2_000;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native).post("/api/v1/imports", Permission::ImportsRun, run)
}

/// Rows in JSON; a CSV file has the same names in its header line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewImport {
    /// At most 2000. Each an object with `system` (name or id) and `name`; and perhaps
    /// `distinguished_name`, `domain_name`, `user_principal_name`, `sam_account_name`,
    /// `description`, `policy` (its name), `password`, `auto_management`, `check_password`,
    /// `use_own_credentials`.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<Map<String, Value>>,
}

/// What came of an import.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Imported {
    /// True: nothing was written, and this is what would have come of it.
    dry_run: bool,
    counts: ImportCounts,
    /// One for each row, in their order.
    rows: Vec<ImportedRow>,
}

/// Rows by what came of them.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ImportCounts {
    created: usize,
    exists: usize,
    duplicate: usize,
    invalid: usize,
    unknown_system: usize,
    failed: usize,
}

/// What came of one row.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImportedRow {
    /// In CSV the line on which it begins; in JSON its place, from 1.
    row: u64,
    /// `created`; `exists`: it is managed already and stays as it is; `duplicate`: `row`
    /// `duplicate_of` names the same account; `invalid`; `unknown_system`; `failed`: the database
    /// did not take it, import it again.
    status: &'static str,
    /// The account, once it is there.
    account_id: Option<i64>,
    /// The test of its password. An import never changes a credential.
    job_id: Option<i64>,
    duplicate_of: Option<u64>,
    errors: Vec<ImportFault>,
}

/// What is wrong with a row.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImportFault {
    /// The column; empty for the row as a whole.
    field: String,
    detail: String,
}

impl From<Fault> for ImportFault {
    fn from(fault: Fault) -> Self {
        Self {
            field: fault.field.to_owned(),
            detail: fault.problem,
        }
    }
}

impl ImportFault {
    /// Of the row as a whole.
    pub(super) fn whole(why: &str) -> Self {
        Self {
            field: String::new(),
            detail: why.to_owned(),
        }
    }
}

impl ImportedRow {
    fn of(row: u64, verdict: Verdict, counts: &mut ImportCounts) -> Self {
        let mut answer = Self {
            row,
            status: "",
            account_id: None,
            job_id: None,
            duplicate_of: None,
            errors: Vec::new(),
        };
        let (status, count) = match verdict {
            Verdict::Created { account, job } => {
                answer.account_id = account.map(|id| id.0);
                answer.job_id = job.map(|id| id.0);
                ("created", &mut counts.created)
            }
            Verdict::Exists(account) => {
                answer.account_id = account.map(|id| id.0);
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
            Verdict::UnknownSystem => ("unknown_system", &mut counts.unknown_system),
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

/// Imports accounts. Each row stands for itself: what is wrong with one keeps none of the others
/// away. A row with a password becomes an account whose password is tested; nothing is rotated,
/// and nothing will be by itself unless the row says `auto_management`, which needs
/// `accounts.write`, too.
#[utoipa::path(
    post, path = "/api/v1/imports", tag = "imports",
    params(("dry_run" = Option<bool>, Query, description = "True: only say what would come of it")),
    request_body(content((NewImport = "application/json"), (String = "text/csv"))),
    responses((status = 200, body = Imported), (status = "4XX", body = Problem)),
)]
pub(super) async fn run(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
    request: Request,
) -> Result<Response, ApiError> {
    let dry_run = flag(&params, "dry_run")?.unwrap_or(false);
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_csv = match kind.to_ascii_lowercase().as_str() {
        "text/csv" => true,
        "application/json" => false,
        _ => return Err(ApiError::MediaType),
    };
    let bytes = axum::body::to_bytes(body, api.settings.body_max_bytes)
        .await
        .map_err(|_| ApiError::TooLarge)?;
    let rows = if is_csv {
        of_csv(&bytes)?
    } else {
        let new: NewImport = read(&bytes)?;
        few(new.rows.len())?;
        (1_u64..).zip(new.rows).map(of_json).collect()
    };
    let may_manage = caller.user.may(Permission::AccountsWrite);
    let actor = caller.actor().to_owned();
    // A caller that hangs up stops nothing: half a file is what nobody asked for.
    let ended = detached(async move {
        let act = Act {
            api: &api,
            actor: &actor,
        };
        import::run(act, rows, may_manage, dry_run).await
    });
    let mut counts = ImportCounts::default();
    let verdicts = ended.await??;
    let rows = verdicts
        .into_iter()
        .map(|(row, verdict)| ImportedRow::of(row, verdict, &mut counts))
        .collect();
    Ok(Json(Imported {
        dry_run,
        counts,
        rows,
    })
    .into_response())
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

fn of_json((number, fields): (u64, Map<String, Value>)) -> ImportRow {
    let mut row = ImportRow::new(number);
    for (column, value) in fields {
        match value {
            Value::Null => {}
            Value::String(text) => row.set(&column, &text),
            Value::Bool(flag) => row.set(&column, if flag { "true" } else { "false" }),
            Value::Number(number) => row.set(&column, &number.to_string()),
            Value::Array(_) | Value::Object(_) => row.refuse("", "holds lists or objects"),
        }
    }
    row
}

/// Counts lines. The reader's own count is one short after a line that ends with CR and LF.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    done: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    /// From the first line on.
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self {
            text,
            done: 0,
            line: 1,
        }
    }

    /// The line on which the record stands that begins at `byte`, or after the line breaks there.
    pub(super) fn at(&mut self, byte: usize) -> u64 {
        let rest = self.text.get(self.done..).unwrap_or_default();
        for (offset, sign) in rest.iter().enumerate() {
            if self.done + offset >= byte && !matches!(sign, b'\r' | b'\n') {
                self.done += offset;
                return self.line;
            }
            self.line += u64::from(*sign == b'\n');
        }
        self.done = self.text.len();
        self.line
    }
}

/// Reads a file: UTF-8, perhaps with a byte order mark, a header line, RFC 4180 otherwise.
fn of_csv(bytes: &[u8]) -> Result<Vec<ImportRow>, ApiError> {
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
    let header = records
        .next()
        .ok_or_else(|| ApiError::bad("the file has no header line"))?
        .map_err(broken)?;
    let columns = header
        .iter()
        .map(|name| std::str::from_utf8(name).ok().map(str::trim))
        .map(|name| import::column(name.unwrap_or_default()))
        .collect::<Option<Vec<&'static str>>>()
        .ok_or_else(|| {
            let known = import::COLUMNS.join(", ");
            ApiError::bad(format!(
                "the first line must name columns of these: {known}"
            ))
        })?;
    for needed in ["system", "name"] {
        if !columns.contains(&needed) {
            return Err(ApiError::bad(format!("the column {needed} is missing")));
        }
    }
    let mut sorted = columns.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != columns.len() {
        return Err(ApiError::bad("a column is named twice"));
    }
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
        for (column, cell) in columns.iter().copied().zip(&record) {
            match std::str::from_utf8(cell) {
                Ok(text) => row.set(column, text),
                Err(_) => row.refuse(column, "is no UTF-8"),
            }
        }
        rows.push(row);
        few(rows.len())?;
    }
    few(rows.len())?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;

    fn lines(file: &str) -> Vec<u64> {
        let rows = of_csv(file.as_bytes()).unwrap();
        rows.iter().map(|row| row.number).collect()
    }

    #[test]
    fn files_of_every_spreadsheet_are_read() {
        assert_eq!(lines("system,name\nweb1,root\nweb1,ann\n"), [2, 3]);
        assert_eq!(lines("\u{feff}System, NAME\r\nweb1,root\r\n\r\n,\r\n"), [2]);
        let quoted = "system,name,description\nweb1,root,\"two\nlines, and \"\"more\"\"\"\nweb1,a,";
        assert_eq!(lines(quoted), [2, 4]);
        assert_eq!(lines(&quoted.replace('\n', "\r\n")), [2, 4]);
        assert_eq!(lines("system,name\r\n\r\n\r\nweb1,a\r\nweb1,b\r\n"), [4, 5]);
    }

    #[test]
    fn a_file_that_is_none_is_refused_whole() {
        let long = format!("system,name\n{}", "web1,root\n".repeat(2_001));
        for file in [
            "",
            "system,name\n",
            "web1,root\n",
            "system\nweb1\n",
            "name\nroot\n",
            "system,name,name\nweb1,a,b\n",
            "system,name,paswort\nweb1,root,x\n",
            &long,
        ] {
            assert!(of_csv(file.as_bytes()).is_err(), "{file:.40}");
        }
    }

    #[test]
    fn a_bad_row_is_told_from_a_bad_file() {
        let rows = of_csv(b"system,name\nweb1\nweb1,a,b\nweb1,\xff\xfe\nweb1,ann\n").unwrap();
        let bad: Vec<bool> = rows.iter().map(|row| !row.faults.is_empty()).collect();
        assert_eq!(bad, [true, true, true, false]);
    }
}
