//! RESP 2 and 3, both directions: the protocol of Redis, Valkey and Sentinel. Streamed strings and aggregates
//! (`$?`, `*?`) are refused: no server sends them.

mod decode;
mod encode;
mod error;
mod request;
mod value;

pub use decode::Decoder;
pub use encode::{Protocol, encode_request, encode_value};
pub use error::{Limits, RespError};
pub use request::RequestDecoder;
pub use value::Value;
