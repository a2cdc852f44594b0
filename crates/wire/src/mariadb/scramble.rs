//! What a login proves of a password, by the server's way of asking ("plugin"). Nothing here is a password afterwards.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use std::fmt::Write as _;

/// What MariaDB asks with unless it was told otherwise.
pub(super) const NATIVE: &str = "mysql_native_password";
/// MariaDB's stronger way.
pub(super) const ED25519: &str = "client_ed25519";
/// MySQL's way since 8.0.
pub(super) const CACHING_SHA2: &str = "caching_sha2_password";

/// The answer to `nonce`; `None`: this way is not known here.
pub(super) fn answer(plugin: &str, password: &str, nonce: &[u8]) -> Option<Vec<u8>> {
    match plugin {
        NATIVE | ED25519 | CACHING_SHA2 if password.is_empty() && plugin != ED25519 => Some(Vec::new()),
        NATIVE => Some(native(password.as_bytes(), nonce)),
        CACHING_SHA2 => Some(caching_sha2(password.as_bytes(), nonce)),
        ED25519 => Some(ed25519(password.as_bytes(), nonce).to_vec()),
        _ => None,
    }
}

/// What stands for a password in `IDENTIFIED BY PASSWORD`: a star and SHA1(SHA1(password)) in hexadecimal digits
/// (MariaDB's `PASSWORD()`). It lets nobody in.
pub fn password_hash(password: &str) -> String {
    let mut text = "*".to_owned();
    for byte in Sha1::digest(Sha1::digest(password)) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// SHA1(password) XOR SHA1(nonce, SHA1(SHA1(password))).
fn native(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let once = Sha1::digest(password);
    let twice = Sha1::digest(once);
    let mixed = Sha1::new().chain_update(nonce).chain_update(twice).finalize();
    once.iter().zip(mixed).map(|(left, right)| left ^ right).collect()
}

/// SHA256(password) XOR SHA256(SHA256(SHA256(password)), nonce).
fn caching_sha2(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let once = Sha256::digest(password);
    let twice = Sha256::digest(once);
    let mixed = Sha256::new().chain_update(twice).chain_update(nonce).finalize();
    once.iter().zip(mixed).map(|(left, right)| left ^ right).collect()
}

/// A signature of the nonce as in RFC 8032, section 5.1.6, but that the whole password, of any length, stands where a key
/// of 32 bytes would (plugin/auth_ed25519/ref10 in MariaDB's source). That is why no library's key type serves.
fn ed25519(password: &[u8], nonce: &[u8]) -> [u8; 64] {
    let expanded: [u8; 64] = Sha512::digest(password).into();
    let mut half = [0; 32];
    half.copy_from_slice(&expanded[..32]);
    let secret = Scalar::from_bytes_mod_order(clamp_integer(half));
    let public = EdwardsPoint::mul_base(&secret).compress();
    let wide = |hash: Sha512| Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let r = wide(Sha512::new().chain_update(&expanded[32..]).chain_update(nonce));
    let commitment = EdwardsPoint::mul_base(&r).compress();
    let hash = Sha512::new().chain_update(commitment.as_bytes()).chain_update(public.as_bytes());
    let challenge = wide(hash.chain_update(nonce));
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(commitment.as_bytes());
    signature[32..].copy_from_slice((r + challenge * secret).as_bytes());
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_by_a_key_of_32_bytes_is_that_of_the_standard() {
        // RFC 8032, section 7.1, test 2.
        let key = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let expected = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
        assert_eq!(ed25519(&key, &[0x72]).to_vec(), expected);
    }

    #[test]
    fn a_password_is_hashed_as_the_server_does() {
        // SELECT PASSWORD('mypass') in 10.11.
        assert_eq!(password_hash("mypass"), "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4");
    }

    fn hex(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }
}
