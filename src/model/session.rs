//! Sessions of the native API that users open with their passwords.
//!
//! Invariant: a session ends: after idle time, after its longest time, and with its password.

use std::time::Duration;

use super::Timestamp;
use super::id::{UserId, UserSessionId};
use super::key::KeyHash;
use super::principal::Session;

/// A user's session, without its cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSession {
    /// Its id.
    pub id: UserSessionId,
    /// Who signed in.
    pub user_id: UserId,
    /// From where they signed in; empty where nobody knows.
    pub address: String,
    /// Sign-in.
    pub created_at: Timestamp,
    /// Last call, at a minute's grain.
    pub seen_at: Timestamp,
}

/// How long such sessions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLife {
    /// Without a call.
    pub idle: Duration,
    /// In all.
    pub most: Duration,
}

impl Default for SessionLife {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(20),
            most: Duration::from_hours(12),
        }
    }
}

impl SessionLife {
    /// Whoever was last seen, and whoever signed in, at these times or earlier has no session
    /// any more at `now`.
    pub fn ended_by(self, now: Timestamp) -> (Timestamp, Timestamp) {
        (Session::idle_since(self.idle, now), now.minus(self.most))
    }
}

impl UserSession {
    /// How young a sign-in must be for what a session alone does not suffice: to see a
    /// credential, and to hand out or change what people sign in with.
    pub const FRESH: Duration = Duration::from_mins(5);

    /// True if the session still signs in at `now`.
    pub fn is_live(&self, life: SessionLife, now: Timestamp) -> bool {
        let (seen, made) = life.ended_by(now);
        seen < self.seen_at && made < self.created_at
    }
}

/// A session to be opened; its cookie is handed out once and not kept.
#[derive(Clone, Debug)]
pub struct NewUserSession {
    /// What is kept of the cookie.
    pub cookie: KeyHash,
    /// Who signed in.
    pub user_id: UserId,
    /// From where; empty where nobody knows.
    pub address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_idle_and_when_its_time_is_over() {
        let life = SessionLife::default();
        let hour = 3_600_000;
        let session = |created_at, seen_at| UserSession {
            id: UserSessionId(1),
            user_id: UserId(1),
            address: String::new(),
            created_at: Timestamp(created_at),
            seen_at: Timestamp(seen_at),
        };
        let now = Timestamp(100 * hour);
        assert!(session(now.0, now.0).is_live(life, now));
        // The last call is known to a minute.
        let idle = 21 * 60_000;
        assert!(session(90 * hour, now.0 - idle + 1).is_live(life, now));
        assert!(!session(90 * hour, now.0 - idle).is_live(life, now));
        assert!(session(88 * hour + 1, now.0).is_live(life, now));
        assert!(!session(88 * hour, now.0).is_live(life, now));
    }
}
