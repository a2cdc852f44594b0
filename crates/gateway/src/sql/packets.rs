//! Where packets begin and end, in whatever pieces they come, and the few of their first bytes that anybody looks at.

/// Three bytes of length and a number.
const HEADER: usize = 4;
/// So many bytes of a packet are shown: an OK with two long numbers, up to its status flags.
const SHOWN: usize = 21;
/// A packet of this length goes on in the next one.
const LENGTH_MAX: usize = 0x00ff_ffff;

/// Goes from packet to packet.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// The beginning of a packet that was cut before enough of it had come.
    begun: [u8; HEADER + SHOWN],
    come: usize,
    /// So many bytes of the last packet have not come yet; nobody looks at them.
    rest: usize,
    /// The next packet is the rest of the last one.
    continues: bool,
}

/// The beginning of a packet.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) length: usize,
    pub(crate) number: u8,
    /// Its first bytes.
    pub(crate) shown: &'a [u8],
    /// It goes on in the next packet.
    pub(crate) continues: bool,
}

impl Walk {
    pub(crate) const fn new() -> Self {
        Self { begun: [0; HEADER + SHOWN], come: 0, rest: 0, continues: false }
    }

    /// Every packet that has begun is whole.
    pub(crate) const fn is_between_packets(&self) -> bool {
        self.come == 0 && self.rest == 0 && !self.continues
    }

    /// The next packet of these bytes, and takes them. `None`: all are taken.
    #[inline]
    pub(crate) fn next<'a, 'b: 'a>(&'a mut self, bytes: &mut &'b [u8]) -> Option<Packet<'a>> {
        loop {
            let skipped = self.rest.min(bytes.len());
            (self.rest, *bytes) = (self.rest - skipped, &bytes[skipped..]);
            if bytes.is_empty() {
                return None;
            }
            let continued = self.continues;
            let all: &'b [u8] = bytes;
            if self.come == 0 && all.len() >= HEADER + SHOWN {
                let length = length_of(all);
                let taken = (HEADER + length).min(all.len());
                *bytes = &all[taken..];
                self.rest = HEADER + length - taken;
                self.continues = length == LENGTH_MAX;
                if !continued {
                    return Some(Packet::new(all, length));
                }
            } else {
                let length = self.gather(bytes)?;
                self.continues = length == LENGTH_MAX;
                if !continued {
                    return Some(Packet::new(&self.begun, length));
                }
            }
        }
    }

    /// Takes what is missing of a packet's beginning. Returns its length when all of that has come.
    fn gather(&mut self, bytes: &mut &[u8]) -> Option<usize> {
        loop {
            let whole = self.come >= HEADER;
            let wants = HEADER + if whole { length_of(&self.begun).min(SHOWN) } else { 0 };
            let some = (wants - self.come).min(bytes.len());
            self.begun[self.come..self.come + some].copy_from_slice(&bytes[..some]);
            (self.come, *bytes) = (self.come + some, &bytes[some..]);
            if self.come < wants {
                return None;
            }
            let length = length_of(&self.begun);
            if whole || length == 0 {
                self.come = 0;
                self.rest = length - length.min(SHOWN);
                return Some(length);
            }
        }
    }
}

impl<'a> Packet<'a> {
    /// `bytes` begin with its header.
    fn new(bytes: &'a [u8], length: usize) -> Self {
        let shown = &bytes[HEADER..HEADER + length.min(SHOWN)];
        Self { length, number: bytes[3], shown, continues: length == LENGTH_MAX }
    }
}

fn length_of(header: &[u8]) -> usize {
    usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16
}

/// Two bytes as a number, if they are there.
pub(crate) fn u16_at(shown: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(shown.get(at..at + 2)?.try_into().ok()?))
}

/// The status flags of an OK, behind two numbers of as many bytes as their first one says.
pub(crate) fn status_of_ok(shown: &[u8]) -> Option<u16> {
    let mut at = 1;
    for _ in 0..2 {
        at += match *shown.get(at)? {
            0xfc => 3,
            0xfd => 4,
            0xfe => 9,
            _ => 1,
        };
    }
    u16_at(shown, at)
}
