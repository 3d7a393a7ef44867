//! What a command's output proves.
//!
//! Invariant: success needs the sentinel, the exit status and the target's own word; whatever
//! came after the secret was sent and is not proof is [`Changed::Unknown`].

use super::elevate::{privilege, says_no};
use super::link::Output;
use super::script::Mode;
use crate::{Changed, Checked, Class, Reason};

fn has_line(output: &Output, wanted: &str) -> bool {
    output.text.lines().any(|line| line == wanted)
}

/// What stands in the sentinel's line, if one came whole.
fn sentinel<'a>(output: &'a Output, nonce: &str) -> Option<&'a str> {
    let mut marked = output
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("KW"));
    marked.find_map(|line| line.strip_prefix(nonce)?.strip_prefix(':'))
}

/// Whether the command ended by itself, with its sentinel and status 0.
pub(super) fn ended_well(output: &Output, nonce: &str) -> bool {
    output.status == Some(0) && sentinel(output, nonce).is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The status that stands in the sentinel's line.
pub(super) fn own_status(output: &Output, nonce: &str) -> Option<i32> {
    sentinel(output, nonce)?.parse().ok()
}

/// The answer was lost after a secret had left.
pub(super) fn lost_answer() -> Changed {
    let text = "the target's answer was lost after the secret was sent";
    Changed::Unknown(Reason::account(Class::Unknown, text))
}

/// The login must change its own password first, by sshd's words or PAM's.
pub(super) fn wants_new_password(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("password has expired") || text.contains("password change required")
}

/// What the functional account may do; `None`: nothing.
pub(super) fn mode(output: &Output, nonce: &str) -> Result<Option<Mode>, Reason> {
    if ended_well(output, nonce) {
        let modes = [
            ("KW:mode:wrapper", Mode::Wrapper),
            ("KW:mode:plain", Mode::Plain),
            ("KW:mode:keys", Mode::Keys),
        ];
        let said = modes.into_iter().find(|(line, _)| has_line(output, line));
        return Ok(said.map(|(_, mode)| mode));
    }
    if wants_new_password(&output.text) {
        let text = "the functional account must change its own password first";
        return Err(Reason::system(Class::Expired, text));
    }
    let text = "the functional account's shell does not run sh -c";
    Err(Reason::system(Class::Incompatible, text))
}

/// What became of a change whose command ended. `sent`: the password may have left.
pub(super) fn changed(output: &Output, nonce: &str, sent: bool) -> Changed {
    let whole = ended_well(output, nonce);
    // These lines are printed before anything is written, each as the last word.
    let before = [
        (
            "KW:not-listed",
            Class::Privilege,
            "the target's /etc/keywheel/accounts does not list it",
        ),
        (
            "KW:locked",
            Class::Locked,
            "the account is locked; setting a password would unlock it",
        ),
        (
            "KW:busy",
            Class::Busy,
            "the target's password files are busy",
        ),
        (
            "KW:truncated",
            Class::Busy,
            "the password did not arrive whole; it was not set",
        ),
        (
            "KW:no-printf",
            Class::Incompatible,
            "the target's sh has no printf of its own",
        ),
    ];
    let said = before.into_iter().find(|(line, ..)| has_line(output, line));
    if let (true, Some((_, class, text))) = (whole, said) {
        return Changed::NotNow(Reason::account(class, text));
    }
    if whole && has_line(output, "KW:no-account") {
        return Changed::Refused(Reason::account(
            Class::NoAccount,
            "the target has no such account",
        ));
    }
    if whole && sent && has_line(output, "KW:set") && sentinel(output, nonce) == Some("0") {
        return Changed::Done;
    }
    if whole && sent {
        return failed(output);
    }
    if sent {
        return lost_answer();
    }
    Changed::NotNow(not_begun(output))
}

/// What became of a change whose command said that it failed.
fn failed(output: &Output) -> Changed {
    let text = output.text.as_str();
    if has_line(output, "KW:refused") || is_policy(text) {
        let text = "the target's password rules refuse this password";
        return Changed::Refused(Reason::account(Class::Refused, text));
    }
    if says_no(text) {
        return Changed::NotNow(privilege());
    }
    if text.contains("lock busy") || text.contains("cannot lock") {
        return Changed::NotNow(Reason::account(
            Class::Busy,
            "the target's password files are busy",
        ));
    }
    if has_line(output, "KW:unchanged") || text.contains("password not changed") {
        let text = "the target could not set the password: full disk, read-only files, PAM";
        return Changed::NotNow(Reason::account(Class::Busy, text));
    }
    let text = "chpasswd failed and does not say that nothing changed";
    Changed::Unknown(Reason::account(Class::Unknown, text))
}

/// A refusal by the rules for passwords, from a `chpasswd` that failed.
fn is_policy(text: &str) -> bool {
    let is_refusal = text.contains("BAD PASSWORD") || text.contains("has been already used");
    is_refusal && text.contains("password not changed")
}

pub(super) fn not_begun(output: &Output) -> Reason {
    if says_no(&output.text) {
        return privilege();
    }
    if wants_new_password(&output.text) {
        let text = "the functional account must change its own password first";
        return Reason::system(Class::Expired, text);
    }
    Reason::account(
        Class::Incompatible,
        "the command on the target ended before it was ready",
    )
}

/// Whose session a login opened. The login itself has succeeded.
pub(super) fn checked(output: &Output, nonce: &str, login: &str) -> Checked {
    match sentinel(output, nonce) {
        Some(name) if name == login && output.status == Some(0) => return Checked::Accepted,
        Some(name) if name != login => {
            let text = "the login opened another account's session";
            return Checked::NotNow(Reason::account(Class::Incompatible, text));
        }
        _ => {}
    }
    if wants_new_password(&output.text) {
        let text = "the password must be changed before it can be used";
        return Checked::NotNow(Reason::account(Class::Expired, text));
    }
    // A shell that lets nobody in, after the password was accepted and is not expired:
    // nologin says so, false says nothing. Both end with 1.
    let is_closed =
        output.text.trim().is_empty() || output.text.contains("currently not available");
    if is_closed && output.status == Some(1) {
        return Checked::Accepted;
    }
    let text = "the login succeeded, but its shell does not say whose it is";
    Checked::NotNow(Reason::account(Class::Incompatible, text))
}

/// Whether the account's shell is known to be none that `/etc/shells` lists.
pub(super) fn has_no_shell(output: &Output, nonce: &str) -> bool {
    ended_well(output, nonce) && has_line(output, "KW:no-shell")
}

/// The account's shadow field.
pub(super) fn field<'a>(output: &'a Output, nonce: &str) -> Result<&'a str, Reason> {
    if !ended_well(output, nonce) {
        let text = "the target's answer was lost";
        return Err(Reason::account(Class::Unknown, text));
    }
    if let Some(field) = output
        .text
        .lines()
        .find_map(|line| line.strip_prefix("KW:field:"))
    {
        return Ok(field);
    }
    if has_line(output, "KW:no-look") {
        let text = "the functional account may read no password hashes: install keywheel-passwd, \
                    or allow it /usr/bin/getent shadow";
        return Err(Reason::account(Class::Privilege, text));
    }
    Err(match changed(output, nonce, false) {
        Changed::NotNow(reason) | Changed::Refused(reason) | Changed::Unknown(reason) => reason,
        Changed::Done => Reason::account(Class::Incompatible, "the target said what nobody asked"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "00c0ffee00c0ffee";

    fn output(text: &str, status: Option<i32>) -> Output {
        Output::played(text, NONCE, status)
    }

    fn change(text: &str, status: Option<i32>) -> String {
        format!("{:?}", changed(&output(text, status), NONCE, true))
    }

    #[test]
    fn success_needs_sentinel_status_and_word() {
        assert_eq!(change("noise\nKW:ready\nKW:set\nKW#:0\n", Some(0)), "Done");
        let short = [
            ("KW:ready\nKW:set\nKW#:0\n", None),
            ("KW:ready\nKW:set\nKW#:0\n", Some(1)),
            ("KW:ready\nKW:set\n", Some(0)),
            ("KW:ready\nKW#:0\n", Some(0)),
            ("KW:ready\nKW:set\nKW#:1\n", Some(0)),
            ("KW:ready\nKW:set\nKW#:\n", Some(0)),
            ("KW:ready\nKW:set\nKW0123:0\n", Some(0)),
            ("KW:ready\nxKW:set\nxKW#:0\n", Some(0)),
            ("", Some(0)),
        ];
        for (text, status) in short {
            assert!(change(text, status).starts_with("Unknown"), "{text}");
        }
    }

    #[test]
    fn a_refusal_is_proof_only_with_its_sentinel() {
        assert!(change("KW:ready\nKW:refused\nKW#:7\n", Some(0)).starts_with("Refused"));
        assert!(change("KW:ready\nKW:refused\n", Some(0)).starts_with("Unknown"));
        assert!(change("KW:ready\nKW:truncated\nKW#:5\n", Some(0)).starts_with("NotNow"));
        let sudo = "KW:ready\nsudo: a password is required\nKW:failed\nKW#:7\n";
        assert!(change(sudo, Some(0)).contains("System"));
        let policy = "KW:ready\nBAD PASSWORD: it is short\nchpasswd: (line 1, user kw_u0) \
                      password not changed\nKW:failed\nKW#:7\n";
        assert!(change(policy, Some(0)).starts_with("Refused"));
        assert!(change("KW:ready\nKW:failed\nKW#:7\n", Some(0)).starts_with("Unknown"));
    }

    #[test]
    fn before_the_secret_left_nothing_is_unknown() {
        for text in [
            "",
            "KW:locked\nKW#:6\n",
            "KW:not-listed\nKW#:3\n",
            "Bad : modifier in $.\n",
        ] {
            let answer = changed(&output(text, Some(0)), NONCE, false);
            assert!(matches!(answer, Changed::NotNow(_)), "{text}: {answer:?}");
        }
        let answer = changed(&output("KW:set\nKW#:0\n", Some(0)), NONCE, false);
        assert!(matches!(answer, Changed::NotNow(_)), "{answer:?}");
    }

    #[test]
    fn a_login_is_accepted_only_under_its_own_name() {
        let check = |text, status| checked(&output(text, status), NONCE, "kw_u1");
        assert_eq!(check("NOISE\nKW#:kw_u1\n", Some(0)), Checked::Accepted);
        assert_eq!(
            check("This account is currently not available.\n", Some(1)),
            Checked::Accepted
        );
        assert_eq!(check("", Some(1)), Checked::Accepted);
        let others = [
            ("KW#:kw_u10\n", Some(0)),
            ("KWother:kw_u1\n", Some(0)),
            ("KW#:kw_u1\n", None),
            ("", Some(0)),
            ("", None),
            (
                "WARNING: Your password has expired.\nPassword change required\n",
                Some(1),
            ),
        ];
        for (text, status) in others {
            assert!(matches!(check(text, status), Checked::NotNow(_)), "{text}");
        }
    }
}
