//! A receiver of webhooks on 127.0.0.1 that answers as its paths say.
//!
//! Invariant: it keeps what it was sent, and ends with the test.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use keywheel::clock::SystemClock;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long `/slowly` keeps its senders waiting.
const SLOW: Duration = Duration::from_millis(50);

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// False: its sender has no answer, or not yet.
    pub(crate) answered: bool,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The signature that it should bear under this key.
    pub(crate) fn signature(&self, key: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let id = self.header("webhook-id");
        let at = self.header("webhook-timestamp");
        let tag = hmac::sign(&key, format!("{id}.{at}.{}", self.body).as_bytes());
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    }
}

#[derive(Clone, Default)]
struct Kept {
    received: Arc<Mutex<Vec<Received>>>,
    /// What `/as-told` answers.
    told: Arc<Mutex<u16>>,
}

/// A receiver.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    kept: Kept,
    _server: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Kept::default();
        *kept.told.lock().unwrap() = 200;
        let router = Router::new().fallback(answer).with_state(kept.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            kept,
            _server: server,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What `/as-told` answers from now on.
    pub(crate) fn tell(&self, status: u16) {
        *self.kept.told.lock().unwrap() = status;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.kept.received.lock().unwrap().clone()
    }
}

async fn answer(State(kept): State<Kept>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1_000_000).await.unwrap();
    let path = parts.uri.path().to_owned();
    let told = *kept.told.lock().unwrap();
    let nth = {
        let mut received = kept.received.lock().unwrap();
        received.push(Received {
            path: path.clone(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
            answered: !["/slowly", "/silent"].contains(&path.as_str()),
        });
        received.len() - 1
    };
    let secret = "what the receiver says: s3cret-echo";
    match path.as_str() {
        "/as-told" => (StatusCode::from_u16(told).unwrap(), secret).into_response(),
        moved if moved.starts_with("/moved") => {
            let to = [(header::LOCATION, "/elsewhere")];
            (StatusCode::MOVED_PERMANENTLY, to, secret).into_response()
        }
        "/later" => {
            let wait = [(header::RETRY_AFTER, "3600")];
            (StatusCode::TOO_MANY_REQUESTS, wait, secret).into_response()
        }
        "/endless" => {
            let chunks =
                stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4_096])));
            Body::from_stream(chunks).into_response()
        }
        "/slowly" => {
            // Whoever leaves before ends this here.
            SystemClock::shared().sleep(SLOW).await;
            kept.received.lock().unwrap()[nth].answered = true;
            StatusCode::OK.into_response()
        }
        "/silent" => std::future::pending().await,
        _ => (StatusCode::OK, "ok").into_response(),
    }
}
