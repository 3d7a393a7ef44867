//! What one target, and one account on it, may be called: two records of one login would
//! overwrite each other's passwords.
//!
//! Invariant: two names are one only if nothing that is recorded speaks against it; what the names
//! do not tell, the target does.

use std::collections::BTreeSet;
use std::net::IpAddr;

use keywheel_connectors::ldap::{canonical_dn, domain_of_dn, login_of_dn};

use super::account::AccountSettings;
use super::platform::{ConnectorKind, Platform};
use super::system::SystemSettings;

/// Where a system answers, in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What is connected to: connector, port and host.
    pub address: String,
    /// Every name that the system is known by, the address included.
    pub names: BTreeSet<String>,
    /// The part of a directory that is managed; empty for all of it, and where there are no parts.
    pub base: String,
    ip: Option<IpAddr>,
}

impl Endpoint {
    /// Of a system's settings.
    ///
    /// Systems that are spoken to as a definition says have one for each definition: a device's
    /// accounts and its enable secret may be managed by two.
    pub fn of(settings: &SystemSettings, platform: &Platform) -> Self {
        let port = settings.port_on(platform);
        let service = match platform.connector {
            ConnectorKind::Dialogue => format!("dialogue {}|{port}|", platform.id.0),
            ConnectorKind::Ssh | ConnectorKind::Ldap | ConnectorKind::Fake => {
                format!("{}|{port}|", platform.connector.as_str())
            }
        };
        let recorded = [
            settings.ip_address.as_deref(),
            settings.dns_name.as_deref(),
            Some(settings.host_name.as_str()),
        ];
        let mut hosts = recorded.into_iter().flatten().map(host);
        let mut hosts = hosts.by_ref().filter(|host| !host.is_empty()).peekable();
        let first = hosts.peek().cloned().unwrap_or_default();
        let named = |host: &str| format!("{service}{host}");
        let base = settings.base_dn.as_deref().filter(|_| {
            // Hosts have no parts.
            platform.connector == ConnectorKind::Ldap
        });
        Self {
            address: named(&first),
            names: hosts.map(|host| named(&host)).collect(),
            base: base.and_then(canonical_dn).unwrap_or_default(),
            ip: first.parse().ok(),
        }
    }

    /// True if both lead to the same accounts. Two addresses that differ are two machines, whatever
    /// their names; and parts of a directory that do not overlap are two.
    pub fn is_one_with(&self, other: &Self) -> bool {
        let two_addresses = match (self.ip, other.ip) {
            (Some(one), Some(two)) => one != two,
            _ => false,
        };
        let named = self.names.contains(&other.address) || other.names.contains(&self.address);
        named && !two_addresses && overlap(&self.base, &other.base)
    }
}

/// A host in one spelling: addresses as numbers, names in lower case and without their last dot.
fn host(raw: &str) -> String {
    let raw = raw.trim();
    let bare = raw
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(raw);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => raw.strip_suffix('.').unwrap_or(raw).to_lowercase(),
    }
}

fn overlap(one: &str, other: &str) -> bool {
    let holds = |whole: &str, part: &str| {
        whole.is_empty() || part == whole || part.ends_with(&format!(",{whole}"))
    };
    holds(one, other) || holds(other, one)
}

/// A name of an account in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alias {
    /// Its kind, and the name in one spelling.
    pub name: String,
    /// True if the directory itself would take the name for this account; false if the account
    /// has a better one, and other accounts may have this one, too.
    pub is_certain: bool,
}

impl Alias {
    /// True if two accounts that carry these are one.
    pub fn is_one_with(&self, other: &Self) -> bool {
        self.name == other.name && (self.is_certain || other.is_certain)
    }
}

