//! Sends mail by SMTP.
//!
//! Invariant: with `starttls` or `tls` no byte of a notice and no password goes out before the
//! server's certificate was accepted.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{Address, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};

use super::{NotifyError, Taken, Untaken};
use crate::config::SmtpSecurity;
use crate::model::Timestamp;

/// Codes that refuse us, not the mail: whoever corrects the settings has it sent.
const AUTHENTICATION_CODES: [u16; 4] = [530, 534, 535, 538];
/// What stands beside the sender's address.
const SENDER_NAME: &str = "Keywheel";

/// The mail server.
#[derive(Clone, Debug)]
pub struct MailOptions {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// User and password, if it asks for them.
    pub login: Option<(String, SecretString)>,
    /// The sender's address.
    pub from: String,
    /// Longest exchange.
    pub timeout: Duration,
    /// Authorities that are trusted instead of the machine's, PEM.
    pub authorities: Option<Vec<u8>>,
}

/// A mail.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// Names it among the sender's mails, the same on every attempt.
    pub id: &'a str,
    /// All of them, in one message.
    pub recipients: &'a [String],
    /// One line.
    pub subject: &'a str,
    /// Plain text.
    pub body: &'a str,
}

/// Speaks with the mail server, over a new connection for each mail.
#[derive(Debug)]
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    limit: Duration,
}

/// Says to other machines that no person wrote this. Source: RFC 3834, 5.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Mailer {
    pub(super) fn new(options: MailOptions) -> Result<Self, NotifyError> {
        let from: Address = options.from.parse().map_err(|_| NotifyError::From)?;
        let protected = |host: &str| {
            let mut tls = TlsParameters::builder(host.to_owned());
            if let Some(pem) = &options.authorities {
                let certificate = Certificate::from_pem(pem).map_err(|_| NotifyError::Authority)?;
                tls = tls
                    .certificate_store(CertificateStore::None)
                    .add_root_certificate(certificate);
            }
            tls.build_rustls().map_err(|_| NotifyError::Authority)
        };
        let tls = match options.security {
            SmtpSecurity::StartTls => Tls::Required(protected(&options.host)?),
            SmtpSecurity::Tls => Tls::Wrapper(protected(&options.host)?),
            SmtpSecurity::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(options.host)
            .port(options.port)
            .tls(tls)
            .timeout(Some(options.timeout));
        if let Some((user, password)) = options.login {
            #[expect(clippy::disallowed_methods, reason = "it is shown to the mail server")]
            let password = password.expose_secret().to_owned();
            transport = transport.credentials(Credentials::new(user, password));
        }
        Ok(Self {
            transport: transport.build(),
            from: Mailbox::new(Some(SENDER_NAME.to_owned()), from),
            limit: options.timeout,
        })
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) async fn send(&self, letter: &Letter<'_>, now: Timestamp) -> Result<Taken, Untaken> {
        let message = self.message(letter, now)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(Taken { status: None }),
            Err(error) => Err(failed(&error)),
        }
    }

    fn message(&self, letter: &Letter<'_>, now: Timestamp) -> Result<Message, Untaken> {
        let mut to = Mailboxes::new();
        for recipient in letter.recipients {
            let address = recipient.parse::<Address>();
            let address = address.map_err(|_| Untaken::ever("a recipient is no mail address"))?;
            to.push(Mailbox::new(None, address));
        }
        let domain = self.from.email.domain();
        let now = Duration::from_millis(now.0.unsigned_abs());
        Message::builder()
            .from(self.from.clone())
            .mailbox(header::To::from(to))
            .subject(letter.subject)
            .date(UNIX_EPOCH + now)
            .message_id(Some(format!("<{}@{domain}>", letter.id)))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.body.to_owned())
            .map_err(|_| Untaken::ever("the mail could not be composed: it has no recipient"))
    }
}

/// Why the server has not taken it, without its words.
fn failed(error: &smtp::Error) -> Untaken {
    if let Some(code) = error.status() {
        let code = u16::from(code);
        let again = error.is_transient() || AUTHENTICATION_CODES.contains(&code);
        return Untaken {
            why: format!("the mail server answered {code}"),
            status: Some(code),
            again,
            retry_after: None,
        };
    }
    Untaken::now(if error.is_tls() {
        "TLS with the mail server failed: its certificate is not trusted, or it speaks none"
    } else if error.is_client() {
        "the mail server does not offer what the settings ask for: STARTTLS, or a way to sign in"
    } else if error.is_response() {
        "the mail server did not speak SMTP"
    } else if error.is_timeout() {
        "the mail server did not answer in time"
    } else {
        "the mail server could not be reached, or broke the connection off"
    })
}
