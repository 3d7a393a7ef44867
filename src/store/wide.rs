//! Statements over many rows at once: one text for one row, others for four, sixteen, sixty-four.
//!
//! Invariant: texts are made once, from constants alone; a text that has room for more rows than
//! there are gets rows with id 0, which no row of any table has.

use std::iter;

/// Rows that a text has room for, fewest first.
const SIZES: [usize; 4] = [1, 4, 16, 64];

/// A statement over the rows of `r`, in every size.
pub(super) struct Wide([&'static str; SIZES.len()]);

/// Some of the rows, and the text that has room for them.
pub(super) struct Cut<'a, T> {
    pub(super) text: &'static str,
    rows: &'a [T],
    room: usize,
}

impl Wide {
    /// `statement` over `r (names)`, whose values follow `scalars` others in the parameters.
    pub(super) fn new(scalars: usize, names: &str, statement: &str) -> Self {
        let columns = names.split(',').count();
        Self(SIZES.map(|size| {
            let row = |row: usize| {
                let first = scalars + row * columns + 1;
                let marks: Vec<String> =
                    (first..first + columns).map(|n| format!("${n}")).collect();
                format!("({})", marks.join(", "))
            };
            let rows: Vec<String> = (0..size).map(row).collect();
            let text = format!(
                "WITH r ({names}) AS (VALUES {}) {statement}",
                rows.join(", ")
            );
            &*Box::leak(text.into_boxed_str())
        }))
    }

    /// Cuts the rows into as few statements as waste no more than half their room.
    pub(super) fn cuts<'a, T>(&self, mut rows: &'a [T]) -> impl Iterator<Item = Cut<'a, T>> {
        let sizes: Vec<(usize, &'static str)> = SIZES.into_iter().zip(self.0).collect();
        iter::from_fn(move || {
            let left = rows.len();
            let snug = sizes
                .iter()
                .find(|(room, _)| (left..=2 * left).contains(room));
            let fits = || sizes.iter().rev().find(|(room, _)| *room <= left);
            let (room, text) = *snug.or_else(fits)?;
            let (now, later) = rows.split_at_checked(room).unwrap_or((rows, &[]));
            rows = later;
            Some(Cut {
                text,
                rows: now,
                room,
            })
        })
    }
}

impl<'a, T> Cut<'a, T> {
    /// How many rows it really has.
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// As many rows as there is room for, each with its id; the last one again, with id 0, for
    /// those that are missing.
    pub(super) fn rows(&self, id: impl Fn(&T) -> i64) -> impl Iterator<Item = (i64, &'a T)> {
        let missing = self.room - self.rows.len();
        let padding = self.rows.last().into_iter().cycle().take(missing);
        let real = self.rows.iter().map(move |row| (id(row), row));
        real.chain(padding.map(|row| (0, row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_the_scalars_row_by_row() {
        let wide = Wide::new(2, "id, name", "SELECT $1, $2, id, name FROM r");
        assert_eq!(
            wide.0[0],
            "WITH r (id, name) AS (VALUES ($3, $4)) SELECT $1, $2, id, name FROM r"
        );
        assert!(wide.0[1].contains("VALUES ($3, $4), ($5, $6), ($7, $8), ($9, $10)) "));
    }

    #[test]
    fn every_row_is_in_one_cut_and_padding_has_no_id() {
        let wide = Wide::new(0, "id", "SELECT id FROM r");
        for count in 0..200 {
            let rows: Vec<i64> = (1..=count).collect();
            let mut seen = Vec::new();
            for cut in wide.cuts(&rows) {
                let ids: Vec<i64> = cut.rows(|row| *row).map(|(id, _)| id).collect();
                assert_eq!(ids.len(), cut.text.matches('$').count());
                let (real, padding) = ids.split_at(usize::try_from(cut.len()).unwrap());
                assert!(padding.iter().all(|id| *id == 0) && padding.len() <= real.len());
                seen.extend_from_slice(real);
            }
            assert_eq!(seen, rows);
        }
    }
}
