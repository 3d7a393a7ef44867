#![cfg(test)]
//! The LDAP connector on real directories: every trap that it promises to avoid.
//!
//! Where each one is tried:
//!
//! - small requests that wait for an acknowledgement: `reset::a_fresh_rotation_waits_for_nothing`
//! - hostile answers: `hostile`, and the guard's own tests
//! - a lost reply: `hostile::a_lost_reply_…`, `key::a_lost_reply_to_a_swap_…`
//! - `userPassword` on a domain: `samba::no_password_of_a_domain_is_ever_stored_in_the_clear`
//! - a reset that must be changed: `ds389::a_reset_that_must_be_changed_…`
//! - a domain's old password: `samba::the_old_password_of_a_domain_stays_valid_for_a_while`
//! - a locked domain account: `samba::a_locked_domain_account_works_at_once_after_a_reset`
//! - probes that lock: `policy::one_check_is_one_login_and_a_wrong_candidate_does_not_lock`
//! - rights lost by a failed login: `reset::a_write_after_a_failed_login_still_has_its_rights`
//! - referrals: `own::a_server_that_refers_elsewhere_is_no_success_and_is_not_followed`
//! - a lost key swap: `key::a_swap_that_somebody_else_was_faster_with_changes_nothing`
//! - names that are filters, and two of one name: `reset`, `ds389`, `domain_names`
//! - an empty secret: `reset::an_empty_secret_is_refused_before_any_byte`
//! - rights to write but not to compare: `own::a_password_that_may_be_written_but_not_compared_…`
//! - certificates, StartTLS, plain text: `trust`
//! - secrets in logs: `log`
//! - a slow password hash: `policy::a_slow_password_hash_fails_nobody`
//! - lists: `list`
//! - a connection that is taken for unprotected: `scripted::a_write_that_is_misjudged_…`
//! - another product than the pinned one: `scripted::a_directory_that_is_not_the_pinned_one_…`

mod domain_names;
mod ds389;
mod hostile;
mod identity;
mod key;
mod list;
mod log;
mod middle;
mod own;
mod policy;
mod reset;
mod samba;
mod scripted;
mod shared;
mod slapd;
mod trust;
