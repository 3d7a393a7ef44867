//! What runs on the target: one line of `sh`, fed by standard input.
//!
//! Every command ends with a line `KW<nonce>:<status>`; without it nothing counts as said. None
//! holds a line break or a single quote, so that any login shell passes it on, csh included.
//!
//! Invariant: no command holds a secret or a name; both travel by standard input.

use super::elevate::Way;
use crate::{Elevation, HostQuery, Listing};

/// Where the recommended wrapper for passwords stands on a target.
const WRAPPER: &str = "/usr/local/sbin/keywheel-passwd";

/// Where the recommended wrapper for keys stands on a target.
const KEYS_WRAPPER: &str = "/usr/local/sbin/keywheel-keys";

/// How a functional account sets passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By `keywheel-passwd`, which also reads and locks.
    Wrapper,
    /// By `chpasswd` alone.
    Plain,
    /// Not at all; it may only set keys.
    Keys,
}

/// Puts a body between the environment that it needs and the sentinel.
///
/// Both streams are one: sshd may end the channel before all of the second one was sent. The
/// sentinel's text does not stand in the command, so that a shell that echoes the command
/// does not answer for it.
fn framed(nonce: &str, body: &str) -> String {
    format!(
        "sh -c 'LC_ALL=C; PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH; export LC_ALL PATH; \
         ({body}) 2>&1; printf \"KW%s:%s\\n\" {nonce} $?'"
    )
}

/// Finds out what the functional account may do: prints `KW:mode:wrapper`, `KW:mode:plain`,
/// `KW:mode:keys` or `KW:mode:none`. Changes nothing: every program gets nothing to do.
///
/// Where `sudo` asks, it only says what it would allow: nothing then waits for an answer that
/// `sudo` did not want.
pub(super) fn probe(nonce: &str, way: Way) -> String {
    let raise = way.prefix();
    let (wrapper, plain, keys) = if way.asks {
        let allows = |program: &str| format!("{raise}-l {program} >/dev/null");
        (
            allows(WRAPPER),
            allows("/usr/sbin/chpasswd"),
            allows(KEYS_WRAPPER),
        )
    } else {
        let says = |program: &str| {
            format!("{raise}{program} </dev/null 2>/dev/null | grep -qx \"KW:truncated\"")
        };
        let plain = format!("{raise}/usr/sbin/chpasswd </dev/null >/dev/null 2>&1");
        (says(WRAPPER), plain, says(KEYS_WRAPPER))
    };
    let body = format!(
        "{}if [ -x {WRAPPER} ] && {wrapper}; then echo KW:mode:wrapper; \
         elif {plain}; then echo KW:mode:plain; \
         elif [ -x {KEYS_WRAPPER} ] && {keys}; then echo KW:mode:keys; \
         else echo KW:mode:none; fi",
        way.preamble(nonce),
    );
    framed(nonce, &body)
}

/// Sets a password. Head: what [`set_head`] gives. Tail: the password and `KW-END`, a line each.
pub(super) fn set(nonce: &str, way: Way, mode: Mode) -> String {
    let (raise, preamble) = (way.prefix(), way.preamble(nonce) + &way.check());
    if mode == Mode::Wrapper {
        return framed(nonce, &format!("{preamble}{raise}{WRAPPER}"));
    }
    // Root sees whether the account is locked; chpasswd would unlock it. The octal spares csh an
    // exclamation mark.
    let locked = match way.elevation {
        Elevation::None => {
            "x=$(printf \"\\041\"); case $(getent shadow \"$u\" | cut -d: -f2) in \
             \"$x\"*|\\**) echo KW:locked; exit 6;; esac; "
        }
        _ => "",
    };
    // What sudo asks for is passed on when it comes, and before the line for chpasswd.
    let answer = if way.asks {
        "IFS= read -r s && printf \"%s\\n\" \"$s\" && "
    } else {
        ""
    };
    // printf must be the shell's own, or the password would stand in a process list. The line is
    // read whole before chpasswd starts: chpasswd would take half a line for the password, and
    // nothing at all for success. A lost connection must not end chpasswd half way. By KW-SET a
    // look finds this shell, for as long as it may write.
    let body = format!(
        ": KW-SET; {preamble}\
         [ \"$(command -v printf)\" = printf ] || {{ echo KW:no-printf; exit 9; }}; \
         IFS= read -r u || exit 5; \
         id -u \"$u\" >/dev/null 2>&1 || {{ echo KW:no-account; exit 8; }}; {locked}\
         echo KW:ready; \
         IFS= read -r p && IFS= read -r e && [ \"$e\" = KW-END ] \
         || {{ echo KW:truncated; exit 5; }}; \
         trap \"\" HUP PIPE TERM INT; \
         if {{ {answer}printf \"%s:%s\\n\" \"$u\" \"$p\"; }} | {raise}/usr/sbin/chpasswd; \
         then echo KW:set; else echo KW:failed; exit 7; fi"
    );
    framed(nonce, &body)
}

