//! What every connector must do, on any target.
