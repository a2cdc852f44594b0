//! The first words on a connection: the server's greeting and what a client answers.

use super::packet::{Fields, Packets, write_packet};
use super::scramble;
use super::{Account, ConversationError, ServerError};

/// What a client can, as bits of the greeting and of the answer.
mod can {
    pub(super) const LONG_PASSWORD: u32 = 1;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const TLS: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const MULTI_STATEMENTS: u32 = 1 << 16;
    pub(super) const MULTI_RESULTS: u32 = 1 << 17;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
}

const OWN: u32 = can::LONG_PASSWORD
    | can::PROTOCOL_41
    | can::TRANSACTIONS
    | can::SECURE_CONNECTION
    | can::MULTI_STATEMENTS
    | can::MULTI_RESULTS
    | can::PLUGIN_AUTH;
/// utf8mb4_general_ci.
const CHARSET: u8 = 45;
/// The longest packet that we would send.
const PACKET_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// What every nonce has at least.
const NONCE_BYTES: usize = 20;

/// What a server says of itself to whoever connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: String,
    pub(super) nonce: Vec<u8>,
    pub(super) plugin: String,
    can: u32,
}

impl Greeting {
    /// Understands the first packet. An error that comes in its place is that error.
    pub(super) fn read(payload: &[u8]) -> Result<Result<Self, ServerError>, ConversationError> {
        if payload.first() == Some(&0xff) {
            return ServerError::read(payload).map(Err).ok_or(ConversationError::Garbage);
        }
        Self::fields(payload).map(Ok).ok_or(ConversationError::Garbage)
    }

    fn fields(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        if fields.byte()? != 10 {
            return None;
        }
        let version = String::from_utf8_lossy(fields.text()?).into_owned();
        fields.bytes(4)?; // The connection's number.
        let mut nonce = fields.bytes(8)?.to_vec();
        fields.byte()?;
        let low = fields.u16()?;
        fields.bytes(3)?; // Character set, status.
        let high = fields.u16()?;
        let nonce_bytes = usize::from(fields.byte()?);
        fields.bytes(10)?;
        let rest = nonce_bytes.max(NONCE_BYTES + 1) - 8;
        let second = fields.bytes(rest)?;
        nonce.extend_from_slice(second.strip_suffix(&[0]).unwrap_or(second));
        let name = fields.text().unwrap_or(fields.0);
        let can = u32::from(low) | u32::from(high) << 16;
        let needed = can::PROTOCOL_41 | can::SECURE_CONNECTION | can::PLUGIN_AUTH;
        (can & needed == needed).then(|| Self {
            version,
            nonce,
            plugin: String::from_utf8_lossy(name).into_owned(),
            can,
        })
    }
}

/// The answer to a greeting: who we are, and the proof, if the server asks in a way that is known here. If not, it asks
/// again in the account's own way.
pub(super) fn write_answer(
    out: &mut Vec<u8>,
    greeting: &Greeting,
    account: &Account,
    sequence: u8,
    tls: bool,
) {
    let known = scramble::answer(&greeting.plugin, &account.password, &greeting.nonce);
    let (plugin, proof) = match known.filter(|proof| proof.len() < 251) {
        Some(proof) => (greeting.plugin.as_str(), proof),
        None => (scramble::NATIVE, Vec::new()),
    };
    let mut payload = head(tls);
    payload.extend_from_slice(without_zero(&account.username));
    payload.push(0);
    payload.push(proof.len() as u8);
    payload.extend_from_slice(&proof);
    payload.extend_from_slice(plugin.as_bytes());
    payload.push(0);
    write_packet(out, sequence, &payload);
}

fn head(tls: bool) -> Vec<u8> {
    let can = if tls { OWN | can::TLS } else { OWN };
    let mut payload = Vec::new();
    payload.extend(can.to_le_bytes());
    payload.extend(PACKET_BYTES_MAX.to_le_bytes());
    payload.push(CHARSET);
    payload.extend([0; 23]);
    payload
}

/// A user name ends at a zero byte: none has one.
fn without_zero(text: &str) -> &[u8] {
    text.as_bytes().split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The way to TLS: what to do with the first bytes of a server, before anything secret is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// The greeting is not whole yet.
    Wait,
    /// Send this, and then shake hands. A `Conversation` on an encrypted channel is fed the same first bytes.
    Send(Vec<u8>),
    /// It has something else to say: feed it to a `Conversation`.
    Spoke,
    /// It does not talk TLS.
    Unable,
}

/// See `Upgrade`. An error is as that of a `Conversation`.
pub fn upgrade(received: &[u8]) -> Result<Upgrade, ConversationError> {
    let mut packets = Packets::default();
    packets.feed(received)?;
    let Some(packet) = packets.next()? else {
        return Ok(Upgrade::Wait);
    };
    let sequence = packet.sequence.wrapping_add(1);
    Ok(match Greeting::read(packet.payload)? {
        Ok(greeting) if greeting.can & can::TLS == 0 => Upgrade::Unable,
        Ok(_) => {
            let mut out = Vec::new();
            write_packet(&mut out, sequence, &head(true));
            Upgrade::Send(out)
        }
        Err(_) => Upgrade::Spoke,
    })
}