/// What an account may be called in its directory, by what is recorded of it; nothing on hosts,
/// whose names have one spelling.
///
/// `base`: where the system's accounts are looked up.
pub fn aliases(settings: &AccountSettings, platform: &Platform, base: Option<&str>) -> Vec<Alias> {
    if platform.connector != ConnectorKind::Ldap {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    let mut add = |kind: &str, name: &str, is_certain| {
        let name = format!("{kind}:{}", name.to_lowercase());
        found.insert(Alias { name, is_certain });
    };
    let dn = settings.distinguished_name.as_deref();
    let id = dn.and_then(identifier).or_else(|| {
        let id = settings.extras.object_id.as_deref()?;
        is_identifier(id).then_some(id)
    });
    if let Some(id) = id {
        add("id", id, true);
    }
    let name = settings.name.as_str();
    let spelled = dn.or(Some(name)).and_then(canonical_dn);
    if let Some(dn) = &spelled {
        add("dn", dn, true);
    }
    let principal = settings.user_principal_name.as_deref();
    let sam = settings.sam_account_name.as_deref();
    if let Some(principal) = principal {
        add("principal", principal, true);
    }
    if let Some(sam) = sam {
        add("login", local(sam), true);
    }
    let is_bare = spelled.is_none() && id.is_none() && principal.is_none() && sam.is_none();
    let own = [settings.domain_name.clone(), base.and_then(domain_of_dn)];
    let implied = |principal: &str| {
        let (login, suffix) = principal.rsplit_once('@')?;
        let own = own.iter().flatten();
        own.clone()
            .any(|domain| domain.eq_ignore_ascii_case(suffix))
            .then(|| login.to_owned())
    };
    // `ann@example.com` is `ann` of the domain example.com, unless it is said who it is.
    if let (Some(login), None) = (principal.and_then(implied), sam) {
        add("login", &login, true);
    }
    if is_bare && name.contains('@') {
        add("principal", name, true);
    }
    let login = implied(name).unwrap_or_else(|| local(name).to_owned());
    if is_bare {
        add("login", &login, true);
    }
    // What people call it. An account of which no more is known may be any that is called so.
    add("label", &login, is_bare);
    if let Some(login) = dn.and_then(login_of_dn) {
        add("label", &login, false);
    }
    // Where a name is certain, it is not uncertain as well.
    let certain: BTreeSet<String> = found
        .iter()
        .filter(|alias| alias.is_certain)
        .map(|alias| alias.name.clone())
        .collect();
    found
        .into_iter()
        .filter(|alias| alias.is_certain || !certain.contains(&alias.name))
        .collect()
}

/// `ann` of `CORP\ann`.
fn local(name: &str) -> &str {
    name.rsplit_once('\\').map_or(name, |(_, login)| login)
}

/// What stands in `<GUID=…>`.
fn identifier(dn: &str) -> Option<&str> {
    dn.strip_prefix("<GUID=")?.strip_suffix('>')
}

/// An identifier of an entry that is one: clients that have none send zeros.
fn is_identifier(id: &str) -> bool {
    let sign = |sign: char| sign.is_ascii_hexdigit() || sign == '-';
    id.len() == 36 && id.chars().all(sign) && id.chars().any(|sign| !matches!(sign, '0' | '-'))
}

#[cfg(test)]
mod tests {
    use super::super::id::PlatformId;
    use super::super::platform::Platforms;
    use super::*;

    fn platform(id: i64) -> Platform {
        let platforms = Platforms::default();
        platforms.find(PlatformId(id)).unwrap().clone()
    }

    fn system(host: &str, dns: &str, ip: &str) -> SystemSettings {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        SystemSettings {
            dns_name: given(dns),
            ip_address: given(ip),
            ..SystemSettings::of_host(host)
        }
    }

    fn one(left: &SystemSettings, right: &SystemSettings, id: i64) -> bool {
        let of = |settings| Endpoint::of(settings, &platform(id));
        let both = of(left).is_one_with(&of(right));
        assert_eq!(both, of(right).is_one_with(&of(left)), "either way round");
        both
    }

    #[test]
    fn one_host_by_another_spelling_is_one() {
        let known = system("web1", "Web1.example.com", "10.0.0.1");
        for (host, dns, ip) in [
            ("other", "", "10.0.0.1"),
            ("10.0.0.1", "", ""),
            ("WEB1", "", ""),
            ("x", "web1.EXAMPLE.com.", ""),
            ("web1.example.com", "", ""),
            ("x", "", "::ffff:10.0.0.1"),
        ] {
            assert!(one(&known, &system(host, dns, ip), 2), "{host} {dns} {ip}");
        }
        let six = system("six", "", "2001:DB8:0::1");
        assert!(one(&six, &system("[2001:db8::1]", "", ""), 2));
    }

    #[test]
    fn other_hosts_ports_and_services_are_others() {
        let known = system("web1", "web1.example.com", "10.0.0.1");
        for (host, dns, ip) in [
            ("web1", "", "10.0.0.2"), // the same name in another place
            ("web1", "web1.example.net", ""),
            ("web11", "", ""),
        ] {
            assert!(!one(&known, &system(host, dns, ip), 2), "{host} {dns} {ip}");
        }
        let mut moved = known.clone();
        moved.port = Some(2_222);
        assert!(!one(&known, &moved, 2));
        let ssh = Endpoint::of(&known, &platform(2));
        assert!(!ssh.is_one_with(&Endpoint::of(&known, &platform(32))));
    }

    #[test]
    fn parts_of_a_directory_are_one_where_they_overlap() {
        let part = |base: &str| SystemSettings {
            base_dn: Some(base.to_owned()).filter(|base| !base.is_empty()),
            ..SystemSettings::of_host("ldap1")
        };
        assert!(one(&part("ou=a,dc=x"), &part("OU=A, dc=x"), 32));
        assert!(one(&part("ou=a,dc=x"), &part("dc=x"), 32));
        assert!(one(&part("ou=a,dc=x"), &part(""), 32));
        assert!(!one(&part("ou=a,dc=x"), &part("ou=b,dc=x"), 32));
        assert!(!one(&part("ou=a,dc=x"), &part("ou=aa,dc=x"), 32));
    }

    fn known_as(edit: impl FnOnce(&mut AccountSettings)) -> Vec<Alias> {
        let mut settings = AccountSettings::named("ann");
        edit(&mut settings);
        aliases(&settings, &platform(32), Some("DC=Example,DC=com"))
    }

    fn are_one(left: &[Alias], right: &[Alias]) -> bool {
        left.iter()
            .any(|one| right.iter().any(|other| one.is_one_with(other)))
    }

    #[test]
    fn every_name_of_an_account_in_a_directory_leads_to_it() {
        let text = |text: &str| Some(text.to_owned());
        let full = known_as(|ann| {
            ann.distinguished_name = text("CN=Ann,OU=people,DC=example,DC=com");
            ann.user_principal_name = text("ann@example.com");
            ann.sam_account_name = text("ann");
        });
        let others: [(&str, Vec<Alias>); 7] = [
            ("bare", known_as(|_| {})),
            ("case", known_as(|ann| ann.name = "ANN".to_owned())),
            ("domain", known_as(|ann| ann.name = "CORP\\ann".to_owned())),
            (
                "name",
                known_as(|ann| ann.name = "Ann@Example.com".to_owned()),
            ),
            (
                "principal",
                known_as(|ann| {
                    ann.name = "a".to_owned();
                    ann.user_principal_name = text("ANN@example.com");
                }),
            ),
            (
                "dn",
                known_as(|ann| {
                    ann.name = "a".to_owned();
                    ann.distinguished_name = text("cn=ann, ou=People,dc=example,dc=com");
                }),
            ),
            (
                "dn as name",
                known_as(|ann| ann.name = "cn=ann,ou=people, dc=example,dc=com".to_owned()),
            ),
        ];
        for (what, other) in &others {
            assert!(are_one(&full, other), "{what}: {other:?}");
            assert!(are_one(other, &full), "{what}, the other way round");
        }
    }

    #[test]
    fn accounts_that_share_less_than_a_name_of_their_own_are_two() {
        let text = |text: &str| Some(text.to_owned());
        let full = known_as(|ann| {
            ann.distinguished_name = text("uid=ann,ou=people,dc=example,dc=com");
        });
        let elsewhere = known_as(|ann| {
            ann.distinguished_name = text("uid=ann,ou=partners,dc=example,dc=com");
        });
        assert!(!are_one(&full, &elsewhere));
        let called = known_as(|ann| {
            ann.name = "a".to_owned();
            ann.sam_account_name = text("ann");
        });
        assert!(
            !are_one(&full, &called),
            "a name that people gave is no login"
        );
        let foreign = known_as(|ann| {
            ann.name = "partner".to_owned();
            ann.user_principal_name = text("ann@partner.test");
        });
        assert!(!are_one(&known_as(|_| {}), &foreign));
        let zeros = || {
            known_as(|ann| {
                ann.name = "a".to_owned();
                ann.distinguished_name = text("uid=a,dc=example,dc=com");
                ann.extras.object_id = text("00000000-0000-0000-0000-000000000000");
            })
        };
        assert!(!are_one(&full, &zeros()));
        assert!(aliases(&AccountSettings::named("ann"), &platform(2), None).is_empty());
    }
}
