//! A running service, as commands call it.
//!
//! Invariant: the key comes from a file that its owner alone may use, goes to one service in one
//! header, and crosses no network in the clear; no redirect and no proxy gets it.

mod problem;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_MATCH};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use self::problem::fault;
use super::output::say;
use super::{Exit, Globals, load};
use crate::app::CREDENTIALS_FILE;
use crate::config::{Settings, read_secret_file};
use crate::generate::native_key_is_wellformed;
use crate::notify::cause;

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest that a call may take.
const CALL_MAX: Duration = Duration::from_mins(1);
/// Longest answer: a page of records with long notes.
const BODY_MAX_BYTES: usize = 33_554_432;
/// Most pages of a list, in case a service never says that it has ended.
const PAGES_MAX: usize = 10_000;

/// Which service is called, and with which key.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// Where the service answers; without it, where the settings let it listen
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// File with a native key (`kw_live_…`); without it, the first administrator's in the data folder
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Authorities, PEM, that the service's certificate is of; without it, those of this machine
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// A service that can be called.
#[derive(Debug)]
pub(super) struct Service {
    http: Client,
    /// Without a slash at the end.
    base: String,
    authorization: HeaderValue,
}

/// Says why, and how the command ends.
fn refused(exit: Exit, why: &str) -> Exit {
    say(why);
    exit
}

impl Remote {
    /// The service; nothing is sent yet.
    pub(super) fn service(&self, globals: &Globals) -> Result<Service, Exit> {
        // Who says everything needs no settings: neither service nor data need be on this machine.
        let settings = match (&self.server, &self.key_file) {
            (Some(_), Some(_)) => None,
            _ => Some(load(&globals.inputs(Vec::new()))?.settings),
        };
        let url = match (&self.server, &settings) {
            (Some(url), _) => url.clone(),
            (None, Some(settings)) => listener(settings),
            (None, None) => return Err(Exit::Usage),
        };
        let url = address(&url).map_err(|why| refused(Exit::Usage, &why))?;
        let is_here = self.server.is_none() || is_loopback(&url);
        if url.scheme() == "http" && !is_here {
            let why = format!("{url} would get the key in the clear: use https");
            return Err(refused(Exit::Usage, &why));
        }
        let key = match (&self.key_file, &settings) {
            (Some(path), _) => key_of(path, |text| Some(text.to_owned()))?,
            (None, Some(settings)) if is_here => administrators(settings)?,
            _ => {
                let why = format!(
                    "name a key for {url} with --key-file: the administrator's in this data folder \
                     is shown to no other machine"
                );
                return Err(refused(Exit::Usage, &why));
            }
        };
        Ok(Service {
            http: self.client(&url)?,
            base: url.as_str().trim_end_matches('/').to_owned(),
            authorization: bearer(&key)?,
        })
    }

    fn client(&self, url: &Url) -> Result<Client, Exit> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_MAX)
            .timeout(CALL_MAX)
            .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")));
        let client = match &self.ca_file {
            Some(path) => client.tls_certs_only(authorities(path)?),
            None if url.scheme() == "https" => client.https_only(true),
            // Nothing is verified where nothing is encrypted.
            None => client.tls_certs_only([]),
        };
        client.build().map_err(|_| {
            let why = "this machine trusts no certificate authority: install its bundle (Debian: \
                       ca-certificates), or name the service's with --ca-file";
            refused(Exit::Failed, why)
        })
    }
}

/// Where a service of these settings answers on this machine.
fn listener(settings: &Settings) -> String {
    let listen = settings.server.listen;
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    settings.server.url(SocketAddr::new(ip, listen.port()))
}