/// What [`set`] reads first.
pub(super) fn set_head(mode: Mode, login: &str) -> String {
    match mode {
        Mode::Wrapper => format!("set\n{login}\n"),
        Mode::Plain | Mode::Keys => format!("{login}\n"),
    }
}

/// Reads the account's shadow field: prints `KW:field:<field>`. Head: what [`read_head`] gives.
///
/// The wrapper waits for whoever may still write. Without it, every [`set`] and every `chpasswd`
/// that is under way is awaited here, and the field is read until it stays the same for a second.
pub(super) fn read(nonce: &str, way: Way, mode: Mode) -> String {
    let (raise, preamble) = (way.prefix(), way.preamble(nonce) + &way.check());
    if mode == Mode::Wrapper {
        return framed(nonce, &format!("{preamble}{raise}{WRAPPER}"));
    }
    // The brackets keep this command from finding itself. Writers that begin later are no
    // concern: nobody sends a second password for an account whose first one is in doubt.
    let body = format!(
        "{preamble}IFS= read -r u || exit 5; \
         id -u \"$u\" >/dev/null 2>&1 || {{ echo KW:no-account; exit 8; }}; \
         look() {{ {raise}/usr/bin/getent shadow \"$u\"; }}; \
         wrote() {{ grep -ls -e \"KW-S[E]T\" -e \"^/usr/sbin/chpasswd\" \"$@\"; }}; \
         a=$(look) || {{ echo KW:no-look; exit 3; }}; i=0; \
         for f in $(wrote /proc/[0-9]*/cmdline); do while wrote $f >/dev/null; do i=$((i + 1)); \
         [ $i -le {LOOKS_MAX} ] || {{ echo KW:busy; exit 4; }}; sleep 0.1; done; done; \
         sleep 1; b=$(look); [ \"$a\" = \"$b\" ] || {{ a=$b; sleep 1; b=$(look); }}; \
         [ \"$a\" = \"$b\" ] || {{ echo KW:busy; exit 4; }}; \
         a=${{a#*:}}; printf \"KW:field:%s\\n\" \"${{a%%:*}}\""
    );
    framed(nonce, &body)
}

/// How often [`read`] looks for a writer, every 100 ms: longer than `chpasswd` waits for the
/// password lock.
const LOOKS_MAX: usize = 160;

/// What [`read`] reads.
pub(super) fn read_head(mode: Mode, login: &str) -> String {
    match mode {
        Mode::Wrapper => format!("read\n{login}\n"),
        Mode::Plain | Mode::Keys => format!("{login}\n"),
    }
}

