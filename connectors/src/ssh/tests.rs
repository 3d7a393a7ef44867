//! Whatever comes: what hosts say.

mod fuzz;