/// A service's URL, with nothing in it that calls would lose or show.
fn address(text: &str) -> Result<Url, String> {
    const WHY: &str = "--server must be a URL such as https://keywheel.example.com";
    let url = Url::parse(text).map_err(|_| WHY.to_owned())?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_web && is_bare {
        Ok(url)
    } else {
        Err(format!("{WHY}, without user, query or fragment"))
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The first administrator's key, as long as its file is in the data folder.
fn administrators(settings: &Settings) -> Result<SecretString, Exit> {
    #[derive(Deserialize)]
    struct Credentials {
        api_key: String,
    }
    let path = settings.data_file(CREDENTIALS_FILE);
    if !path.exists() {
        let why = format!("name a key with --key-file: there is no {}", path.display());
        return Err(refused(Exit::Usage, &why));
    }
    key_of(&path, |text| {
        let read = toml::from_str::<Credentials>(text).ok();
        read.map(|credentials| credentials.api_key)
    })
}

/// The native key in a file that nobody else may use.
fn key_of(path: &Path, find: impl Fn(&str) -> Option<String>) -> Result<SecretString, Exit> {
    let bytes =
        read_secret_file(path).map_err(|error| refused(Exit::Failed, &error.to_string()))?;
    let text = std::str::from_utf8(&bytes).ok().and_then(find);
    let key = text.map(Zeroizing::new);
    let key = key.as_deref().map(|key| key.trim());
    if let Some(key) = key.filter(|key| native_key_is_wellformed(key)) {
        return Ok(SecretString::from(key));
    }
    let why = format!("{} holds no native key (kw_live_…)", path.display());
    Err(refused(Exit::Failed, &why))
}

fn bearer(key: &SecretString) -> Result<HeaderValue, Exit> {
    #[expect(clippy::disallowed_methods, reason = "the service is shown it")]
    let line = Zeroizing::new(format!("Bearer {}", key.expose_secret()));
    let mut value = HeaderValue::try_from(line.as_str())
        .map_err(|_| refused(Exit::Failed, "the key is no native key"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Exit> {
    let read = std::fs::read(path).map_err(|error| error.to_string());
    let found = read.and_then(|pem| match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("it holds no certificate in PEM".to_owned()),
    });
    found.map_err(|why| refused(Exit::Failed, &format!("{}: {why}", path.display())))
}

/// The body of an answer, or of a refusal with its status.
type Answered = Result<Zeroizing<Vec<u8>>, (StatusCode, Zeroizing<Vec<u8>>)>;

/// A page of a list.
#[derive(Deserialize)]
struct Listed<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl Service {
    /// Reads one thing.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Exit> {
        let call = self.call(Method::GET, path, query)?;
        self.answer(call).await
    }

    /// Reads a list to its end.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, Exit> {
        let mut all = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.push(("limit", "200"));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: Listed<T> = self.get(path, &query).await?;
            all.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
        Err(refused(Exit::Failed, "the list does not end"))
    }

    /// Reads the first page of a list, as long as the query says.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, Exit> {
        let page: Listed<T> = self.get(path, query).await?;
        Ok(page.items)
    }

    /// Orders something.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
    ) -> Result<T, Exit> {
        let call = self.call(Method::POST, path, &[])?;
        self.answer(with(call, order)?).await
    }

    /// Orders something that may turn out not to be possible: then in one line why.
    pub(super) async fn attempt(
        &self,
        path: &str,
        order: &impl Serialize,
    ) -> Result<Result<Value, String>, Exit> {
        let call = self.call(Method::POST, path, &[])?;
        match self.answered(with(call, order)?).await? {
            Err((StatusCode::UNPROCESSABLE_ENTITY, body)) => {
                let (_, why) = fault(StatusCode::UNPROCESSABLE_ENTITY, &body);
                Ok(Err(why))
            }
            other => read(other).map(Ok),
        }
    }

    /// Replaces something that is still at this revision.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        revision: i64,
        whole: &impl Serialize,
    ) -> Result<T, Exit> {
        let call = self.call(Method::PUT, path, &[])?;
        let call = call.header(IF_MATCH, format!("\"{revision}\""));
        self.answer(with(call, whole)?).await
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, Exit> {
        let mut url =
            address(&format!("{}{path}", self.base)).map_err(|why| refused(Exit::Usage, &why))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let call = self.http.request(method, url);
        Ok(call.header(AUTHORIZATION, self.authorization.clone()))
    }

    async fn answer<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<T, Exit> {
        let answered = self.answered(call).await?;
        read(answered)
    }

    async fn answered(&self, call: RequestBuilder) -> Result<Answered, Exit> {
        let answer = call.send().await.map_err(|error| self.silent(&error))?;
        let status = answer.status();
        let body = self.whole(answer).await?;
        Ok(if status.is_success() {
            Ok(body)
        } else {
            Err((status, body))
        })
    }

    /// A body up to its limit; it may hold a secret.
    async fn whole(&self, mut answer: Response) -> Result<Zeroizing<Vec<u8>>, Exit> {
        let said = answer.content_length().unwrap_or_default();
        // Room for all of it: a buffer that grows leaves its old bytes behind.
        let room = usize::try_from(said).unwrap_or_default();
        let mut body = Zeroizing::new(Vec::with_capacity(room.min(BODY_MAX_BYTES)));
        loop {
            let chunk = answer.chunk().await.map_err(|error| self.silent(&error))?;
            let Some(chunk) = chunk else {
                return Ok(body);
            };
            if body.len() + chunk.len() > BODY_MAX_BYTES {
                return Err(refused(Exit::Failed, "the service's answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Says why there was no answer, in our words.
    fn silent(&self, error: &reqwest::Error) -> Exit {
        let (exit, why) = if cause::<rustls::Error>(error as &(dyn Error + 'static)).is_some() {
            let why = "is not trusted: name its certificate's authority with --ca-file, and call \
                       it by a name that the certificate has";
            (Exit::Failed, why)
        } else if error.is_timeout() {
            (Exit::Unavailable, "did not answer in time")
        } else if error.is_connect() {
            (
                Exit::Unavailable,
                "could not be reached: does it run there?",
            )
        } else {
            let why = "broke the connection off, or did not speak HTTP";
            (Exit::Unavailable, why)
        };
        refused(exit, &format!("{} {why}", self.base))
    }
}

/// The call with a body.
fn with(call: RequestBuilder, body: &impl Serialize) -> Result<RequestBuilder, Exit> {
    let body = serde_json::to_vec(body)
        .map_err(|error| refused(Exit::Failed, &format!("the order is no JSON: {error}")))?;
    Ok(call.header(CONTENT_TYPE, "application/json").body(body))
}

/// What was answered; says why if it is a refusal.
fn read<T: DeserializeOwned>(answered: Answered) -> Result<T, Exit> {
    let body = answered.map_err(|(status, body)| {
        let (exit, why) = fault(status, &body);
        refused(exit, &why)
    })?;
    // The parser's own words quote what it has read.
    serde_json::from_slice(&body).map_err(|_| {
        refused(
            Exit::Failed,
            "the service answered what this program cannot read",
        )
    })
}
