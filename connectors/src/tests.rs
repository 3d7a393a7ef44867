//! Whatever comes: what every connector reads.

mod fuzz;
