//! How a number of bytes that may be unknown is written: as a number or null where people read it, and where they do not,
//! as the plain number that earlier versions wrote there, the largest of all standing for one that nobody knows.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNKNOWN: u64 = u64::MAX;

/// For `#[serde(with)]`.
#[expect(clippy::missing_errors_doc, reason = "those of the format")]
pub fn serialize<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        bytes.serialize(serializer)
    } else {
        bytes.unwrap_or(UNKNOWN).serialize(serializer)
    }
}

/// For `#[serde(with)]`.
#[expect(clippy::missing_errors_doc, reason = "those of the format")]
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    if deserializer.is_human_readable() {
        Option::deserialize(deserializer)
    } else {
        let bytes = u64::deserialize(deserializer)?;
        Ok((bytes != UNKNOWN).then_some(bytes))
    }
}
