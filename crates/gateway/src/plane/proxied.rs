//! The header of the PROXY protocol, version 2: what a load balancer says before the client's first byte (HAProxy's
//! `proxy-protocol.txt`, section 2.2). Pure: it is handed bytes, and says how many more are the header's, so that not one
//! byte behind it is read too early. Version 1, which is text, is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the header begins with: no other protocol does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of what follows.
const FIXED: usize = 16;
/// Both addresses and ports of IPv6, the longest that are read.
const ADDRESSES_MAX: usize = 36;
/// What may follow: addresses, and whatever else a load balancer has to say, which is skipped.
const REST_MAX: usize = 4096;

/// A header of which a part has come.
#[derive(Debug)]
pub(crate) struct Header {
    bytes: [u8; FIXED + ADDRESSES_MAX],
    /// How much has come, with what was skipped.
    come: usize,
}

/// Why this is no header. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("it begins with version 1 of the PROXY protocol: let the load balancer send version 2")]
    Text,
    #[error("it does not begin with a header of the PROXY protocol, version 2")]
    Missing,
    #[error("its PROXY header has a version, a command or a family that version 2 does not know")]
    Unknown,
    #[error("its PROXY header is shorter than the addresses that it announces")]
    Short,
    #[error("its PROXY header is longer than {REST_MAX} bytes")]
    Long,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Where the client is. `None`: it does not say, so the connection itself counts.
    pub(crate) client: Option<SocketAddr>,
}

impl Header {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; FIXED + ADDRESSES_MAX], come: 0 }
    }

    /// How many bytes may be handed in next. What is behind them may be the client's.
    pub(crate) fn wants(&self) -> usize {
        if self.come < FIXED { FIXED - self.come } else { FIXED + self.rest() - self.come }
    }

    /// No byte of it has come.
    pub(crate) const fn is_empty(&self) -> bool {
        self.come == 0
    }

    /// Takes bytes, at most as many as it wants. `None`: more are needed.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Claim>, Wrong> {
        let kept = self.bytes.get_mut(self.come..).unwrap_or_default();
        let keeps = kept.len().min(bytes.len());
        kept[..keeps].copy_from_slice(&bytes[..keeps]);
        self.come += bytes.len();
        let begun = self.come.min(SIGNATURE.len());
        if self.bytes[..begun] != SIGNATURE[..begun] {
            return Err(if self.bytes.starts_with(b"PROXY") { Wrong::Text } else { Wrong::Missing });
        }
        if self.come < FIXED {
            return Ok(None);
        }
        let needs = self.addresses_len()?;
        if self.rest() < needs {
            return Err(Wrong::Short);
        }
        if self.rest() > REST_MAX {
            return Err(Wrong::Long);
        }
        Ok((self.wants() == 0).then(|| Claim { client: self.client() }))
    }

    fn rest(&self) -> usize {
        usize::from(u16::from_be_bytes([self.bytes[14], self.bytes[15]]))
    }

    fn is_proxied(&self) -> bool {
        self.bytes[12] & 0x0f == 1
    }

    /// How many bytes the addresses of this family have.
    fn addresses_len(&self) -> Result<usize, Wrong> {
        let (version, command) = (self.bytes[12] >> 4, self.bytes[12] & 0x0f);
        let (family, transport) = (self.bytes[13] >> 4, self.bytes[13] & 0x0f);
        if version != 2 || command > 1 || family > 3 || transport > 2 {
            return Err(Wrong::Unknown);
        }
        if !self.is_proxied() {
            // LOCAL, the load balancer itself: whatever it says besides does not count.
            return Ok(0);
        }
        Ok([0, 12, 36, 216][usize::from(family)])
    }

    /// A client over TCP; the address that it called follows, and does not matter.
    fn client(&self) -> Option<SocketAddr> {
        let (at, port_at): (IpAddr, usize) = match self.bytes[13] {
            _ if !self.is_proxied() => return None,
            0x11 => (Ipv4Addr::from(<[u8; 4]>::try_from(&self.bytes[16..20]).ok()?).into(), 24),
            0x21 => (Ipv6Addr::from(<[u8; 16]>::try_from(&self.bytes[16..32]).ok()?).into(), 48),
            _ => return None,
        };
        let port = u16::from_be_bytes([self.bytes[port_at], self.bytes[port_at + 1]]);
        Some(SocketAddr::new(at, port))
    }
}

/// What is said to a server before a client's first byte: where the client is, and which address it has called. `None`: it
/// is no TCP client, so the connection itself counts.
pub(crate) fn announcement(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let (command, family, rest) = match addresses {
        None => (0x20, 0, Vec::new()),
        Some((SocketAddr::V4(from), SocketAddr::V4(to))) => {
            (0x21, 0x11, [&from.ip().octets()[..], &to.ip().octets()].concat())
        }
        Some((from, to)) => {
            let wide = |address: SocketAddr| match address.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            (0x21, 0x21, [wide(from), wide(to)].concat())
        }
    };
    let ports = addresses.map(|(from, to)| [from.port().to_be_bytes(), to.port().to_be_bytes()].concat());
    let rest = [rest, ports.unwrap_or_default()].concat();
    let length = (rest.len() as u16).to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, &rest].concat()
}

