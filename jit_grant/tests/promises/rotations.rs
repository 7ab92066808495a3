use jit_grant::{Code, NextKey, PublicKey, SigningKey, TrustedKeys};
use proptest::prelude::*;

/// Keys, and the chain that leads through them, its numbers from 7 on.
fn chain(rotations: usize) -> (Vec<SigningKey>, Vec<String>) {
    let keys: Vec<_> = (0..=rotations)
        .map(|_| SigningKey::generate().unwrap())
        .collect();
    let documents = (7..)
        .zip(keys.windows(2))
        .map(|(seq, pair)| step(seq, &pair[0], pair[1].public()));
    let documents = documents.collect();
    (keys, documents)
}

fn step(seq: u64, current: &SigningKey, next: PublicKey) -> String {
    let at = "2026-11-22T12:00:00Z".parse().unwrap();
    NextKey { seq, at, next }.sign(current).unwrap()
}

fn refused(chain: &[String], from: &SigningKey) -> Code {
    NextKey::newest(chain, from.public()).unwrap_err().code()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_host_finds_the_newest_key_from_wherever_it_slept(rotations in 1_usize..8, slept in 0_usize..8) {
        let (keys, documents) = chain(rotations);
        let from = &keys[slept.min(rotations)];
        prop_assert_eq!(NextKey::newest(&documents, from.public()), Ok(keys[rotations].public()));
    }

    #[test]
    fn one_flipped_bit_of_what_is_walked_refuses_the_whole_chain(rotations in 1_usize..5, which in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), bit in 0_u8..7) {
        let (keys, mut documents) = chain(rotations);
        let which = which.index(rotations);
        let mut bytes = documents[which].clone().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(bytes) {
            documents[which] = text;
            prop_assert!(NextKey::newest(&documents, keys[0].public()).is_err());
        }
    }

    #[test]
    fn documents_out_of_order_or_left_out_lead_no_further_than_those_that_hang_together(rotations in 2_usize..6, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let (keys, documents) = chain(rotations);
        let (a, b) = (a.index(rotations), b.index(rotations));
        let mut swapped = documents.clone();
        swapped.swap(a, b);
        if a != b {
            let led = NextKey::newest(&swapped, keys[0].public());
            prop_assert!(led.is_err() || led == Ok(keys[1].public()), "{led:?}");
        }
        let mut short = documents;
        short.remove(a);
        if a + 1 < rotations {
            prop_assert!(NextKey::newest(&short, keys[0].public()).is_err());
        }
    }
}

#[test]
fn a_stolen_old_key_leads_no_host_that_has_moved_on() {
    let (keys, documents) = chain(2);
    let thief = SigningKey::generate().unwrap();
    let forged = step(7, &keys[0], thief.public());
    let alone = std::slice::from_ref(&forged);
    assert_eq!(refused(alone, &keys[2]), Code::KeyNotInChain);
    assert_eq!(refused(alone, &keys[1]), Code::KeyNotInChain);
    let mixed = [documents[0].clone(), documents[1].clone(), forged];
    assert_eq!(
        refused(&mixed, &keys[1]),
        Code::UnknownKey,
        "appended, it does not hang together"
    );
}

#[test]
fn a_chain_never_leads_back() {
    let (keys, mut documents) = chain(2);
    documents.push(step(9, &keys[2], keys[0].public()));
    assert_eq!(refused(&documents, &keys[0]), Code::WrongKind);
}

#[test]
fn numbers_follow_each_other() {
    let (keys, mut documents) = chain(2);
    documents[1] = step(9, &keys[1], keys[2].public());
    assert_eq!(refused(&documents, &keys[0]), Code::WrongKind);
}

#[test]
fn a_host_whose_key_is_not_in_the_chain_is_told_to_enrol_again() {
    let (_, documents) = chain(2);
    let other = SigningKey::generate().unwrap();
    assert_eq!(refused(&documents, &other), Code::KeyNotInChain);
    assert_eq!(refused(&[], &other), Code::KeyNotInChain);
    let said = NextKey::newest(&documents, other.public()).unwrap_err();
    assert!(said.to_string().contains("jitctl enroll"), "{said}");
}

#[test]
fn a_chain_is_bounded_in_length_and_in_the_size_of_each_document() {
    let (keys, documents) = chain(NextKey::MOST);
    assert!(NextKey::newest(&documents, keys[0].public()).is_ok());
    let (keys, documents) = chain(NextKey::MOST + 1);
    assert_eq!(refused(&documents, &keys[0]), Code::BundleTooLarge);
    let huge = vec!["a".repeat(1025)];
    assert_eq!(refused(&huge, &keys[0]), Code::BundleTooLarge);
}

#[test]
fn documents_of_other_kinds_are_no_next_keys() {
    let key = SigningKey::generate().unwrap();
    let host = format!("h{}", "0".repeat(32)).parse().unwrap();
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    let token = jit_grant::HostToken::sign(&host, &key, now).unwrap();
    assert_eq!(refused(&[token], &key), Code::WrongKind);
}

#[test]
fn the_old_key_goes_once_the_next_has_signed_something() {
    let [first, second, third] = [(); 3].map(|()| SigningKey::generate().unwrap());
    let keys = TrustedKeys::new(vec![first.public()]).followed_by(second.public());
    let document = |key: &SigningKey| step(1, key, third.public()).into_bytes();
    assert_eq!(keys.without_old(&document(&first)), None);
    let proved = keys.without_old(&document(&second)).unwrap();
    assert_eq!(proved, TrustedKeys::new(vec![second.public()]));
    assert_eq!(proved.without_old(&document(&second)), None);
    let twice = keys.followed_by(third.public());
    assert_eq!(
        twice,
        TrustedKeys::new(vec![first.public(), third.public()]),
        "two at most"
    );
}