/// Runs a script that comes first by standard input, up to a line `KW-RUN`, or the wrapper that
/// holds the same script.
pub(super) fn keys(nonce: &str, way: Way) -> String {
    let (raise, preamble) = (way.prefix(), way.preamble(nonce));
    let sent = format!("{raise}sh -c \"$s\" kw-sent");
    let run = match way.elevation {
        Elevation::None => sent,
        _ => format!("if [ -x {KEYS_WRAPPER} ]; then {raise}{KEYS_WRAPPER}; else {sent}; fi"),
    };
    let body = format!(
        "{preamble}n=$(printf \"\\n.\"); n=${{n%.}}; s=; \
         while IFS= read -r l; do case $l in KW-RUN) break;; esac; s=$s$l$n; done; {run}"
    );
    framed(nonce, &body)
}

/// Says whether the account's shell is one that `/etc/shells` lists: prints `KW:shell` or
/// `KW:no-shell`. Head: the account.
pub(super) fn shell(nonce: &str) -> String {
    let body = "IFS= read -r u; s=$(getent passwd \"$u\" | cut -d: -f7); \
                if [ -z \"$s\" ] || grep -qxF -e \"$s\" /etc/shells; \
                then echo KW:shell; else echo KW:no-shell; fi";
    framed(nonce, body)
}

/// The most accounts whose state is asked for. Every row is one of the host's own.
const STATES_MAX: usize = 10_000;

/// The most accounts that are looked at: a host that names accounts for ever must not keep this
/// command for ever.
const LOOKED_AT_MAX: usize = 50_000;

/// Lists accounts: prints `KW:today:<days since 1970>`, a line for the state of each account that
/// the login may see, `KW:user:<uid>:<name>:<shell>` for each one of these user ids, and
/// `KW:more` where there are too many.
///
/// A state is `KW:state:<name>:<L, NP or P>:<day of the change>:<day of the end>`, or what
/// `passwd -S` says after `KW:passwd:`. No hash reaches a pipe: what reads them prints states.
pub(super) fn list(nonce: &str, way: Way, mode: Mode, query: &HostQuery) -> String {
    let preamble = way.preamble(nonce);
    let root = if query.with_root {
        "|| [ \"$u\" = 0 ] "
    } else {
        ""
    };
    let (low, high, most) = (query.uid_min, query.uid_max, Listing::ROWS_MAX);
    let states = states(way, mode);
    // No `case` with a negated bracket: csh takes an exclamation mark for its own.
    let body = format!(
        "{preamble}printf \"KW:today:%s\\n\" $(($(date +%s) / 86400)); {states}; \
         look() {{ getent passwd || cat /etc/passwd; }}; c=0; t=0; \
         look 2>/dev/null | while IFS=: read -r n p u g e h s; do \
         t=$((t + 1)); [ $t -le {LOOKED_AT_MAX} ] || {{ echo KW:more; break; }}; \
         {{ [ \"$u\" -ge {low} ] && [ \"$u\" -le {high} ] {root}; }} 2>/dev/null || continue; \
         c=$((c + 1)); [ $c -le {most} ] || {{ echo KW:more; break; }}; \
         printf \"KW:user:%s:%s:%s\\n\" \"$u\" \"$n\" \"$s\"; done"
    );
    framed(nonce, &body)
}

/// What tells the states of accounts to this login; without the right, nothing does.
fn states(way: Way, mode: Mode) -> String {
    let raise = way.prefix();
    // Where sudo asks, it says first what it would allow: nothing then waits for an answer that
    // sudo did not want.
    let may = |program: &str| {
        if way.asks {
            format!("{raise}-l {program} >/dev/null && ")
        } else {
            String::new()
        }
    };
    let answer = if way.asks {
        "IFS= read -r s && printf \"%s\\n\" \"$s\"; "
    } else {
        ""
    };
    if mode == Mode::Wrapper {
        let may = may(WRAPPER);
        return format!("{may}{{ {answer}echo list; }} | {raise}{WRAPPER}");
    }
    let passwd = "/usr/bin/passwd -S -a";
    if way.asks {
        let may = may(passwd);
        return format!(
            "{may}{{ {answer}:; }} | {raise}{passwd} | head -n {STATES_MAX} | \
             sed \"s/^/KW:passwd:/\""
        );
    }
    let rest = ":[^:]*:[^:]*:[^:]*:[^:]*:\\([0-9]*\\):.*/KW:state:\\1";
    let fields = format!(":\\([0-9]*\\){rest}");
    // For hosts whose passwd knows no -a.
    let shadow = format!(
        "{raise}sed -n -e \"s/^\\([^:]*\\):[$x*][^:]*{fields}:L:\\2:\\3/p\" \
         -e \"s/^\\([^:]*\\):{fields}:NP:\\2:\\3/p\" \
         -e \"s/^\\([^:]*\\):[^:][^:]*{fields}:P:\\2:\\3/p\" /etc/shadow"
    );
    format!(
        "x=$(printf \"\\041\"); a=$({raise}{passwd} </dev/null) && \
         printf \"%s\\n\" \"$a\" | head -n {STATES_MAX} | sed \"s/^/KW:passwd:/\" || \
         {shadow} </dev/null | head -n {STATES_MAX}"
    )
}