/// Hands in any bytes in pieces of `size`; returns how many of them are the header's, if it is one.
#[cfg(any(test, fuzzing))]
pub(crate) fn header_length(mut bytes: &[u8], size: usize) -> Option<usize> {
    let (all, mut header) = (bytes.len(), Header::new());
    loop {
        let some = header.wants().min(size.max(1)).min(bytes.len());
        assert!(header.wants() > 0, "it wants nothing and is not whole");
        let (now, later) = bytes.split_at(some);
        bytes = later;
        match header.take(now) {
            Err(_) => return None,
            Ok(Some(_)) => return Some(all - bytes.len()),
            Ok(None) if bytes.is_empty() => return None,
            Ok(None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn whole(bytes: &[u8]) -> Result<Option<Claim>, Wrong> {
        let mut header = Header::new();
        let first = header.take(&bytes[..bytes.len().min(FIXED)])?;
        if first.is_some() || bytes.len() <= FIXED {
            return Ok(first);
        }
        assert_eq!(header.wants(), bytes.len() - FIXED);
        header.take(&bytes[FIXED..])
    }

    fn client(bytes: &[u8]) -> Option<String> {
        let claim = whole(bytes).unwrap().expect("a whole header");
        claim.client.map(|client| client.to_string())
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xd4, 0x31, 0x18, 0xeb];

    fn ipv6() -> Vec<u8> {
        let of = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        [&of("2001:db8::7")[..], &of("2001:db8::1"), &[0xd4, 0x31, 0x18, 0xeb]].concat()
    }

    #[test]
    fn a_header_names_the_client() {
        assert_eq!(client(&header(0x21, 0x11, &IPV4)).as_deref(), Some("192.0.2.7:54321"));
        assert_eq!(client(&header(0x21, 0x21, &ipv6())).as_deref(), Some("[2001:db8::7]:54321"));
        // What a load balancer has to say besides is skipped, up to a bound.
        let more = [&IPV4[..], &vec![0xea; REST_MAX - 12]].concat();
        assert_eq!(client(&header(0x21, 0x11, &more)).as_deref(), Some("192.0.2.7:54321"));
    }

    #[test]
    fn an_announcement_is_a_header_that_names_the_client() {
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (near, far) = (of("192.0.2.7:54321"), of("10.0.0.1:6379"));
        assert_eq!(announcement(Some((near, far))), header(0x21, 0x11, &IPV4));
        for (from, to) in
            [("[2001:db8::7]:54321", "[2001:db8::1]:3306"), ("[2001:db8::7]:54321", "10.0.0.1:1")]
        {
            assert_eq!(client(&announcement(Some((of(from), of(to))))).as_deref(), Some(from));
        }
        assert_eq!(client(&announcement(None)), None);
    }

    #[test]
    fn a_header_without_a_tcp_client_leaves_the_connection_as_it_is() {
        for (command, family, rest) in [
            (0x20, 0x00, vec![]),
            (0x20, 0x11, IPV4.to_vec()),
            (0x20, 0x21, vec![]),
            (0x21, 0x00, vec![]),
            (0x21, 0x00, vec![1, 2, 3]),
            (0x21, 0x31, vec![b'/'; 216]),
            (0x21, 0x12, IPV4.to_vec()),
        ] {
            assert_eq!(client(&header(command, family, &rest)), None, "{command:x} {family:x}");
        }
    }

    #[test]
    fn what_is_no_header_is_known_as_early_as_possible() {
        let said = |bytes: &[u8]| Header::new().take(bytes).unwrap_err();
        assert_eq!(said(b"*"), Wrong::Missing);
        assert_eq!(said(b"\r\n\r\n\0\r\nQUIX"), Wrong::Missing);
        assert_eq!(said(b"\x16\x03\x01"), Wrong::Missing);
        assert_eq!(said(b"PROXY TCP4 192.0"), Wrong::Text);
        for (command, family) in [(0x11, 0x11), (0x31, 0x11), (0x22, 0x11), (0x21, 0x41), (0x21, 0x13)] {
            assert_eq!(
                said(&header(command, family, &IPV4)[..FIXED]),
                Wrong::Unknown,
                "{command:x} {family:x}"
            );
        }
        assert_eq!(said(&header(0x21, 0x11, &IPV4[..11])[..FIXED]), Wrong::Short);
        assert_eq!(said(&header(0x21, 0x21, &IPV4)[..FIXED]), Wrong::Short);
        assert_eq!(said(&header(0x21, 0x31, &[0; 215])[..FIXED]), Wrong::Short);
        assert_eq!(said(&header(0x20, 0x00, &[0; REST_MAX + 1])[..FIXED]), Wrong::Long);
    }

    #[test]
    fn a_header_cut_anywhere_is_not_whole_and_takes_no_byte_too_many() {
        for bytes in [header(0x21, 0x11, &IPV4), header(0x21, 0x21, &ipv6()), header(0x20, 0, &[0xea; 300])] {
            for cut in 0..bytes.len() {
                assert_eq!(header_length(&bytes[..cut], 1), None);
                assert_eq!(header_length(&bytes[..cut], usize::MAX), None);
            }
            let more = [&bytes[..], b"*1\r\n$4\r\nPING\r\n"].concat();
            for size in 1..=bytes.len() {
                assert_eq!(header_length(&more, size), Some(bytes.len()), "{size}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_pieces_make_no_difference(
            (command, family) in (any::<u8>(), any::<u8>()),
            (length, wrong) in (0_u16..5000, prop::option::of(0_usize..12)),
            rest in prop::collection::vec(any::<u8>(), 0..300),
            size in 1_usize..40,
        ) {
            let mut bytes = [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), &rest].concat();
            if let Some(at) = wrong {
                bytes[at] ^= 1;
            }
            prop_assert_eq!(header_length(&bytes, size), header_length(&bytes, usize::MAX));
        }
    }
}
