//! API keys: of which kind, from where, for how long; and the tokens that OAuth clients get.
//!
//! Invariant: only hashes of keys, tokens and cookies exist here.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Timestamp;
use super::id::{KeyId, OrganizationId, UserId};

/// Which interface takes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// The native API: `Authorization: Bearer …`.
    Native,
    /// The Password Safe dialect: `Authorization: PS-Auth key=…`.
    PasswordSafe,
    /// The Password Safe dialect: a client id and its secret, for an access token.
    OAuth,
    /// The IT Glue dialect: `x-api-key`.
    ItGlue,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Native, Self::PasswordSafe, Self::OAuth, Self::ItGlue];

    /// As it stands in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::PasswordSafe => "passwordsafe",
            Self::OAuth => "oauth",
            Self::ItGlue => "itglue",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == raw)
    }
}

/// An API key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Which interface takes it.
    pub kind: KeyKind,
    /// Who acts with it.
    pub user_id: UserId,
    /// What people read.
    pub name: String,
    /// What it is recognised by: its first characters, or its client id.
    pub prefix: String,
    /// From where it may be used.
    pub addresses: Addresses,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When somebody ended it.
    pub revoked_at: Option<Timestamp>,
    /// Its last use, at a minute's grain.
    pub last_used_at: Option<Timestamp>,
    /// The key that takes its place.
    pub successor_id: Option<KeyId>,
    /// Signs in with its user's password alone.
    pub password_required: bool,
    /// What it reaches; of [`KeyKind::ItGlue`].
    pub reach: Reach,
    /// Counts edits.
    pub revision: i64,
}

impl ApiKey {
    /// How exactly the last use is noted: a write a call would be too many.
    pub const GRAIN: Duration = Duration::from_mins(1);
    /// How long a key lives on beside its successor, where nobody says.
    pub const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
    /// How long at most.
    pub const OVERLAP_MAX: Duration = Duration::from_hours(30 * 24);
    /// After how long without use a key of [`KeyKind::ItGlue`] is revoked.
    pub const IDLE_MAX: Duration = Duration::from_hours(90 * 24);
    /// How long before that administrators are told.
    pub const IDLE_WARNING: Duration = Duration::from_hours(10 * 24);

    /// The public half of an OAuth registration.
    pub fn client_id(&self) -> Option<&str> {
        (self.kind == KeyKind::OAuth).then_some(self.prefix.as_str())
    }

    /// True if its last use is old enough to be noted anew.
    pub fn is_used_anew(&self, now: Timestamp) -> bool {
        self.last_used_at
            .is_none_or(|last| now.since(last) >= Self::GRAIN)
    }

    /// When a successor that is made now ends by itself: it gets as long as this one got.
    pub fn renewed_until(&self, now: Timestamp) -> Option<Timestamp> {
        let end = self.expires_at?;
        Some(now.plus(end.since(self.created_at)))
    }

    /// True if the key signs in at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key to be recorded; the key itself is handed out once and not kept.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Which interface takes it.
    pub kind: KeyKind,
    /// Who acts with it.
    pub user_id: UserId,
    /// What people read.
    pub name: String,
    /// What is kept of the key.
    pub hash: KeyHash,
    /// Its first characters, see [`KeyHash::prefix`]; of an OAuth registration its client id.
    pub prefix: String,
    /// From where it may be used.
    pub addresses: Addresses,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Signs in with its user's password alone; of [`KeyKind::PasswordSafe`].
    pub password_required: bool,
    /// What it reaches; of [`KeyKind::ItGlue`].
    pub reach: Reach,
}

/// What of a key may be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEdit {
    /// What people read.
    pub name: String,
    /// From where it may be used.
    pub addresses: Addresses,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Signs in with its user's password alone.
    pub password_required: bool,
    /// What it reaches.
    pub reach: Reach,
}

/// What a key of the IT Glue dialect reaches, of what its user may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// True: values of password records are shown and taken.
    pub password_access: bool,
    /// The organizations in reach; none of them means all.
    pub organizations: BTreeSet<OrganizationId>,
}

impl Reach {
    /// Most organizations of one key.
    pub const MAX: usize = 1_000;

