//! Times PAM transactions.
fn main() {}
