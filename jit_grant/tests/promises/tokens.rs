use jiff::SignedDuration;
use jit_grant::{
    Bundle, Checkpoint, Code, DocumentRefused, HostToken, Nonce, PublicKey, SigningKey, Word,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::fixtures::{HOST_KEY, SERVER_KEY, bundle, host, minute, other_host, trusted};

fn word(nonce: &Nonce) -> Word {
    Word {
        revision: 7,
        at: minute(0),
        nonce: nonce.clone(),
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        host: host(),
        seq: 12,
        head: "0f".repeat(32).parse().unwrap(),
        at: minute(0),
    }
}

fn verify_token(token: &str, minutes: i64) -> Result<HostToken, DocumentRefused> {
    HostToken::verify(token.as_bytes(), minute(minutes), |id| {
        (*id == host()).then(|| HOST_KEY.public())
    })
}

/// Any claims of any type, signed by `signer` under the name of `named`.
fn sign_anything(typ: &str, claims: &Value, signer: &SigningKey, named: PublicKey) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(typ.to_owned());
    header.kid = Some(named.kid());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(signer.pkcs8())).unwrap()
}

fn token_claims(lasting_seconds: i64) -> Value {
    let iat = minute(0).as_second();
    json!({"iss": host(), "aud": "jit-server", "iat": iat, "exp": iat + lasting_seconds})
}

fn token_lasting(seconds: i64) -> String {
    sign_anything(
        "jit-host+jwt",
        &token_claims(seconds),
        &HOST_KEY,
        HOST_KEY.public(),
    )
}

#[test]
fn a_word_is_believed_by_the_host_it_is_for_and_no_other() {
    let nonce = Nonce::generate().unwrap();
    let signed = word(&nonce).sign(&host(), &SERVER_KEY).unwrap();
    assert_eq!(
        Word::verify(signed.as_bytes(), &trusted(), &host()).unwrap(),
        word(&nonce)
    );
    let elsewhere = Word::verify(signed.as_bytes(), &trusted(), &other_host());
    assert_eq!(elsewhere.unwrap_err().code(), Code::OtherHost);
    let by_a_host = word(&nonce).sign(&host(), &HOST_KEY).unwrap();
    assert_eq!(
        Word::verify(by_a_host.as_bytes(), &trusted(), &host())
            .unwrap_err()
            .code(),
        Code::UnknownKey
    );
}

#[test]
fn a_word_answers_only_its_own_nonce_and_only_for_the_newest_bundle() {
    let nonce = Nonce::generate().unwrap();
    let word = word(&nonce);
    assert_eq!(word.answers(&nonce, 7), Ok(()));
    assert_eq!(
        word.answers(&nonce, 8),
        Ok(()),
        "the bundle may overtake the word"
    );
    assert_eq!(
        word.answers(&nonce, 6).unwrap_err().code(),
        Code::NewerRevision
    );
    assert_eq!(
        word.answers(&Nonce::generate().unwrap(), 7)
            .unwrap_err()
            .code(),
        Code::NotOurNonce
    );
}

#[test]
fn a_document_of_one_kind_never_counts_as_another() {
    let word = word(&Nonce::generate().unwrap())
        .sign(&host(), &SERVER_KEY)
        .unwrap();
    let bundle = bundle(Vec::new()).sign(&SERVER_KEY).unwrap();
    let checkpoint = checkpoint().sign(&HOST_KEY).unwrap();
    assert_eq!(
        Bundle::verify(word.as_bytes(), &trusted(), &host(), 0, minute(0))
            .unwrap_err()
            .code(),
        Code::WrongKind
    );
    assert_eq!(
        Word::verify(bundle.as_bytes(), &trusted(), &host())
            .unwrap_err()
            .code(),
        Code::WrongKind
    );
    assert_eq!(
        verify_token(&checkpoint, 0).unwrap_err().code(),
        Code::WrongKind
    );
}

#[test]
fn a_host_token_counts_for_five_minutes() {
    let token = HostToken::sign(&host(), &HOST_KEY, minute(0)).unwrap();
    let read = verify_token(&token, 0).unwrap();
    assert_eq!(
        (read.host, read.issued_at, read.expires),
        (host(), minute(0), minute(5))
    );
    assert!(verify_token(&token, 4).is_ok());
    assert_eq!(
        verify_token(&token, 5).unwrap_err(),
        DocumentRefused::Expired
    );
}

