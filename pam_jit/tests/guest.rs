//! A good guest: 100,000 transactions in one process leave nothing behind. One test, in a process of its own.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;

use std::fs;

use support::application::{Application, PAM_SUCCESS, Request};
use support::{PAM_PERM_DENIED, Place, module};

const TRANSACTIONS: usize = 100_000;
/// Of resident memory, between the end of the warm-up and the end.
const GROWTH_BYTES: u64 = 1024 * 1024;

#[derive(Debug)]
struct Belongings {
    resident_bytes: u64,
    descriptors: usize,
    threads: usize,
    mappings: usize,
}

impl Belongings {
    fn now() -> Self {
        let pages: u64 = fs::read_to_string("/proc/self/statm")
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        Self {
            resident_bytes: pages * 4096,
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            mappings: fs::read_to_string("/proc/self/maps")
                .unwrap()
                .lines()
                .count(),
        }
    }
}

/// Every third transaction is one that fails: failures take other ways through the module.
fn transaction(place: &Place, index: usize) {
    let (service, expected) = match index % 3 {
        0 => ("sshd", PAM_SUCCESS),
        1 => ("unreachable", PAM_PERM_DENIED),
        _ => ("watched", PAM_SUCCESS),
    };
    let mut application = Application::start(place.folder(), service, "root").unwrap();
    assert_eq!(application.request(Request::Account, 0), expected);
}

#[test]
fn a_hundred_thousand_transactions_leak_nothing_and_start_no_thread() {
    let place = Place::new();
    place.answer(b"{\"parameters\":{\"allow\":true}}\0");
    place.gate("sshd", module(), "enforce");
    place.gate("watched", module(), "monitor");
    let elsewhere = format!(
        "account requisite {} enforce socket=/nonexistent\n",
        module().display()
    );
    fs::write(place.folder().join("unreachable"), elsewhere).unwrap();

    (0..2_000).for_each(|index| transaction(&place, index));
    let before = Belongings::now();
    (0..TRANSACTIONS).for_each(|index| transaction(&place, index));
    let after = Belongings::now();

    assert!(
        after.resident_bytes < before.resident_bytes + GROWTH_BYTES,
        "{before:?} {after:?}"
    );
    assert!(
        after.descriptors <= before.descriptors + 1,
        "{before:?} {after:?}"
    );
    assert_eq!(after.threads, before.threads);
    assert!(
        after.mappings <= before.mappings + 2,
        "{before:?} {after:?}"
    );
}
