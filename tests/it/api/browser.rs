//! Somebody who signs in with a password, and what their browser then sends.
//!
//! Invariant: the cookie goes with every call, and the token with those that act, as in a browser.

use axum::http::header;
use keywheel::model::id::UserId;
use serde_json::{Value, json};

use super::world::{Answer, Client, World};

pub(super) const PASSWORD: &str = "correct horse battery";

/// A signed-in session.
pub(super) struct Browser {
    pub(super) client: Client,
    pub(super) token: String,
    /// What the sign-in answered.
    pub(super) session: Value,
}

/// Gives a user a password, past the interface.
pub(super) async fn set_password(world: &World, user: UserId, password: &str) {
    let password = secrecy::SecretString::from(password);
    let hash = world.api.passwords.hash(&password, &*world.api.dice).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.set_password(user, &hash.unwrap(), world.api.clock.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// Tries to sign in.
pub(super) async fn try_sign_in(world: &World, order: &Value) -> Answer {
    let client = world.nobody().from("192.0.2.7").below("/api/v1");
    client.post("/sessions", order).await
}

impl Browser {
    pub(super) async fn open(world: &World, name: &str, password: &str) -> Self {
        let answer = try_sign_in(world, &json!({"name": name, "password": password})).await;
        Self::of(world, &answer.expect(201))
    }

    /// The session that a sign-in has opened.
    pub(super) fn of(world: &World, answer: &Answer) -> Self {
        let session = answer.json();
        let cookie = answer.header(header::SET_COOKIE).split(';').next().unwrap();
        let nobody = world.nobody().from("192.0.2.7").below("/api/v1");
        Self {
            client: Client {
                header: Some((header::COOKIE, cookie.to_owned())),
                ..nobody
            },
            token: session["csrf_token"].as_str().unwrap().to_owned(),
            session,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.client.get(path).await
    }

    /// A call that acts.
    pub(super) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let headers = [("x-csrf-token", self.token.as_str())];
        self.client.call(method, path, body, &headers).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }
}

/// What stands on record of somebody or something, newest first.
pub(super) async fn recorded(world: &World, subject: &str) -> Vec<(String, Value)> {
    let rows = world.store.audit_of(subject, 50).await.unwrap();
    let rows = rows.into_iter();
    rows.map(|row| (row.event, serde_json::from_str(&row.body).unwrap()))
        .collect()
}

/// The names of what stands on record.
pub(super) async fn events(world: &World, subject: &str) -> Vec<String> {
    let rows = recorded(world, subject).await.into_iter();
    rows.map(|(event, _)| event).collect()
}