#[test]
fn t25_a_host_token_of_any_age_still_names_its_host_but_none_from_the_future_or_made_to_last() {
    let any_age = |token: &str, minutes| {
        HostToken::verify_of_any_age(token.as_bytes(), minute(minutes), |id| {
            (*id == host()).then(|| HOST_KEY.public())
        })
    };
    let token = HostToken::sign(&host(), &HOST_KEY, minute(0)).unwrap();
    assert_eq!(any_age(&token, 5_000_000).unwrap().host, host());
    assert_eq!(any_age(&token, -2).unwrap_err().code(), Code::FromTheFuture);
    assert_eq!(
        any_age(&token_lasting(301), 5_000_000).unwrap_err().code(),
        Code::TokenExpired
    );
    let forged = HostToken::sign(&host(), &SERVER_KEY, minute(0)).unwrap();
    assert_eq!(any_age(&forged, 0).unwrap_err().code(), Code::UnknownKey);
}

#[test]
fn a_host_token_from_a_clock_up_to_a_minute_ahead_is_taken() {
    let token = HostToken::sign(&host(), &HOST_KEY, minute(0)).unwrap();
    assert!(verify_token(&token, -1).is_ok());
    assert_eq!(
        verify_token(&token, -2).unwrap_err().code(),
        Code::FromTheFuture
    );
}

#[test]
fn a_host_token_made_to_last_longer_or_no_time_is_209() {
    assert!(verify_token(&token_lasting(300), 0).is_ok());
    for seconds in [301, 86_400, 0, -1] {
        assert_eq!(
            verify_token(&token_lasting(seconds), 0).unwrap_err().code(),
            Code::TokenExpired,
            "{seconds}"
        );
    }
}

#[test]
fn a_host_speaks_for_itself_only() {
    let theirs = HostToken::sign(&other_host(), &HOST_KEY, minute(0)).unwrap();
    assert_eq!(
        verify_token(&theirs, 0).unwrap_err().code(),
        Code::UnknownKey
    );
    let with_another_key = HostToken::sign(&host(), &SERVER_KEY, minute(0)).unwrap();
    assert_eq!(
        verify_token(&with_another_key, 0).unwrap_err().code(),
        Code::UnknownKey
    );
}

#[test]
fn a_host_token_with_a_changed_claim_is_201() {
    let mine = HostToken::sign(&host(), &HOST_KEY, minute(0)).unwrap();
    let later = HostToken::sign(
        &host(),
        &HOST_KEY,
        minute(0) + SignedDuration::from_secs(60),
    )
    .unwrap();
    let (head, _) = later.rsplit_once('.').unwrap();
    let (_, signature) = mine.rsplit_once('.').unwrap();
    assert_eq!(
        verify_token(&format!("{head}.{signature}"), 0)
            .unwrap_err()
            .code(),
        Code::BadSignature
    );
}

#[test]
fn a_checkpoint_counts_for_the_chain_of_the_host_that_signed_it() {
    let signed = checkpoint().sign(&HOST_KEY).unwrap();
    let verify = |host, key: PublicKey| Checkpoint::verify(signed.as_bytes(), &host, key);
    assert_eq!(verify(host(), HOST_KEY.public()).unwrap(), checkpoint());
    assert_eq!(
        verify(other_host(), HOST_KEY.public()).unwrap_err().code(),
        Code::OtherHost
    );
    assert_eq!(
        verify(host(), SERVER_KEY.public()).unwrap_err().code(),
        Code::UnknownKey
    );
}

#[test]
fn small_documents_are_small() {
    let large = vec![b'a'; 4097];
    assert_eq!(
        Word::verify(&large, &trusted(), &host())
            .unwrap_err()
            .code(),
        Code::BundleTooLarge
    );
}

#[test]
fn what_another_key_signed_under_a_trusted_name_is_201() {
    let word = json!({"aud": host(), "revision": 7, "at": minute(0), "nonce": "n".repeat(32)});
    let word = sign_anything("jit-word+jwt", &word, &HOST_KEY, SERVER_KEY.public());
    assert_eq!(
        Word::verify(word.as_bytes(), &trusted(), &host())
            .unwrap_err()
            .code(),
        Code::BadSignature
    );

    let token = sign_anything(
        "jit-host+jwt",
        &token_claims(300),
        &SERVER_KEY,
        HOST_KEY.public(),
    );
    assert_eq!(
        verify_token(&token, 0).unwrap_err().code(),
        Code::BadSignature
    );

    let claims = serde_json::to_value(checkpoint()).unwrap();
    let forged = sign_anything("jit-events+jwt", &claims, &SERVER_KEY, HOST_KEY.public());
    let refused = Checkpoint::verify(forged.as_bytes(), &host(), HOST_KEY.public()).unwrap_err();
    assert_eq!(refused.code(), Code::BadSignature);
}

#[test]
fn a_host_token_for_another_audience_is_203() {
    let mut claims = token_claims(300);
    claims["aud"] = json!("another-server");
    let token = sign_anything("jit-host+jwt", &claims, &HOST_KEY, HOST_KEY.public());
    assert_eq!(verify_token(&token, 0).unwrap_err().code(), Code::OtherHost);
}
