//! Whatever file is imported.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fuzz::{canary, check, mutants, noise, share, text};

#[test]
fn a_file_of_any_cells_has_a_row_for_each_line_of_them() {
    // U+0000 is refused with the whole file.
    let cell = text(4).prop_map(|text| text.replace('\0', ""));
    let rows = vec(("[a-z]{1,6}", "[a-z]{1,6}", cell.clone(), cell), 1..12);
    check("native::import of cells", &rows, |rows| {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer
            .write_record(["system", "Name", "description", "password"])
            .unwrap();
        for (system, name, description, password) in &rows {
            writer
                .write_record([system, name, description, password])
                .unwrap();
        }
        let file = writer.into_inner().unwrap();
        let read = of_csv(&file).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(read.len(), rows.len());
        let lines = file.split(|byte| *byte == b'\n').count() - 1;
        let mut last = 1;
        for (row, (system, name, ..)) in read.iter().zip(&rows) {
            prop_assert!(row.faults.is_empty());
            prop_assert!(row.number > last && row.number <= u64::try_from(lines).unwrap());
            last = row.number;
            let line = file
                .split(|byte| *byte == b'\n')
                .nth(usize::try_from(row.number).unwrap() - 1);
            let begins = format!("{system},{name},");
            prop_assert!(
                line.unwrap().starts_with(begins.as_bytes()),
                "the number is the line's"
            );
        }
        Ok(())
    });
}

#[test]
fn whatever_file_comes_its_rows_are_few_and_no_fault_repeats_a_cell() {
    let files = canary().prop_flat_map(|canary| {
        let seeds = [
            format!("system,name,password\nweb1,root,{canary}\nweb1,ann,\"{canary}\"\n"),
            format!("\u{feff}System, NAME\r\nweb1,{canary}\r\n\r\n,\r\n"),
            format!(
                "system,name,description\nweb1,root,\"two\nlines, and \"\"{canary}\"\"\"\nweb1,a,"
            ),
        ];
        let seeds = seeds.into_iter().map(String::into_bytes).collect();
        let tokens = &["system", "name", "password", "\"\"", "\",\"", "\r\n\r\n"];
        (
            Just(canary),
            prop_oneof![9 => mutants(seeds, tokens), 1 => noise(60)],
        )
    });
    share("native::import of mutants", 2, &files, |(canary, file)| {
        match of_csv(&file) {
            Ok(rows) => {
                prop_assert!((1..=ROWS_MAX).contains(&rows.len()));
                let lines = file.split(|byte| *byte == b'\n').count();
                for pair in rows.windows(2) {
                    prop_assert!(pair[0].number < pair[1].number || file.contains(&b'\r'));
                }
                for row in &rows {
                    prop_assert!(row.number <= u64::try_from(lines).unwrap() + 1);
                    prop_assert!(
                        !format!("{:?}", row.faults).contains(&canary),
                        "does not hold"
                    );
                }
            }
            Err(error) => prop_assert!(
                !format!("{error} {error:?}").contains(&canary),
                "does not hold"
            ),
        }
        Ok(())
    });
}

#[test]
fn a_row_of_json_is_taken_or_says_why_not() {
    let seed = br#"{"system":"web1","name":"root","password":"KwSecret00","auto_management":true,"policy":7,"x":[1]}"#;
    check(
        "native::import of JSON",
        &mutants(vec![seed.to_vec()], &["\"name\":", "null"]),
        |body| {
            let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(&body) else {
                return Ok(());
            };
            let unknown = fields.keys().any(|name| import::column(name).is_none());
            let row = of_json((7, fields));
            prop_assert_eq!(row.number, 7);
            prop_assert!(
                !unknown || !row.faults.is_empty() || body.windows(4).any(|four| four == b"null")
            );
            prop_assert!(
                !format!("{:?}", row.faults).contains("KwSecret00"),
                "does not hold"
            );
            Ok(())
        },
    );
}
