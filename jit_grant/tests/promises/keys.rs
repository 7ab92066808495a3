use jit_grant::{
    Fingerprint, FingerprintError, HostName, KeyError, Login, Nonce, PublicKey, SigningKey,
};

// Made with ssh-keygen for this test; the private half is gone. The fingerprint is what `ssh-keygen -l` prints.
const LINE: &str = include_str!("test_key.pub");
const PRINTED: &str = include_str!("test_key.fingerprint");
const CERTIFICATE: &str = include_str!("test_key-cert.pub");

#[test]
fn a_fingerprint_is_the_one_that_ssh_keygen_prints() {
    assert_eq!(
        Fingerprint::of_public_key_line(LINE).unwrap().as_str(),
        PRINTED.trim()
    );
    assert_eq!(
        PRINTED.trim().parse(),
        Fingerprint::of_public_key_line(LINE)
    );
}

#[test]
fn a_key_line_needs_no_comment() {
    let short = LINE.rsplit_once(' ').unwrap().0;
    assert_eq!(
        Fingerprint::of_public_key_line(short),
        Fingerprint::of_public_key_line(LINE)
    );
}

#[test]
fn a_certificate_is_refused_by_name_and_by_content() {
    assert_eq!(
        Fingerprint::of_public_key_line(CERTIFICATE),
        Err(FingerprintError::Certificate)
    );
    let disguised = CERTIFICATE.replacen("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519", 1);
    assert_eq!(
        Fingerprint::of_public_key_line(&disguised),
        Err(FingerprintError::Certificate)
    );
}

#[test]
fn a_key_line_whose_type_and_data_differ_is_refused() {
    let wrong = LINE.replacen("ssh-ed25519", "ssh-rsa", 1);
    assert_eq!(
        Fingerprint::of_public_key_line(&wrong),
        Err(FingerprintError::TypeMismatch)
    );
}

#[test]
fn what_is_no_key_line_is_refused() {
    for line in [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!",
        "ssh-ed25519 AAAA",
        "x AAAAAA",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
    ] {
        assert_eq!(
            Fingerprint::of_public_key_line(line),
            Err(FingerprintError::NotAKeyLine),
            "{line:?}"
        );
    }
    let length_beyond_the_end = "ssh-ed25519 /////3NzaC1lZDI1NTE5";
    assert_eq!(
        Fingerprint::of_public_key_line(length_beyond_the_end),
        Err(FingerprintError::NotAKeyLine)
    );
    assert_eq!(
        Fingerprint::of_public_key_line(&"a".repeat(20_000)),
        Err(FingerprintError::TooLong)
    );
}

#[test]
fn a_fingerprint_has_one_spelling() {
    for text in [
        "",
        "SHA256:",
        "MD5:00:11",
        "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        // The last character's spare bits are not zero.
        "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",
        "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_",
    ] {
        assert_eq!(
            text.parse::<Fingerprint>(),
            Err(FingerprintError::NotAFingerprint),
            "{text:?}"
        );
    }
}

#[test]
fn a_signing_key_comes_back_from_its_bytes_and_never_shows_them() {
    let key = SigningKey::generate().unwrap();
    let again = SigningKey::from_pkcs8(key.pkcs8()).unwrap();
    assert_eq!(again.public(), key.public());
    assert_ne!(SigningKey::generate().unwrap().public(), key.public());
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey {{ public: PublicKey({}), .. }}", key.public())
    );
    assert_eq!(
        SigningKey::from_pkcs8(&key.pkcs8()[1..]).unwrap_err(),
        KeyError::NotPrivate
    );
}

#[test]
fn a_public_key_is_43_characters_of_base64url_and_its_kid_is_stable() {
    let key = PublicKey::from_bytes(&[0; 32]).unwrap();
    assert_eq!(key.to_string(), "A".repeat(43));
    assert_eq!(key.to_string().parse(), Ok(key));
    // printf of 32 zero bytes | sha256sum
    assert_eq!(key.kid(), "66687aadf862bd77");
    for text in [
        "",
        "AAAA",
        &"A".repeat(42),
        &"A".repeat(44),
        &format!("{}=", "A".repeat(43)),
        &format!("{}B", "A".repeat(42)),
    ] {
        assert_eq!(
            text.parse::<PublicKey>(),
            Err(KeyError::NotPublic),
            "{text:?}"
        );
    }
}

#[test]
fn nonces_differ() {
    assert_ne!(Nonce::generate().unwrap(), Nonce::generate().unwrap());
}

#[test]
fn root_is_no_login_and_names_keep_to_their_alphabet() {
    for text in ["root", "", "Alice", "alice\n", "a b", "-x", &"a".repeat(33)] {
        assert!(text.parse::<Login>().is_err(), "{text:?}");
    }
    for text in [
        "",
        ".",
        "web1.",
        "-web1",
        "web1-",
        "WEB1",
        "web_1",
        &"a".repeat(64),
    ] {
        assert!(text.parse::<HostName>().is_err(), "{text:?}");
    }
    assert!("web1.example.org".parse::<HostName>().is_ok());
}
