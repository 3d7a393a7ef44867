#![cfg(test)]
//! The SSH connector on real servers: every trap that it promises to avoid.
//!
//! Where each one is tried, beside those whose tests in `traps` carry its name:
//!
//! - no input is success to `chpasswd`: `paths::empty_stdin_to_chpasswd_is_never_success`
//! - good lines of a batch change beside a bad one: every change is an exchange of its own, and the
//!   promise `one account's trouble is not the others'`
//! - names and passwords that could be two lines: the promise `a secret that could be two is never sent`
//! - `chpasswd` unlocks: `traps::write::a_locked_account_stays_locked_…`, `promises::root_…unlocks_nobody`
//! - a sudo password where none is asked for: `paths::sudo_that_no_longer_asks_…`
//! - translated prompts, repeated prompts, reuse, minimum age: `own`
//! - another type of host key, a changed one: `promises::every_kind_of_host_key_…`,
//!   `promises::without_a_pin_or_with_another_key_nothing_is_sent`
//! - symlinks, a full disk, lines of others: `keys`; other key files: `key_files`
//! - a new key that fails: `keys::a_new_key_that_fails_leaves_the_old_one_and_its_marker_goes`
//! - secrets in process lists: `paths::no_secret_stands_in_a_process_list_on_any_way`

mod dropbear;
mod fleet;
mod identity;
mod key_files;
mod keys;
mod list;
mod own;
mod paths;
mod peer;
mod promises;
mod traps;
