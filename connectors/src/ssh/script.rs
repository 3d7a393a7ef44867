//! What runs on the target: one line of `sh`, fed by standard input.
//!
//! Every command ends with a line `KW<nonce>:<status>`; without it nothing counts as said. None
//! holds a line break or a single quote, so that any login shell passes it on, csh included.
//!
//! Invariant: no command holds a secret or a name; both travel by standard input.

use crate::Elevation;

/// Where the recommended wrapper stands on a target.
const WRAPPER: &str = "/usr/local/sbin/keywheel-passwd";

/// How a target sets passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By `keywheel-passwd`, which also reads and locks.
    Wrapper,
    /// By `chpasswd` alone.
    Plain,
}

fn sudo(elevation: Elevation) -> &'static str {
    match elevation {
        Elevation::None => "",
        Elevation::Sudo => "sudo -n ",
        Elevation::Doas => "doas -n ",
        Elevation::Pbrun => "pbrun ",
        Elevation::Pmrun => "pmrun ",
    }
}

/// Puts a body between the environment that it needs and the sentinel.
///
/// The sentinel's text does not stand in the command, so that a shell that echoes the command
/// does not answer for it.
fn framed(nonce: &str, body: &str) -> String {
    format!(
        "sh -c 'LC_ALL=C; PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH; export LC_ALL PATH; \
         ({body}); printf \"KW%s:%s\\n\" {nonce} $?'"
    )
}

/// Finds out how the functional account may set passwords: prints `KW:mode:wrapper`,
/// `KW:mode:plain` or `KW:mode:none`. Changes nothing: both programs get nothing to do.
pub(super) fn probe(nonce: &str, elevation: Elevation) -> String {
    let sudo = sudo(elevation);
    let body = format!(
        "if [ -x {WRAPPER} ] && printf \"read\\n\\n\" | {sudo}{WRAPPER} 2>/dev/null \
         | grep -qx \"KW:not-listed\"; then echo KW:mode:wrapper; \
         elif {sudo}/usr/sbin/chpasswd </dev/null >/dev/null 2>&1; then echo KW:mode:plain; \
         else echo KW:mode:none; fi"
    );
    framed(nonce, &body)
}

/// Sets a password. Head: what [`set_head`] gives. Tail: the password and `KW-END`, a line each.
pub(super) fn set(nonce: &str, elevation: Elevation, mode: Mode) -> String {
    let sudo = sudo(elevation);
    if mode == Mode::Wrapper {
        return framed(nonce, &format!("{sudo}{WRAPPER}"));
    }
    // Root sees whether the account is locked; chpasswd would unlock it. The octal spares csh an
    // exclamation mark.
    let locked = match elevation {
        Elevation::None => {
            "x=$(printf \"\\041\"); case $(getent shadow \"$u\" | cut -d: -f2) in \
             \"$x\"*|\\**) echo KW:locked; exit 6;; esac; "
        }
        _ => "",
    };
    // printf must be the shell's own, or the password would stand in a process list. The line is
    // read whole before chpasswd starts: chpasswd would take half a line for the password, and
    // nothing at all for success. A lost connection must not end chpasswd half way.
    let body = format!(
        "[ \"$(command -v printf)\" = printf ] || {{ echo KW:no-printf; exit 9; }}; \
         IFS= read -r u || exit 5; \
         id -u \"$u\" >/dev/null 2>&1 || {{ echo KW:no-account; exit 8; }}; {locked}\
         echo KW:ready; \
         IFS= read -r p && IFS= read -r e && [ \"$e\" = KW-END ] \
         || {{ echo KW:truncated; exit 5; }}; \
         trap \"\" HUP PIPE TERM INT; \
         if printf \"%s:%s\\n\" \"$u\" \"$p\" | {sudo}/usr/sbin/chpasswd; \
         then echo KW:set; else echo KW:failed; exit 7; fi"
    );
    framed(nonce, &body)
}

/// What [`set`] reads first.
pub(super) fn set_head(mode: Mode, login: &str) -> String {
    match mode {
        Mode::Wrapper => format!("set\n{login}\n"),
        Mode::Plain => format!("{login}\n"),
    }
}

/// Reads the account's shadow field: prints `KW:field:<field>`. Head: what [`read_head`] gives.
pub(super) fn read(nonce: &str, elevation: Elevation) -> String {
    framed(nonce, &format!("{}{WRAPPER}", sudo(elevation)))
}

/// What [`read`] reads.
pub(super) fn read_head(login: &str) -> String {
    format!("read\n{login}\n")
}

/// Says who is logged in, in the sentinel's own line. `id` ends that line, in the shell's place:
/// one process less for each login.
pub(super) fn whoami(nonce: &str) -> String {
    format!("sh -c 'printf \"KW%s:\" {nonce}; exec id -un'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_passes_through_any_shell() {
        let nonce = "0123456789abcdef";
        for elevation in [Elevation::None, Elevation::Sudo] {
            let commands = [
                probe(nonce, elevation),
                set(nonce, elevation, Mode::Plain),
                set(nonce, elevation, Mode::Wrapper),
                read(nonce, elevation),
                whoami(nonce),
            ];
            for command in commands {
                assert_eq!(command.matches('\'').count(), 2, "{command}");
                assert!(command.ends_with('\''), "{command}");
                assert!(!command.contains(['\n', '!']), "{command}");
                assert!(!command.contains(&format!("KW{nonce}")), "{command}");
                assert_eq!(
                    command.contains("sudo"),
                    elevation == Elevation::Sudo && !command.contains("id -un")
                );
            }
        }
    }
}