    /// All organizations, with their values.
    pub fn whole() -> Self {
        Self {
            password_access: true,
            organizations: BTreeSet::new(),
        }
    }

    /// Reads organizations as [`Self::written`] wrote them.
    pub fn read(raw: &str) -> Option<BTreeSet<OrganizationId>> {
        let ids = raw.split(',').filter(|one| !one.is_empty());
        ids.map(|id| id.parse().ok().map(OrganizationId)).collect()
    }

    /// The organizations as they stand in the database: ids with commas between them.
    pub fn written(&self) -> String {
        let ids = self.organizations.iter().map(|id| id.0.to_string());
        ids.collect::<Vec<_>>().join(",")
    }

    /// True if this organization is in reach.
    pub fn holds(&self, organization: OrganizationId) -> bool {
        self.organizations.is_empty() || self.organizations.contains(&organization)
    }
}

/// From where a key may be used: networks, or anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Addresses(Vec<IpNet>);

impl Addresses {
    /// Most networks of one key.
    pub const MAX: usize = 64;

    /// Reads one network, `10.0.0.0/8` or `2001:db8::/32`, or a single address. Bits behind the
    /// network's length are dropped.
    pub fn network(raw: &str) -> Option<IpNet> {
        let raw = raw.trim();
        let single = || Some(IpNet::from(raw.parse::<IpAddr>().ok()?.to_canonical()));
        raw.parse::<IpNet>()
            .ok()
            .or_else(single)
            .map(|net| net.trunc())
    }