/// Says who the host and its accounts are: prints `KW:machine:`, `KW:boot:` and `KW:root:`, and
/// `KW:is:<asked for>:<name>:<uid>` for each account. Head: the accounts and `KW-END`, a line each.
///
/// Anybody may read all of it; no right is raised.
pub(super) fn identities(nonce: &str) -> String {
    let body = "printf \"KW:machine:%s\\n\" \"$(cat /etc/machine-id 2>/dev/null)\"; \
                printf \"KW:boot:%s\\n\" \"$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)\"; \
                printf \"KW:root:%s\\n\" \"$(stat -c %d:%i / 2>/dev/null)\"; \
                while IFS= read -r u; do [ \"$u\" = KW-END ] && exit 0; \
                a=$(getent passwd \"$u\" | cut -d: -f1,3); \
                printf \"KW:is:%s:%s\\n\" \"$u\" \"$a\"; done; exit 5";
    framed(nonce, body)
}

/// Changes the own password in a dialogue.
pub(super) fn passwd(nonce: &str) -> String {
    framed(nonce, "exec passwd")
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
        let mut ways: Vec<Way> = [
            Elevation::None,
            Elevation::Sudo,
            Elevation::Doas,
            Elevation::Pbrun,
            Elevation::Pmrun,
        ]
        .map(Way::silent)
        .into();
        ways.push(Way {
            elevation: Elevation::Sudo,
            asks: true,
        });
        for way in ways {
            let commands = [
                probe(nonce, way),
                set(nonce, way, Mode::Plain),
                set(nonce, way, Mode::Wrapper),
                read(nonce, way, Mode::Plain),
                read(nonce, way, Mode::Wrapper),
                keys(nonce, way),
                list(nonce, way, Mode::Plain, &HostQuery::default()),
                list(nonce, way, Mode::Wrapper, &HostQuery::default()),
                shell(nonce),
                identities(nonce),
                passwd(nonce),
                whoami(nonce),
            ];
            for command in commands {
                assert_eq!(command.matches('\'').count(), 2, "{command}");
                assert!(command.ends_with('\''), "{command}");
                assert!(!command.contains(['\n', '!']), "{command}");
                assert!(!command.contains(&format!("KW{nonce}")), "{command}");
                assert_eq!(
                    command.contains("sudo "),
                    way.elevation == Elevation::Sudo && command.contains(way.prefix()),
                    "{command}"
                );
            }
            assert!(set(nonce, way, Mode::Plain).contains("KW-SET"));
            assert!(read(nonce, way, Mode::Plain).contains("KW-S[E]T"));
            assert!(!read(nonce, way, Mode::Plain).contains("KW-SET"));
        }
    }

    #[test]
    fn chpasswd_never_takes_a_hash_for_a_password() {
        for elevation in [Elevation::None, Elevation::Sudo, Elevation::Doas] {
            let command = set("0", Way::silent(elevation), Mode::Plain);
            // No option at all: -e would store what it gets.
            assert!(command.contains("/usr/sbin/chpasswd; then"), "{command}");
        }
    }
}
