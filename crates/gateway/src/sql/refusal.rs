//! What a client hears that cannot be connected: an error in place of the server's greeting or of its next word, which every
//! client library shows ("MariaDB client/server protocol", ERR_Packet). The state behind `#` is understood in that place by
//! libmariadb and by PHP's mysqlnd, as is its being left out; servers leave it out.

/// Why a client is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// More clients than there may be. It is the server's own number for that.
    TooMany,
    /// Nobody could be connected to in time. The number of a server that shuts down, which libraries take for a broken
    /// connection that may be tried again.
    NoServer,
}

impl Refusal {
    const fn number(self) -> (u16, &'static [u8; 5]) {
        match self {
            Self::TooMany => (1040, b"08004"),
            Self::NoServer => (1053, b"08S01"),
        }
    }

    /// The packet that says so, by its number in the connection.
    pub(crate) fn packet(self, place: u8, text: &str) -> Vec<u8> {
        let (number, state) = self.number();
        // Clients keep 512 bytes of it at most.
        let text = &text.as_bytes()[..text.len().min(500)];
        let length = u32::try_from(text.len() + 9).unwrap_or(0).to_le_bytes();
        let mut packet = length[..3].to_vec();
        packet.extend_from_slice(&[place, 0xff]);
        packet.extend_from_slice(&number.to_le_bytes());
        packet.push(b'#');
        packet.extend_from_slice(state);
        packet.extend_from_slice(text);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_packet_in_its_place() {
        assert_eq!(Refusal::TooMany.packet(0, "no"), *b"\x0b\0\0\0\xff\x10\x04#08004no");
        assert_eq!(Refusal::NoServer.packet(4, "no"), *b"\x0b\0\0\x04\xff\x1d\x04#08S01no");
        let long = Refusal::NoServer.packet(0, &"x".repeat(1000));
        assert_eq!((long.len(), &long[..4]), (513, &b"\xfd\x01\0\0"[..]));
    }
}