    /// These networks; none of them means anywhere.
    pub fn of(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Reads what [`fmt::Display`] has written.
    pub fn parse(raw: &str) -> Option<Self> {
        let networks = raw.split(',').filter(|one| !one.is_empty());
        networks.map(Self::network).collect::<Option<_>>().map(Self)
    }

    /// The networks; none means anywhere.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }

    /// True if a call from there may use the key. An address that nobody knows fits no network.
    pub fn allow(&self, from: Option<IpAddr>) -> bool {
        self.0.is_empty() || from.is_some_and(|from| self.name(from))
    }

    /// True if one of the networks holds this address.
    pub fn name(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl TryFrom<String> for Addresses {
    type Error = &'static str;

    fn try_from(raw: String) -> Result<Self, &'static str> {
        Self::parse(&raw).ok_or("must be networks such as 10.0.0.0/8, with commas between them")
    }
}

impl From<Addresses> for String {
    fn from(addresses: Addresses) -> Self {
        addresses.to_string()
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, network) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

/// What an OAuth client signs in with for a while, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// The registration that got it.
    pub key_id: KeyId,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl AccessToken {
    /// How long a token signs in. It ends no session.
    pub const LIFE: Duration = Duration::from_hours(1);
}

/// SHA-256 of a key or cookie, 64 lower-case hex digits. Keys are random and long, so a slow
/// hash would add nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyHash(String);

/// What acting calls carry beside the cookie of a user's session, so that no other site can make
/// them: 64 hex digits, made of the cookie, which cannot be had of them.
#[expect(clippy::disallowed_methods, reason = "the token is made of the cookie")]
pub fn csrf_token(cookie: &SecretString) -> SecretString {
    let text = Zeroizing::new(format!("keywheel csrf 1 {}", cookie.expose_secret()));
    let KeyHash(token) = KeyHash::of_bytes(text.as_bytes());
    SecretString::from(token)
}

impl KeyHash {
    /// Characters of a key that may be kept and shown, to recognise it by.
    const PREFIX_CHARS: usize = 12;

    /// Hashes a key.
    #[expect(clippy::disallowed_methods, reason = "hashing needs the key once")]
    pub fn of(key: &SecretString) -> Self {
        Self::of_bytes(key.expose_secret().as_bytes())
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, bytes);
        Self(
            hash.as_ref()
                .iter()
                .fold(String::with_capacity(64), |mut hex, byte| {
                    hex.extend(char::from_digit(u32::from(byte >> 4), 16));
                    hex.extend(char::from_digit(u32::from(byte & 15), 16));
                    hex
                }),
        )
    }

    /// The first characters of a key: at most 12 of its 36 or more, so that what is left still
    /// cannot be guessed.
    #[expect(clippy::disallowed_methods, reason = "the prefix is made to be shown")]
    pub fn prefix(key: &SecretString) -> String {
        key.expose_secret()
            .chars()
            .take(Self::PREFIX_CHARS)
            .collect()
    }

    /// As it stands in the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_published_one_and_prints_nothing() {
        let hash = KeyHash::of(&SecretString::from("abc"));
        assert_eq!(
            hash.as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(format!("{hash:?}"), "KeyHash(…)");
    }

    #[test]
    fn a_csrf_token_is_made_of_its_cookie_and_is_no_hash_of_it() {
        let token = |cookie| csrf_token(&SecretString::from(cookie));
        let (one, same, other) = (token("abc"), token("abc"), token("abd"));
        #[expect(clippy::disallowed_methods, reason = "made-up tokens are compared")]
        let text = |token: &SecretString| token.expose_secret().to_owned();
        assert_eq!(text(&one), text(&same));
        assert_ne!(text(&one), text(&other));
        assert_ne!(text(&one), KeyHash::of(&SecretString::from("abc")).as_str());
        assert_eq!(text(&one).len(), 64);
    }

    #[test]
    fn a_key_ends_at_its_expiry_and_at_its_revocation() {
        let key = ApiKey {
            id: KeyId(1),
            kind: KeyKind::Native,
            user_id: UserId(1),
            name: String::new(),
            prefix: String::new(),
            addresses: Addresses::default(),
            created_at: Timestamp(0),
            expires_at: Some(Timestamp(10)),
            revoked_at: None,
            last_used_at: None,
            successor_id: None,
            password_required: false,
            reach: Reach::default(),
            revision: 1,
        };
        assert!(key.is_live(Timestamp(9)));
        assert!(!key.is_live(Timestamp(10)));
        assert!(
            !ApiKey {
                revoked_at: Some(Timestamp(1)),
                ..key
            }
            .is_live(Timestamp(2))
        );
    }

    #[test]
    fn no_organization_means_all_and_some_mean_those() {
        assert!(Reach::default().holds(OrganizationId(7)) && Reach::default().written().is_empty());
        let some = Reach {
            organizations: Reach::read("2,11").unwrap(),
            ..Reach::default()
        };
        assert_eq!(some.written(), "2,11");
        assert!(some.holds(OrganizationId(11)) && !some.holds(OrganizationId(1)));
        assert_eq!(Reach::read("2,x"), None);
    }

    #[test]
    fn networks_are_read_written_and_asked() {
        let text = "10.0.0.0/8,192.0.2.7/32,2001:db8::/32";
        let addresses = Addresses::parse(text).unwrap();
        assert_eq!(addresses.to_string(), text);
        for (from, fits) in [
            ("10.255.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::5", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(addresses.allow(Some(from.parse().unwrap())), fits, "{from}");
        }
        assert!(!addresses.allow(None));
        assert!(Addresses::parse("").unwrap().allow(None));
        let spelled = |raw| Addresses::network(raw).map(|net| net.to_string());
        assert_eq!(spelled("10.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(spelled(" 192.0.2.7 ").as_deref(), Some("192.0.2.7/32"));
        for raw in ["", "10.0.0.0/33", "example.org", "10.0.0"] {
            assert_eq!(spelled(raw), None, "{raw}");
        }
    }

    #[test]
    fn a_successor_lives_as_long_as_its_predecessor_was_to() {
        let key = |expires_at| ApiKey {
            id: KeyId(1),
            kind: KeyKind::OAuth,
            user_id: UserId(1),
            name: String::new(),
            prefix: "id".into(),
            addresses: Addresses::default(),
            created_at: Timestamp(100),
            expires_at,
            revoked_at: None,
            last_used_at: Some(Timestamp(100)),
            successor_id: None,
            password_required: false,
            reach: Reach::default(),
            revision: 1,
        };
        let now = Timestamp(1_000);
        assert_eq!(key(None).renewed_until(now), None);
        assert_eq!(
            key(Some(Timestamp(150))).renewed_until(now),
            Some(Timestamp(1_050))
        );
        assert!(!key(None).is_used_anew(Timestamp(60_099)));
        assert!(key(None).is_used_anew(Timestamp(60_100)));
        assert_eq!(key(None).client_id(), Some("id"));
    }
}
