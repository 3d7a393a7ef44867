#![cfg(test)]
//! The dialogues on real SSH servers.
