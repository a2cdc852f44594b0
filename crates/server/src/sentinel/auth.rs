//! Letting clients in. There is one user, `default`, as on a Sentinel without ACL rules.

use super::errors::{error, syntax};
use super::session::Session;
use backstay_wire::resp::Value;
use std::hint::black_box;

const USER: &[u8] = b"default";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you \
                           sure your configuration is correct?";

/// `AUTH [username] password`.
pub(super) fn auth(session: &mut Session, arguments: &[Vec<u8>]) -> Value {
    let outcome = match arguments {
        [_] if session.shared().settings.password.is_none() => return error(NO_PASSWORD),
        [password] => log_in(session, USER, password),
        [user, password] => log_in(session, user, password),
        _ => return syntax(),
    };
    outcome.map_or_else(|refusal| refusal, |()| Value::Simple("OK".into()))
}

/// Lets the client in, or says why not. A failure leaves it as it was.
pub(super) fn log_in(session: &mut Session, user: &[u8], password: &[u8]) -> Result<(), Value> {
    let expected = session.shared().settings.password.as_deref();
    let right = expected.is_none_or(|expected| is_same(password, expected));
    if user == USER && right {
        session.trusted = true;
        return Ok(());
    }
    Err(error("WRONGPASS invalid username-password pair or user is disabled."))
}

/// Takes as long as `given` is, whether and wherever it differs.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let mut differs = usize::from(given.len() != expected.len());
    for (at, byte) in given.iter().enumerate() {
        let other = expected.get(at % expected.len().max(1)).copied().unwrap_or_default();
        differs |= usize::from(black_box(byte ^ other));
    }
    black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn only_the_whole_password_is_the_same() {
        assert!(is_same(b"secret", b"secret"));
        for given in ["", "secre", "secrets", "secretsecret", "Secret"] {
            assert!(!is_same(given.as_bytes(), b"secret"), "{given}");
        }
        assert!(!is_same(b"x", b""));
    }
}
