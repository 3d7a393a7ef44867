//! Which directory answers, and where an account lives in it.
//!
//! Invariant: a name is looked up escaped, and only a single hit counts.

use ldap3::{Scope, ldap_escape};

use super::age;
use super::dn::{self, Dn};
use super::entry::Entry;
use super::flavour::{self, Flavour};
use super::link::{Fault, Link, SIZE_LIMIT_EXCEEDED};
use crate::{Account, Class, Reason};

/// `operationsError`: a domain controller answers so to whoever is not logged in.
pub(super) const OPERATIONS_ERROR: u32 = 1;

/// What the root DSE says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// The product.
    pub(super) flavour: Flavour,
    /// The domain's own name, and where it is described; domains only.
    domain: Option<Domain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Domain {
    context: String,
    configuration: String,
}

/// Where an account was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its distinguished name.
    pub(super) dn: String,
    /// What moves when its password is set, if the look-up showed it. See [`Flavour::mark`].
    pub(super) mark: Option<Vec<u8>>,
}

/// How an account is named to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// A distinguished name: no look-up is needed.
    Dn(&'a str),
    /// The entry's own identifier, which no rename changes: `<GUID=…>`.
    Id(&'a str),
    /// A login name.
    Login(&'a str),
}

impl<'a> Name<'a> {
    /// How this account is named; `None` if what is given as its DN is none.
    pub(super) fn of(account: &'a Account) -> Option<Self> {
        let Some(dn) = account.dn.as_deref() else {
            return Some(Self::Login(account.login.as_str()));
        };
        if let Some(id) = dn
            .strip_prefix("<GUID=")
            .and_then(|rest| rest.strip_suffix('>'))
        {
            let sign = |sign: char| sign.is_ascii_hexdigit() || sign == '-';
            // A UUID has 36 characters; the identifier of 389 Directory Server has 35.
            let fits = matches!(id.len(), 35 | 36) && id.chars().all(sign);
            return fits.then_some(Self::Id(id));
        }
        Dn::parse(dn).is_some().then_some(Self::Dn(dn))
    }
}

/// Reads the root DSE and names the product.
///
/// # Errors
/// [`Class::Incompatible`] for a directory that is not served.
pub(super) async fn root(link: &Link) -> Result<Root, Reason> {
    let (entries, _) = link
        .search("", Scope::Base, "(objectClass=*)", &flavour::ATTRIBUTES)
        .await
        .map_err(Fault::reason)?;
    let no = |text| Reason::system(Class::Incompatible, text);
    let silent = "the directory does not say what it is";
    let entry = entries.first().ok_or_else(|| no(silent))?;
    let flavour = Flavour::of(entry)?;
    let named = |attribute| {
        let name = entry
            .text(attribute)
            .filter(|name| Dn::parse(name).is_some());
        name.map(str::to_owned)
    };
    let domain = match (
        named("defaultNamingContext"),
        named("configurationNamingContext"),
    ) {
        (Some(context), Some(configuration)) if flavour.is_domain() => Some(Domain {
            context,
            configuration,
        }),
        _ if flavour.is_domain() => {
            return Err(no("the domain controller does not name its domain"));
        }
        _ => None,
    };
    Ok(Root { flavour, domain })
}

impl Root {
    /// Where accounts are looked up if the system names no place: the whole domain.
    pub(super) fn base<'a>(&'a self, base_dn: &'a str) -> Option<&'a str> {
        let whole = self.domain.as_ref().map(|domain| domain.context.as_str());
        Some(base_dn).filter(|dn| Dn::parse(dn).is_some()).or(whole)
    }

    /// The name under which a domain controller takes a login before anybody could look it up.
    pub(super) fn bind_name(&self, login: &str) -> Option<String> {
        let domain = self.domain.as_ref()?;
        if login.contains(['@', '\\']) {
            return Some(login.to_owned());
        }
        Some(format!("{login}@{}", dn::dns_name(&domain.context)?))
    }

    /// Finds an account: its own DN, or the one entry that carries its name.
    ///
    /// # Errors
    /// [`Class::NoAccount`] unless exactly one entry carries it.
    pub(super) async fn find(
        &self,
        link: &Link,
        base_dn: &str,
        account: &Account,
    ) -> Result<Found, Reason> {
        let none = |text| Reason::account(Class::NoAccount, text);
        let name = Name::of(account).ok_or_else(|| none("the account's DN is no name"))?;
        let login = match name {
            Name::Dn(dn) => {
                return Ok(Found {
                    dn: dn.to_owned(),
                    mark: None,
                });
            }
            // The domain takes the identifier itself for a name, wherever the entry lives.
            Name::Id(id) if self.flavour.is_domain() => {
                let base = format!("<GUID={id}>");
                return self.one(link, &base, Scope::Base, "(objectClass=*)").await;
            }
            Name::Id(id) => format!("({}={id})", identifier(id)),
            Name::Login(login) if self.flavour.is_domain() => {
                self.domain_filter(link, login).await?
            }
            Name::Login(login) => format!("(uid={})", ldap_escape(login)),
        };
        let base = self
            .base(base_dn)
            .ok_or_else(|| none("the account has no DN and the system no base DN to look below"))?;
        self.one(link, base, Scope::Subtree, &login).await
    }

    async fn one(
        &self,
        link: &Link,
        base: &str,
        scope: Scope,
        filter: &str,
    ) -> Result<Found, Reason> {
        let none = |text| Err(Reason::account(Class::NoAccount, text));
        // `1.1` asks for no attribute at all. Source: RFC 4511 4.5.1.8.
        let attribute = self.flavour.mark().unwrap_or("1.1");
        let (entries, reply) = link
            .search(base, scope, filter, &[attribute])
            .await
            .map_err(Fault::reason)?;
        match (entries.as_slice(), reply.code) {
            ([], 50) => Err(Reason::account(
                Class::Privilege,
                "this login may not look up accounts",
            )),
            ([], OPERATIONS_ERROR) => {
                link.retire();
                Err(Reason::account(
                    Class::Privilege,
                    "the directory looks up accounts only for whoever is logged in",
                ))
            }
            ([], 0 | 32) => none("no entry below the base DN carries this login name"),
            ([_, _, ..], _) | (_, SIZE_LIMIT_EXCEEDED) => {
                none("more than one entry below the base DN carries this login name")
            }
            ([entry], 0) if Dn::parse(&entry.dn).is_some() => Ok(Found {
                dn: entry.dn.clone(),
                mark: entry.values(attribute).first().cloned(),
            }),
            _ => Err(Reason::account(
                Class::Busy,
                "the directory did not finish the look-up",
            )),
        }
    }

    /// Finds `name`, `name@domain` and `DOMAIN\name`.
    ///
    /// Source: MS-ADTS 5.1.1.1.1; a login name implies `name@` and the domain's DNS name.
    async fn domain_filter(&self, link: &Link, login: &str) -> Result<String, Reason> {
        let filter = |parts: &str| format!("(&(objectClass=user)(|{parts}))");
        if let Some((domain, name)) = login.split_once('\\') {
            self.is_own(link, domain).await?;
            return Ok(filter(&format!("(sAMAccountName={})", ldap_escape(name))));
        }
        let principal = format!("(userPrincipalName={})", ldap_escape(login));
        let implied = match login.rsplit_once('@') {
            None => Some(login),
            Some((name, suffix)) => self
                .domain
                .as_ref()
                .and_then(|domain| dn::dns_name(&domain.context))
                .filter(|dns| dns.eq_ignore_ascii_case(suffix))
                .map(|_| name),
        };
        let implied = implied.map(|name| format!("(sAMAccountName={})", ldap_escape(name)));
        Ok(filter(&(principal + &implied.unwrap_or_default())))
    }

    /// Refuses what is not the domain's own short name, the one before a backslash.
    async fn is_own(&self, link: &Link, netbios: &str) -> Result<(), Reason> {
        let other = || {
            Err(Reason::account(
                Class::NoAccount,
                "the login name is one of another domain",
            ))
        };
        let Some(domain) = &self.domain else {
            return other();
        };
        let base = format!("CN=Partitions,{}", domain.configuration);
        let filter = format!(
            "(&(objectClass=crossRef)(nETBIOSName={}))",
            ldap_escape(netbios)
        );
        let (entries, _) = link
            .search(&base, Scope::OneLevel, &filter, &["nCName"])
            .await
            .map_err(Fault::reason)?;
        match entries.as_slice() {
            [entry]
                if entry
                    .text("nCName")
                    .is_some_and(|name| dn::same(name, &domain.context)) =>
            {
                Ok(())
            }
            _ => other(),
        }
    }

    /// Reads the mark of an entry; `None` if it shows none.
    pub(super) async fn mark(&self, link: &Link, dn: &str) -> Option<Vec<u8>> {
        self.flavour.mark()?;
        let found = self.one(link, dn, Scope::Base, "(objectClass=*)").await;
        found.ok()?.mark
    }

    /// True if it is the minimum age that keeps a password of a domain from being changed.
    pub(super) async fn is_too_young(&self, link: &Link, dn: &str) -> bool {
        match &self.domain {
            Some(domain) => age::is_too_young(link, &domain.context, dn).await,
            None => false,
        }
    }

    /// True if the connection is logged in as the entry of this name.
    pub(super) async fn is_bound_as(&self, link: &Link, dn: &str) -> Result<bool, Fault> {
        if !self.flavour.is_domain() {
            let identity = link.who_am_i().await?;
            return Ok(identity.is_some_and(|identity| dn::same(&identity, dn)));
        }
        let all = "(objectClass=*)";
        let (token, own) = futures::future::try_join(
            link.search("", Scope::Base, all, &["tokenGroups"]),
            link.search(dn, Scope::Base, all, &["objectSid"]),
        )
        .await?;
        let first = |(entries, _): &(Vec<Entry>, _), attribute| {
            let [entry] = entries.as_slice() else {
                return None;
            };
            entry.values(attribute).first().cloned()
        };
        // The token begins with the SID of whoever is logged in. Source: MS-ADTS 3.1.1.3.2.
        let bound = first(&token, "tokenGroups");
        Ok(bound.is_some() && bound == first(&own, "objectSid"))
    }
}

/// The attribute that an identifier of this form stands in.
fn identifier(id: &str) -> &'static str {
    if id.len() == 36 {
        "entryUUID"
    } else {
        "nsUniqueId"
    }
}

/// What the entry itself says of a refused login: policies may hide a lock from whoever binds.
///
/// `None`: nothing that speaks against the refusal.
pub(super) async fn hindrance(link: &Link, dn: &str) -> Option<Reason> {
    let searched = link
        .search(
            dn,
            Scope::Base,
            "(objectClass=*)",
            &["pwdAccountLockedTime"],
        )
        .await;
    let (entries, reply) = searched.ok()?;
    match (entries.as_slice(), reply.code) {
        ([], 0 | 32) => Some(Reason::account(
            Class::NoAccount,
            "there is no such entry, or the functional account does not see it",
        )),
        ([entry, ..], _) if !entry.values("pwdAccountLockedTime").is_empty() => {
            Some(Reason::account(Class::Locked, "the account is locked"))
        }
        _ => None,
    }
}
