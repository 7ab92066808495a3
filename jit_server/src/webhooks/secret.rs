//! A secret that an endpoint shares, and the signature made with it, as Standard Webhooks has both (standard-webhooks.com).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The shortest and the longest that Standard Webhooks allows. Bytes.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A shared secret: `whsec_` and 24 to 64 bytes in base64. It is never shown.
#[derive(Clone)]
pub(super) struct Secret(hmac::Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl FromStr for Secret {
    type Err = String;

    /// The error says nothing of the text itself.
    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text
            .strip_prefix("whsec_")
            .and_then(|text| STANDARD.decode(text).ok())
            .filter(|bytes| BYTES.contains(&bytes.len()));
        let bytes = bytes.ok_or(
            "has no secret: whsec_ and 24 to 64 bytes in base64, such as echo \"whsec_$(head -c 32 /dev/urandom | base64)\" makes",
        )?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

/// The header `webhook-signature`: one signature a secret, with blanks between.
pub(super) fn signatures(secrets: &[Secret], id: &str, seconds: i64, body: &[u8]) -> String {
    let signed: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let mut context = hmac::Context::with_key(&secret.0);
            context.update(format!("{id}.{seconds}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        })
        .collect();
    signed.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = signatures(
            &[secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            body,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_has_its_prefix_and_length_and_is_never_shown() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        assert!(of(24).parse::<Secret>().is_ok());
        assert!(of(64).parse::<Secret>().is_ok());
        let none = of(24).replace("whsec_", "");
        for wrong in ["", "whsec_", "whsec_!", &of(23), &of(65), &none] {
            let told = wrong.parse::<Secret>().unwrap_err();
            assert!(wrong.len() < 10 || !told.contains(wrong), "{told}");
        }
        assert_eq!(format!("{:?}", of(24).parse::<Secret>().unwrap()), "Secret");
    }
}
