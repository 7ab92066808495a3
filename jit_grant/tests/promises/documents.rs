use jit_grant::{Bundle, Code, DocumentRefused, Grant, NotSigned, SigningKey, TrustedKeys};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::fixtures::{
    HOST_KEY, SERVER_KEY, bundle, bundle_header, grant, host, minute, other_host, sign_anything,
    trusted,
};

fn verify(document: impl AsRef<[u8]>) -> Result<Bundle, DocumentRefused> {
    Bundle::verify(document.as_ref(), &trusted(), &host(), 0, minute(0))
}

fn refusal_code(document: impl AsRef<[u8]>) -> Code {
    verify(document).unwrap_err().code()
}

fn signed() -> String {
    bundle(vec![grant()]).sign(&SERVER_KEY).unwrap()
}

fn claims(grants: &[Value]) -> Value {
    json!({"aud": host(), "revision": 7, "issued_at": minute(0), "grants": grants})
}

fn grant_json() -> Value {
    serde_json::to_value(grant()).unwrap()
}

fn changed(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

#[test]
fn a_signed_bundle_is_believed() {
    assert_eq!(verify(signed()).unwrap(), bundle(vec![grant()]));
}

#[test]
fn every_single_flipped_bit_is_refused() {
    let document = signed().into_bytes();
    for at in 0..document.len() {
        for bit in 0..8 {
            let mut flipped = document.clone();
            flipped[at] ^= 1 << bit;
            assert!(verify(&flipped).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn every_truncation_and_any_addition_is_refused() {
    let document = signed();
    for length in 0..document.len() {
        assert!(verify(&document[..length]).is_err(), "{length} bytes");
    }
    for extra in [".", "=", "A", " ", "\n", "\0", ".AAAA"] {
        assert!(verify(format!("{document}{extra}")).is_err(), "{extra:?}");
        assert!(verify(format!("{extra}{document}")).is_err(), "{extra:?}");
    }
}

#[test]
fn a_bundle_of_another_key_under_the_name_of_a_trusted_one_is_201() {
    let forged = jsonwebtoken::encode(
        &bundle_header(),
        &claims(&[]),
        &EncodingKey::from_ed_der(HOST_KEY.pkcs8()),
    );
    assert_eq!(refusal_code(forged.unwrap()), Code::BadSignature);
}

#[test]
fn a_bundle_of_an_untrusted_key_is_202() {
    assert_eq!(
        refusal_code(bundle(Vec::new()).sign(&HOST_KEY).unwrap()),
        Code::UnknownKey
    );
    let nobody = Bundle::verify(
        signed().as_bytes(),
        &TrustedKeys::default(),
        &host(),
        0,
        minute(0),
    );
    assert_eq!(nobody.unwrap_err().code(), Code::UnknownKey);
    assert_eq!(
        refusal_code(sign_anything(
            &Header {
                kid: None,
                ..bundle_header()
            },
            &claims(&[])
        )),
        Code::UnknownKey
    );
}

#[test]
fn any_of_several_trusted_keys_will_do() {
    let next = SigningKey::generate().unwrap();
    let trusted = TrustedKeys::new(vec![SERVER_KEY.public(), next.public()]);
    let document = bundle(Vec::new()).sign(&next).unwrap();
    assert!(Bundle::verify(document.as_bytes(), &trusted, &host(), 0, minute(0)).is_ok());
}

#[test]
fn a_bundle_for_another_host_is_203() {
    let theirs = Bundle {
        host: other_host(),
        ..bundle(vec![grant()])
    };
    assert_eq!(
        refusal_code(theirs.sign(&SERVER_KEY).unwrap()),
        Code::OtherHost
    );
}

#[test]
fn a_list_of_audiences_is_no_audience() {
    let listed = changed(claims(&[]), "aud", json!([host(), other_host()]));
    assert_eq!(
        refusal_code(sign_anything(&bundle_header(), &listed)),
        Code::Unparsable
    );
}

#[test]
fn a_lower_revision_is_204_and_the_same_again_is_read_back() {
    let document = signed();
    let after = |revision| {
        Bundle::verify(
            document.as_bytes(),
            &trusted(),
            &host(),
            revision,
            minute(0),
        )
    };
    assert_eq!(
        after(8).unwrap_err(),
        DocumentRefused::LowerRevision {
            offered: 7,
            seen: 8
        }
    );
    assert_eq!(after(8).unwrap_err().code(), Code::LowerRevision);
    assert_eq!(after(7).unwrap(), bundle(vec![grant()]));
}

#[test]
fn a_date_up_to_a_minute_ahead_is_taken_and_beyond_that_is_205() {
    let now = minute(-1);
    let dated = |issued_at| {
        let document = Bundle {
            issued_at,
            ..bundle(Vec::new())
        }
        .sign(&SERVER_KEY)
        .unwrap();
        Bundle::verify(document.as_bytes(), &trusted(), &host(), 0, now)
    };
    assert!(dated(minute(0)).is_ok());
    let too_far = minute(0) + jiff::SignedDuration::from_nanos(1);
    assert_eq!(dated(too_far).unwrap_err().code(), Code::FromTheFuture);
    assert_eq!(
        dated(jiff::Timestamp::MAX).unwrap_err().code(),
        Code::FromTheFuture
    );
    assert!(
        dated(jiff::Timestamp::MIN).is_ok(),
        "an old bundle may be the newest there is"
    );
}

#[test]
fn an_exp_claim_has_no_say() {
    let with_exp = changed(claims(&[]), "exp", json!(1));
    assert!(verify(sign_anything(&bundle_header(), &with_exp)).is_ok());
}

#[test]
fn too_many_bytes_are_206_before_anything_is_read() {
    assert_eq!(
        refusal_code(vec![0xff; Bundle::MAX_BYTES + 1]),
        Code::BundleTooLarge
    );
    assert_eq!(
        refusal_code(vec![0xff; Bundle::MAX_BYTES]),
        Code::Unparsable
    );
}

#[test]
fn too_many_grants_are_206_and_never_signed() {
    let many = |count: usize| {
        bundle(
            (1..=count)
                .map(|n| Grant {
                    id: format!("g{n}").parse().unwrap(),
                    ..grant()
                })
                .collect(),
        )
    };
    assert_eq!(
        verify(many(Bundle::MAX_GRANTS).sign(&SERVER_KEY).unwrap())
            .unwrap()
            .grants
            .len(),
        Bundle::MAX_GRANTS
    );
    let refused = many(Bundle::MAX_GRANTS + 1).sign(&SERVER_KEY).unwrap_err();
    assert!(matches!(
        refused,
        NotSigned::WouldBeRefused(DocumentRefused::TooManyGrants { .. })
    ));
    let raw = vec![json!({}); Bundle::MAX_GRANTS + 1];
    assert_eq!(
        refusal_code(sign_anything(&bundle_header(), &claims(&raw))),
        Code::BundleTooLarge
    );
}

#[test]
fn what_is_not_utf_8_or_not_a_jws_or_not_our_claims_is_207() {
    for document in [
        &b""[..],
        b"\xff\xfe",
        b"{}",
        b"a.b",
        b"..",
        b"a.b.c",
        b"a.b.c.d",
        "é.é.é".as_bytes(),
    ] {
        assert_eq!(refusal_code(document), Code::Unparsable, "{document:?}");
    }
    for claims in [
        json!({}),
        json!([]),
        json!(null),
        changed(claims(&[]), "revision", json!(-1)),
    ] {
        assert_eq!(
            refusal_code(sign_anything(&bundle_header(), &claims)),
            Code::Unparsable,
            "{claims}"
        );
    }
}

#[test]
fn a_malformed_grant_without_crit_is_207() {
    for (field, value) in [
        ("login", json!("root")),
        ("id", json!("x1")),
        ("allow", json!("all")),
        ("expires", json!("tomorrow")),
        ("keys", json!(["MD5:00"])),
    ] {
        let document = sign_anything(
            &bundle_header(),
            &claims(&[changed(grant_json(), field, value)]),
        );
        assert_eq!(refusal_code(document), Code::Unparsable, "{field}");
    }
}

#[test]
fn one_id_twice_is_207_and_never_signed() {
    let document = sign_anything(&bundle_header(), &claims(&[grant_json(), grant_json()]));
    assert_eq!(refusal_code(document), Code::Unparsable);
    assert!(matches!(
        bundle(vec![grant(), grant()]).sign(&SERVER_KEY),
        Err(NotSigned::WouldBeRefused(_))
    ));
    let void_twin = changed(grant_json(), "crit", json!(["groups"]));
    assert_eq!(
        refusal_code(sign_anything(
            &bundle_header(),
            &claims(&[grant_json(), void_twin])
        )),
        Code::Unparsable
    );
}

#[test]
fn a_field_given_twice_is_207() {
    let twice = format!(
        r#"{{"aud":"{}","revision":7,"revision":8,"issued_at":"{}","grants":[]}}"#,
        host(),
        minute(0)
    );
    let raw = serde_json::value::RawValue::from_string(twice).unwrap();
    let key = EncodingKey::from_ed_der(SERVER_KEY.pkcs8());
    assert_eq!(
        refusal_code(jsonwebtoken::encode(&bundle_header(), &raw, &key).unwrap()),
        Code::Unparsable
    );
}

#[test]
fn another_type_or_algorithm_or_a_demanding_header_is_208() {
    let word = Header {
        typ: Some("jit-word+jwt".to_owned()),
        ..bundle_header()
    };
    let untyped = Header {
        typ: None,
        ..bundle_header()
    };
    let demanding = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..bundle_header()
    };
    for header in [word, untyped, demanding] {
        assert_eq!(
            refusal_code(sign_anything(&header, &claims(&[]))),
            Code::WrongKind,
            "{header:?}"
        );
    }
    let symmetric = Header {
        alg: Algorithm::HS256,
        ..bundle_header()
    };
    let secret = EncodingKey::from_secret(SERVER_KEY.public().as_bytes());
    assert_eq!(
        refusal_code(jsonwebtoken::encode(&symmetric, &claims(&[]), &secret).unwrap()),
        Code::WrongKind
    );
    let unsigned = signed().replacen(
        signed().split('.').next().unwrap(),
        "eyJhbGciOiJub25lIn0",
        1,
    );
    assert_eq!(refusal_code(unsigned), Code::WrongKind);
}

#[test]
fn an_unknown_field_is_ignored_unless_crit_names_it() {
    let with_field = changed(grant_json(), "commands", json!(["reboot"]));
    let ignored = verify(sign_anything(
        &bundle_header(),
        &claims(std::slice::from_ref(&with_field)),
    ))
    .unwrap();
    assert_eq!(ignored, bundle(vec![grant()]));

    let demanded = changed(with_field, "crit", json!(["keys", "commands"]));
    let void = verify(sign_anything(&bundle_header(), &claims(&[demanded]))).unwrap();
    assert!(void.grants.is_empty());
    assert_eq!(
        (void.void[0].id.as_str(), void.void[0].unknown.as_str()),
        ("g1", "commands")
    );
    assert_eq!(void.void[0].login.as_ref().unwrap().as_str(), "alice");
}

#[test]
fn an_unknown_name_in_crit_voids_a_grant_whose_rest_has_shapes_of_a_later_version() {
    let later = json!({"id": {"v2": 1}, "login": ["alice"], "expires": 3, "crit": ["shape2"]});
    let not_even_a_list = json!({"id": "g8\u{1b}[2J", "crit": {"all_of": []}});
    let read = verify(sign_anything(
        &bundle_header(),
        &claims(&[later, grant_json(), not_even_a_list]),
    ))
    .unwrap();
    assert_eq!(read.grants, vec![grant()]);
    assert_eq!(read.void.len(), 2);
    assert_eq!(
        (read.void[0].login.as_ref(), read.void[0].unknown.as_str()),
        (None, "shape2")
    );
    assert_eq!(read.void[1].unknown, "crit");
    assert!(!read.void[1].id.contains('\u{1b}'));
}

#[test]
fn a_known_demand_of_a_later_shape_voids_its_grant_and_never_the_bundle() {
    let networks: Vec<String> = (0..17).map(|n| format!("10.{n}.0.0/16")).collect();
    for later in [json!(networks), json!(["vpn"]), json!({"named": "office"})] {
        let limited = changed(grant_json(), "login_from", later.clone());
        let demanded = changed(
            changed(limited.clone(), "id", json!("g2")),
            "crit",
            json!(["login_from"]),
        );
        let both = claims(&[demanded, grant_json()]);
        let read = verify(sign_anything(&bundle_header(), &both)).unwrap();
        assert_eq!(read.grants, vec![grant()], "{later}");
        let void = &read.void[0];
        assert_eq!(
            (void.id.as_str(), void.unknown.as_str()),
            ("g2", "login_from")
        );
        assert_eq!(void.login.as_ref().unwrap().as_str(), "alice");
        for nothing in [limited.clone(), changed(limited, "crit", json!([]))] {
            let document = sign_anything(&bundle_header(), &claims(&[nothing]));
            assert_eq!(refusal_code(document), Code::Unparsable, "{later}");
        }
    }
}

#[test]
fn what_this_version_enforces_may_stand_in_crit_and_the_reserved_fields_may_not() {
    let heeded = changed(grant_json(), "crit", json!(jit_grant::ENFORCED));
    assert_eq!(
        verify(sign_anything(&bundle_header(), &claims(&[heeded])))
            .unwrap()
            .grants
            .len(),
        1
    );
    for name in ["statement", "signatures", "allow", "Keys", ""] {
        let unheeded = changed(grant_json(), "crit", json!([name]));
        assert_eq!(
            verify(sign_anything(&bundle_header(), &claims(&[unheeded])))
                .unwrap()
                .void
                .len(),
            1,
            "{name}"
        );
    }
}
