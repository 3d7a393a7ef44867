//! Whatever bytes stand where sealed ones belong.

use proptest::prelude::*;

use super::*;
use crate::fuzz::{check, mutants, noise};

#[test]
fn what_was_changed_does_not_open() {
    let (vault, _) = ring();
    let sealed = sealed_by(&vault);
    let whole = sealed.clone();
    let inputs = prop_oneof![9 => mutants(vec![sealed], &[]), 1 => noise(80)];
    check("vault::open", &inputs, |bytes| {
        match vault.open(&PLACE, &bytes) {
            Ok(_) => prop_assert_eq!(&bytes, &whole),
            Err(error) => prop_assert!(
                !format!("{error} {error:?}").contains("battery"),
                "does not hold"
            ),
        }
        Ok(())
    });
}
