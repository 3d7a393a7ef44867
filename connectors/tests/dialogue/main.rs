#![cfg(test)]
//! Dialogues over real SSH: with a network device's command line, and with a Linux host.

#[expect(dead_code, reason = "shared with the SSH suite, which uses all of it")]
#[path = "../ssh/fleet.rs"]
mod fleet;
#[expect(dead_code, reason = "shared with the SSH suite, which uses all of it")]
#[path = "../ssh/peer.rs"]
mod peer;

mod device;
mod junos;
mod linux;
mod mikrotik;
mod stage;
