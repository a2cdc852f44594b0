//! Errors of a MariaDB by their numbers, to what they amount to.

use super::packet::Fields;
use super::statements::signal;
use backstay_model::Fault;

/// An error as the server tells it. Its text may quote what it was told: it is for a log only if that was no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Its number.
    pub code: u16,
    /// Its SQLSTATE; empty before the login.
    pub state: String,
    /// Its text.
    pub text: String,
}

/// How much of a text is kept.
const TEXT_BYTES_MAX: usize = 512;

impl ServerError {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        fields.byte()?;
        let code = fields.u16()?;
        let state = match fields.0.first() {
            Some(b'#') => fields.bytes(6).map(|taken| &taken[1..]).unwrap_or_default(),
            _ => &[],
        };
        let text = fields.0.get(..TEXT_BYTES_MAX).unwrap_or(fields.0);
        let words = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(Self { code, state: words(state), text: words(text) })
    }

    /// What is found out here, and no error of the server's.
    pub(super) fn own(text: impl Into<String>) -> Self {
        Self { code: 0, state: String::new(), text: text.into() }
    }

    /// What it amounts to. The numbers are those of the servers' `errmsg-utf8.txt` and
    /// `messages_to_clients.txt`.
    pub fn fault(&self) -> Fault {
        match self.state.as_str() {
            signal::DRAINING => return Fault::Draining,
            signal::STALLED => return Fault::Stalled,
            signal::WAITING => return Fault::Locked,
            signal::FULL => return Fault::DiskError,
            signal::UNACKNOWLEDGED => return Fault::Unacknowledged,
            _ => {}
        }
        match self.code {
            // Denied; denied without a password; the account is locked, or for a while; its password has run out.
            1045 | 1698 | 1820 | 1862 | 3118 | 3955 | 4151 => Fault::WrongPassword,
            1044 | 1095 | 1142 | 1143 | 1227 | 1370 | 1419 => Fault::NoPermission,
            1040 | 1203 | 1226 => Fault::TooManyClients,
            // Blocked after too many errors; not allowed.
            1129 | 1130 => Fault::HostRefused,
            // The disk is full, cannot be written to; a table is full.
            1021 | 1026 | 1114 => Fault::DiskError,
            1205 => Fault::Locked,
            // Nobody gets in without TLS.
            3159 => Fault::NeedsTls,
            // Its memory of its primary cannot be read.
            1200 | 1201 | 1871 | 1872 => Fault::Unsuitable,
            _ => Fault::OtherError,
        }
    }

    /// It ends the connection: killed, shutting down, idle for too long.
    pub(super) const fn ends_connection(&self) -> bool {
        matches!(self.code, 1053 | 1080 | 1152 | 1184 | 1927 | 3169 | 4031)
    }
}
