//! Why an instance cannot be looked at: each way to fail with its own remedy.

use super::finding::{Found, account};
use crate::link::line::LineError;
use backstay_model::Fault;

/// What it did, behind its name.
pub(crate) fn sentence(error: &LineError) -> String {
    match error {
        LineError::NameUnresolved => "has a host name that does not resolve".to_owned(),
        LineError::Refused => "refuses the connection: nobody listens there".to_owned(),
        LineError::Unreachable => "cannot be reached: no answer in time, or no way there".to_owned(),
        LineError::Silent(patience) => format!("took the connection and did not answer for {patience:?}"),
        LineError::NoTls(fault) | LineError::LoginRefused(fault, None) => format!("{fault}"),
        LineError::LoginRefused(fault, Some(error)) => format!("{fault}: {}", error.text),
        LineError::Answered(error) => format!("answers with error {}: {}", error.code, error.text),
        LineError::Ended(why) => format!("ended the talk: {why}"),
    }
}

/// The finding about an instance that cannot be looked at; `user`: who was not let in.
pub(crate) fn finding(error: &LineError, user: &str) -> Found {
    let found = Found::error(format!("it {}", sentence(error)));
    match error {
        LineError::NameUnresolved => found.advice("correct the address in the file, or the name server"),
        LineError::Refused => found.advice("start it; look at its bind_address, skip_networking and port"),
        LineError::Unreachable => found.advice("look at the host, the network and the firewall between"),
        LineError::NoTls(_) => found.advice(
            "correct tls in the file (ca, certificate, key, server_name), or the server's certificate",
        ),
        LineError::Silent(_) => found.advice("it hangs, or something else listens there: look at its log"),
        LineError::LoginRefused(fault, words) => {
            refused(found, *fault, words.as_ref().map(|it| it.code), user)
        }
        LineError::Answered(_) | LineError::Ended(_) => found.advice("look at its log"),
    }
}

fn refused(found: Found, fault: Fault, code: Option<u16>, user: &str) -> Found {
    let who = account(&format!("{user}@%"));
    match (fault, code) {
        (_, Some(1129)) => {
            found.mend("FLUSH HOSTS").file("skip_name_resolve = ON").advice("it blocks this host after too many errors")
        }
        (Fault::WrongPassword | Fault::HostRefused, _) => found
            .mend(format!("CREATE USER IF NOT EXISTS {who} IDENTIFIED BY '...'"))
            .mend(format!("ALTER USER {who} IDENTIFIED BY '...'"))
            .advice(
                "put the password that the file names in the place of the dots, and a narrower host in that of '%' if you \
                 like; then run this again, which names the rights that it needs",
            ),
        (Fault::TooManyClients, _) => found
            .mend("SET GLOBAL max_connections = 1000")
            .file("max_connections = 1000")
            .advice("keep some for Backstay: more than gateways and applications take together"),
        (Fault::NotTheEngine, _) => {
            found.advice("Backstay keeps MariaDB 10.6 and later standing, not MySQL: correct the address, or leave it out")
        }
        (Fault::Unsuitable, _) => found.advice("upgrade it to MariaDB 10.6 or later"),
        _ => found.advice("look at its log"),
    }
}
