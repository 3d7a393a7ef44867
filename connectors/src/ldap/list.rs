//! The accounts of a directory, page by page.
//!
//! Invariant: no attribute that holds a secret is asked for, and only what an entry shows is
//! said of it.

use ldap3::Scope;

use super::age;
use super::directory::{OPERATIONS_ERROR, Root};
use super::entry::Entry;
use super::flavour::Flavour;
use super::link::{Fault, SIZE_LIMIT_EXCEEDED};
use super::result;
use super::session::{LdapSession, over};
use crate::listing::{Collector, admit_moment, name, printable};
use crate::{Account, Class, DirectoryQuery, Found, Listing, Lock, Reason};

/// Pages of one listing. A server may send fewer entries on a page than were asked for, and none.
const PAGES_MAX: usize = 200;

/// `ADS_UF_ACCOUNTDISABLE`. Source: MS-ADTS 2.2.16.
const DISABLED: i64 = 0x2;
/// `ADS_UF_LOCKOUT`, of the computed flags alone.
const LOCKED_OUT: i64 = 0x10;
/// `ADS_UF_PASSWORD_EXPIRED`, of the computed flags alone.
const PASSWORD_EXPIRED: i64 = 0x80_0000;
/// An account that never runs out. Source: MS-ADTS 3.1.1.4.5.
const NEVER: [i64; 2] = [0, i64::MAX];

impl Flavour {
    /// What an entry must match to be an account.
    const fn accounts(self) -> &'static str {
        match self {
            // Computers are users, too.
            Self::Ad | Self::Samba => "(objectClass=user)(!(objectClass=computer))",
            Self::OpenLdap | Self::Ds389 | Self::Generic => "(uid=*)",
        }
    }

    /// The attribute that names an entry for good.
    pub(super) const fn identifier(self) -> &'static str {
        match self {
            Self::Ad | Self::Samba => "objectGUID",
            Self::Ds389 => "nsUniqueId",
            Self::OpenLdap | Self::Generic => "entryUUID",
        }
    }

    /// What is read of an account.
    const fn told(self) -> &'static [&'static str] {
        match self {
            Self::Ad | Self::Samba => &[
                "sAMAccountName",
                "objectGUID",
                "pwdLastSet",
                "userAccountControl",
                "msDS-User-Account-Control-Computed",
                "accountExpires",
                "loginShell",
            ],
            Self::Ds389 => &[
                "uid",
                "nsUniqueId",
                "pwdUpdateTime",
                "passwordExpirationTime",
                "nsAccountLock",
                "loginShell",
            ],
            Self::OpenLdap | Self::Generic => &[
                "uid",
                "entryUUID",
                "pwdChangedTime",
                "pwdAccountLockedTime",
                "pwdReset",
                "loginShell",
            ],
        }
    }
}

impl LdapSession {
    /// Lists the accounts below the system's base DN.
    pub(super) async fn list_entries(&self, query: &DirectoryQuery) -> Result<Listing, Reason> {
        if self.functional.is_none() {
            let text = "this session has no functional account: it can only check";
            return Err(Reason::system(Class::Privilege, text));
        }
        let _turn = self.turns.acquire().await.map_err(|_| over())?;
        let (_, root) = self.shared().await?;
        let base = root.base(&self.base_dn).ok_or_else(|| {
            let text = "the system has no base DN to look below";
            Reason::account(Class::Incompatible, text)
        })?;
        let own = query.filter.as_ref().map_or("", |filter| filter.as_str());
        let filter = format!("(&{}{own})", root.flavour.accounts());
        let now = self.now(root).await;
        let mut collector = Collector::default();
        let mut cookie = Vec::new();
        for _ in 0..PAGES_MAX {
            // A page that was cut short may have cost the connection; its cookie is no good
            // on another one.
            let (link, _) = self.shared().await?;
            let each = |entry: Entry| {
                let Some(row) = row(root.flavour, &entry, now) else {
                    return collector.skip();
                };
                collector.take(row)
            };
            let page = link.page(base, &filter, root.flavour.told(), cookie, each);
            let (reply, next) = page.await.map_err(|fault| match fault {
                Fault::NotSent => gone(),
                Fault::Lost(reason) => reason,
            })?;
            match (reply.code, next) {
                (0, Some(next)) => cookie = next,
                (0, None) => return Ok(collector.end()),
                (SIZE_LIMIT_EXCEEDED, _) => {
                    collector.cut();
                    return Ok(collector.end());
                }
                (code, _) => return Err(refused(code)),
            }
        }
        collector.cut();
        Ok(collector.end())
    }

    /// The directory's own time, in milliseconds; domains alone say it.
    async fn now(&self, root: &Root) -> Option<i64> {
        if !root.flavour.is_domain() {
            return None;
        }
        let (link, _) = self.shared().await.ok()?;
        let all = "(objectClass=*)";
        let searched = link.search("", Scope::Base, all, &["currentTime"]).await;
        let (entries, _) = searched.ok()?;
        age::millis(entries.first()?.text("currentTime")?)
    }
}

fn gone() -> Reason {
    let text = "the request for the list never left: the filter or the connection is at fault";
    Reason::account(Class::Incompatible, text)
}

