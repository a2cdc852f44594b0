//! What each row holds, in bytes. Rows of the format before still read as what they were.

use super::error::Inner;
use backstay_consensus::{Entry, Membership, Snapshot};
use backstay_model::Term;
use serde::{Deserialize, Serialize};

/// An entry without what came with format 2: a change of the members, which follows if there is one.
#[derive(Serialize, Deserialize)]
struct Plain {
    index: u64,
    term: Term,
    data: Vec<u8>,
}

pub(super) fn write_entry(entry: &Entry) -> Result<Vec<u8>, Inner> {
    let plain = Plain { index: entry.index, term: entry.term, data: entry.data.clone() };
    let mut bytes = postcard::to_stdvec(&plain)?;
    if let Some(change) = &entry.change {
        bytes.extend(postcard::to_stdvec(change)?);
    }
    Ok(bytes)
}

pub(super) fn read_entry(bytes: &[u8]) -> Result<Entry, Inner> {
    let (plain, rest) = postcard::take_from_bytes::<Plain>(bytes)?;
    let change = if rest.is_empty() { None } else { Some(postcard::from_bytes::<Membership>(rest)?) };
    Ok(Entry { index: plain.index, term: plain.term, data: plain.data, change })
}

/// The snapshot of a format 1 file, in which the members never changed.
pub(super) fn read_snapshot_of_format_1(bytes: &[u8], members: Membership) -> Result<Snapshot, Inner> {
    let plain = postcard::from_bytes::<Plain>(bytes)?;
    Ok(Snapshot { index: plain.index, term: plain.term, data: plain.data, membership: members })
}
