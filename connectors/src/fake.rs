//! A target in memory that refuses, hangs, loses replies and obeys late.