fn refused(code: u32) -> Reason {
    let account = Reason::account;
    match code {
        3 | 11 => account(
            Class::Refused,
            "the directory gave up for its limits; ask for less",
        ),
        50 | OPERATIONS_ERROR => account(Class::Privilege, "this login may not list accounts"),
        32 => account(
            Class::NoAccount,
            "there is no base DN of this name, or the functional account does not see it",
        ),
        51 | 52 => account(Class::Busy, "the directory is busy"),
        code => result::unlisted(code),
    }
}

/// `None`: an entry without a single login name.
fn row(flavour: Flavour, entry: &Entry, now: Option<i64>) -> Option<Found> {
    let attribute = if flavour.is_domain() {
        "sAMAccountName"
    } else {
        "uid"
    };
    let [raw] = entry.values(attribute) else {
        return None;
    };
    let (shown, login) = name(std::str::from_utf8(raw).ok()?);
    let (dn, same) = printable(&entry.dn);
    let account = login.filter(|_| same).map(|login| {
        let dn = Some(entry.dn.clone());
        Account::named(login, dn)
    });
    let (lock, changed_at, expired) = match flavour {
        Flavour::Ad | Flavour::Samba => of_domain(entry, now),
        Flavour::Ds389 => of_389(entry),
        Flavour::OpenLdap | Flavour::Generic => of_policy(entry),
    };
    Some(Found {
        name: shown,
        importable: account.is_some_and(|account| super::admit(&account, None).is_ok()),
        dn: Some(dn),
        id: id(flavour, entry),
        shell: entry.text("loginShell").map(|shell| printable(shell).0),
        lock,
        changed_at: changed_at.and_then(admit_moment),
        expired,
    })
}

/// What no rename changes.
pub(super) fn id(flavour: Flavour, entry: &Entry) -> Option<String> {
    match flavour {
        Flavour::Ad | Flavour::Samba => guid(entry.values(flavour.identifier()).first()?),
        Flavour::Ds389 | Flavour::OpenLdap | Flavour::Generic => {
            Some(printable(entry.text(flavour.identifier())?).0)
        }
    }
}

/// A GUID's text: its first three numbers are stored with the lowest byte first.
///
/// Source: MS-DTYP 2.3.4.
fn guid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let number = u128::from_le_bytes(bytes);
    let (first, second, third) = (
        number & 0xffff_ffff,
        number >> 32 & 0xffff,
        number >> 48 & 0xffff,
    );
    let rest = u128::from_be_bytes(bytes) & 0xffff_ffff_ffff_ffff;
    let (fourth, fifth) = (rest >> 48, rest & 0xffff_ffff_ffff);
    Some(format!(
        "{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{fifth:012x}"
    ))
}

type Told = (Lock, Option<i64>, Option<bool>);

fn of_domain(entry: &Entry, now: Option<i64>) -> Told {
    let number = |name: &str| entry.text(name)?.parse::<i64>().ok();
    let computed = number("msDS-User-Account-Control-Computed");
    let has = |flag| computed.is_some_and(|flags| flags & flag != 0);
    let lock = match number("userAccountControl") {
        None => Lock::Unknown,
        Some(flags) if flags & DISABLED != 0 || has(LOCKED_OUT) => Lock::Locked,
        Some(_) => Lock::Open,
    };
    let set = number("pwdLastSet");
    let ends = number("accountExpires").filter(|ends| !NEVER.contains(ends));
    let has_ended = ends
        .and_then(age::millis_of)
        .is_some_and(|ends| now.is_some_and(|now| ends <= now));
    let expired = if set == Some(0) || has(PASSWORD_EXPIRED) || has_ended {
        Some(true)
    } else {
        set.and(computed).map(|_| false)
    };
    let changed_at = set.filter(|set| *set > 0).and_then(age::millis_of);
    (lock, changed_at, expired)
}

/// 389 Directory Server shows `nsAccountLock` only of those that are locked.
fn of_389(entry: &Entry) -> Told {
    let lock = if entry.has("nsAccountLock", "true") {
        Lock::Locked
    } else {
        Lock::Unknown
    };
    // Set to the beginning of time by whoever resets a password that must be changed.
    let must = entry.text("passwordExpirationTime").and_then(age::millis);
    let changed_at = entry.text("pwdUpdateTime").and_then(age::millis);
    (lock, changed_at, must.filter(|at| *at <= 0).map(|_| true))
}

/// Who sees the time of the last change sees a lock, too.
fn of_policy(entry: &Entry) -> Told {
    let changed_at = entry.text("pwdChangedTime").and_then(age::millis);
    let lock = if !entry.values("pwdAccountLockedTime").is_empty() {
        Lock::Locked
    } else if changed_at.is_some() {
        Lock::Open
    } else {
        Lock::Unknown
    };
    // Its age limit stands in a policy that we do not read.
    let expired = entry.has("pwdReset", "TRUE").then_some(true);
    (lock, changed_at, expired)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_written_as_domains_write_it() {
        let bytes: Vec<u8> = (0..16).map(|byte| byte * 16 + 1).collect();
        assert_eq!(
            guid(&bytes).as_deref(),
            Some("31211101-5141-7161-8191-a1b1c1d1e1f1")
        );
        assert_eq!(guid(&bytes[1..]), None);
    }
}
