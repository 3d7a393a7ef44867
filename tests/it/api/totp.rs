//! Second factors: drawn, confirmed, asked for, replaced and removed.

use std::time::Duration;

use aws_lc_rs::hmac;
use keywheel::model::Timestamp;
use keywheel::model::id::UserId;
use keywheel::model::principal::Permission;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::browser::{Browser, PASSWORD, recorded, set_password, try_sign_in};
use super::world::{Answer, Client, World, text};

/// The secret in what an app reads.
fn secret(enrolled: &Value) -> SecretString {
    let url = enrolled["otpauth_url"].as_str().unwrap();
    assert!(
        url.starts_with("otpauth://totp/Keywheel:eve?secret="),
        "{url}"
    );
    let (_, rest) = url.split_once("secret=").unwrap();
    SecretString::from(rest.split('&').next().unwrap())
}

/// What an app shows at that time; RFC 4226 and 6238.
fn code_at(secret: &SecretString, at: Timestamp) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digits = text(secret).chars().map(|c| alphabet.find(c).unwrap());
    let bits: Vec<usize> = digits
        .flat_map(|five| (0..5).rev().map(move |bit| five >> bit & 1))
        .collect();
    let bytes = bits.chunks_exact(8).map(|eight| {
        let byte = eight.iter().fold(0, |byte, bit| byte << 1 | bit);
        u8::try_from(byte).unwrap()
    });
    let bytes: Vec<u8> = bytes.collect();
    assert_eq!(bytes.len(), 20);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let mac = hmac::sign(&key, &(at.0 / 30_000).to_be_bytes());
    let at = usize::from(mac.as_ref()[19] & 15);
    let word = u32::from_be_bytes(mac.as_ref()[at..at + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

struct Stage {
    world: World,
    eve: UserId,
    native: Client,
    secret: SecretString,
    codes: Vec<String>,
}

impl Stage {
    /// Somebody with a password and a confirmed factor.
    async fn new() -> Self {
        let world = World::new().await;
        let (eve, keys) = world.user("eve", &[]).await;
        set_password(&world, eve, PASSWORD).await;
        let native = world.native(&keys);
        let path = format!("/users/{}/totp", eve.0);
        let enrolled = native.post(&path, &json!({})).await.expect(201).json();
        let secret = secret(&enrolled);
        let code = code_at(&secret, world.api.clock.now());
        let confirm = format!("{path}/confirm");
        let done = native
            .post(&confirm, &json!({"code": code}))
            .await
            .expect(200)
            .json();
        let codes = done["recovery_codes"].as_array().unwrap().iter();
        let codes = codes
            .map(|code| code.as_str().unwrap().to_owned())
            .collect();
        Self {
            world,
            eve,
            native,
            secret,
            codes,
        }
    }

    fn code(&self) -> String {
        code_at(&self.secret, self.world.api.clock.now())
    }

    async fn sign_in(&self, otp: Option<&str>) -> Answer {
        let order = json!({"name": "eve", "password": PASSWORD, "otp": otp});
        try_sign_in(&self.world, &order).await
    }

    async fn stands(&self) -> Value {
        let path = format!("/users/{}/totp", self.eve.0);
        self.native.get(&path).await.expect(200).json()
    }

    async fn reasons(&self) -> Vec<Value> {
        let rows = recorded(&self.world, &format!("{}", self.eve)).await;
        let refused = rows
            .into_iter()
            .filter(|(event, _)| event == "session.refused");
        refused
            .map(|(_, details)| details["reason"].clone())
            .collect()
    }
}

#[tokio::test]
async fn a_factor_is_asked_for_once_it_is_confirmed_and_a_code_works_once() {
    let stage = Stage::new().await;
    stage.sign_in(None).await.expect(401);
    // The code that has confirmed it is used up.
    stage.sign_in(Some(&stage.code())).await.expect(401);
    stage.world.clock.advance(Duration::from_secs(30));
    let code = stage.code();
    let opened = stage.sign_in(Some(&code)).await.expect(201);
    stage.sign_in(Some(&code)).await.expect(401);
    stage.sign_in(Some("000")).await.expect(401);
    stage.sign_in(Some("")).await.expect(401);
    let wrong = json!({"name": "eve", "password": "wrong wrong wrong", "otp": stage.code()});
    try_sign_in(&stage.world, &wrong).await.expect(401);
    let meant = ["password", "code", "code", "code", "code", "no_code"];
    assert_eq!(stage.reasons().await, meant);
    let id = format!("user session {}", opened.json()["id"]);
    let rows = recorded(&stage.world, &id).await;
    assert_eq!(rows[0].1["second_factor"], "totp");
    Browser::of(&stage.world, &opened)
        .get("/sessions")
        .await
        .expect(200);
    // A code of the step before is good where it was not used.
    stage.world.clock.advance(Duration::from_mins(1));
    let late = stage.code();
    stage.world.clock.advance(Duration::from_secs(30));
    stage.sign_in(Some(&late)).await.expect(201);
    let old = stage.code();
    stage.world.clock.advance(Duration::from_secs(90));
    stage.sign_in(Some(&old)).await.expect(401);
}

#[tokio::test]
async fn a_recovery_code_replaces_a_code_once() {
    let stage = Stage::new().await;
    assert_eq!(stage.codes.len(), 10);
    assert_eq!(stage.stands().await["recovery_codes_left"], 10);
    let opened = stage.sign_in(Some(&stage.codes[3])).await.expect(201);
    stage.sign_in(Some(&stage.codes[3])).await.expect(401);
    stage.sign_in(Some(&stage.codes[4])).await.expect(201);
    assert_eq!(stage.stands().await["recovery_codes_left"], 8);
    let id = format!("user session {}", opened.json()["id"]);
    let rows = recorded(&stage.world, &id).await;
    assert_eq!(rows[0].1["second_factor"], "recovery_code");
}

#[tokio::test]
async fn a_factor_is_confirmed_by_its_own_code_alone() {
    let world = World::new().await;
    let (eve, keys) = world.user("eve", &[]).await;
    let native = world.native(&keys);
    let path = format!("/users/{}/totp", eve.0);
    let confirm = format!("{path}/confirm");
    let code = |code: &str| json!({"code": code});
    native.post(&confirm, &code("000000")).await.expect(404);
    let first = secret(&native.post(&path, &json!({})).await.expect(201).json());
    let second = secret(&native.post(&path, &json!({})).await.expect(201).json());
    let now = world.api.clock.now();
    native
        .post(&confirm, &code(&code_at(&first, now)))
        .await
        .expect(400);
    // It counts only once it is confirmed.
    set_password(&world, eve, PASSWORD).await;
    Browser::open(&world, "eve", PASSWORD).await;
    native
        .post(&confirm, &code(&code_at(&second, now)))
        .await
        .expect(200);
    native
        .post(&confirm, &code(&code_at(&second, now)))
        .await
        .expect(409);
    native.post(&path, &json!({})).await.expect(409);
    let rows = recorded(&world, &format!("{eve}")).await;
    let events: Vec<_> = rows.iter().map(|(event, _)| event.as_str()).collect();
    let meant = [
        "user.totp_confirmed",
        "session.refused",
        "user.totp_enrolled",
        "user.totp_enrolled",
    ];
    assert_eq!(events, meant);
    // The secret is in the database sealed alone.
    let plain = text(&second).as_bytes().to_vec();
    let sealed = world.store.totp_of(eve).await.unwrap().unwrap().sealed;
    assert!(!sealed.windows(8).any(|part| plain.starts_with(part)));
}

#[tokio::test]
async fn a_factor_is_removed_by_its_user_with_a_code_or_by_an_administrator() {
    let stage = Stage::new().await;
    let path = format!("/users/{}/totp", stage.eve.0);
    let remove = format!("{path}/remove");
    stage.native.post(&remove, &json!({})).await.expect(400);
    stage
        .native
        .post(&remove, &json!({"code": "000000"}))
        .await
        .expect(400);
    let granted = [Permission::UsersWrite];
    let (_, keys) = stage.world.user("ida", &granted).await;
    let ida = stage.world.native(&keys);
    let (root, _) = stage.world.administrator().await;
    ida.post(&format!("/users/{}/totp/remove", root.0), &json!({}))
        .await
        .expect(403);
    ida.post(&path, &json!({})).await.expect(403);
    stage
        .native
        .get(&format!("/users/{}/totp", root.0))
        .await
        .expect(403);
    assert_ne!(stage.stands().await["confirmed_at"], json!(null));
    let own = json!({"code": stage.codes[0]});
    stage.native.post(&remove, &own).await.expect(204);
    assert_eq!(
        stage.stands().await,
        json!({
            "enrolled": false, "confirmed_at": null, "recovery_codes_left": 0,
        })
    );
    stage.sign_in(None).await.expect(201);
    stage.native.post(&remove, &own).await.expect(404);
    let again = Stage::new().await;
    let (_, keys) = again.world.administrator().await;
    let admin = again.world.native(&keys);
    let remove = format!("/users/{}/totp/remove", again.eve.0);
    admin.post(&remove, &json!({})).await.expect(204);
    again.sign_in(None).await.expect(201);
    let rows = recorded(&again.world, &format!("{}", again.eve)).await;
    assert_eq!(rows[0].0, "user.totp_removed");
}

#[tokio::test]
async fn whoever_guesses_codes_is_stopped_by_the_name_and_then_for_good() {
    let stage = Stage::new().await;
    let clock = &stage.world.clock;
    let mut wrong = 0;
    while wrong < 20 {
        match stage.sign_in(Some("000000")).await.status.as_u16() {
            401 => wrong += 1,
            429 => clock.advance(Duration::from_mins(3)),
            other => panic!("{other}"),
        }
    }
    clock.advance(Duration::from_mins(3));
    stage.sign_in(Some(&stage.code())).await.expect(401);
    let rows = recorded(&stage.world, &format!("{}", stage.eve)).await;
    assert_eq!(rows[0].1["wrong_codes"], 21);
    stage.sign_in(Some(&stage.codes[0])).await.expect(201);
    clock.advance(Duration::from_secs(30));
    stage.sign_in(Some(&stage.code())).await.expect(201);
}

#[tokio::test]
async fn guesses_to_remove_a_factor_are_counted_and_end_before_the_right_one() {
    let stage = Stage::new().await;
    let remove = format!("/users/{}/totp/remove", stage.eve.0);
    stage.world.clock.advance(Duration::from_secs(30));
    let guess = |code: &str| json!({"code": code});
    let mut answers = Vec::new();
    for _ in 0..25 {
        let answer = stage.native.post(&remove, &guess("000000")).await;
        answers.push(answer.status.as_u16());
    }
    assert_eq!(answers[..20], [400; 20]);
    assert_eq!(answers[20..], [429; 5]);
    stage
        .native
        .post(&remove, &guess(&stage.code()))
        .await
        .expect(429);
    assert_eq!(stage.stands().await["enrolled"], true);
}
