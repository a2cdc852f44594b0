//! How far a peer is trusted, and what it is told when it goes further.

use thiserror::Error;

/// What a decoder accepts. Whatever a peer announces, a decoder never holds more than `buffered_bytes_max`, counting
/// both bytes that wait and the unfinished value (the allocator's slack may double that while it grows).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest bulk string.
    pub bulk_bytes_max: usize,
    /// The most elements of one value, nested ones included (a request: arguments).
    pub elements_max: usize,
    /// The deepest nesting of aggregates; 0: none at all.
    pub depth_max: usize,
    /// The longest line: a simple string, an error, a number, an inline request.
    pub line_bytes_max: usize,
    /// The most that is held between two calls.
    pub buffered_bytes_max: usize,
}

impl Default for Limits {
    /// Ample for what a controller and a Sentinel client exchange; too small to hurt.
    fn default() -> Self {
        Self {
            bulk_bytes_max: 1024 * 1024,
            elements_max: 16 * 1024,
            depth_max: 8,
            line_bytes_max: 64 * 1024,
            buffered_bytes_max: 4 * 1024 * 1024,
        }
    }
}

/// Why bytes cannot be read any further. The decoder has dropped what it held and repeats the error for ever: answer
/// `-ERR Protocol error: {error}` if you serve, and close the connection. The texts are Redis' own where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RespError {
    /// A value begins with a byte that no type has.
    #[error("unknown type byte 0x{0:02x}")]
    UnknownType(u8),
    /// A number, length or boolean is not one.
    #[error("invalid number")]
    BadNumber,
    /// A line ends without CR.
    #[error("line without CR LF")]
    BadLine,
    /// A counted string is not followed by CR LF.
    #[error("string without CR LF")]
    Unterminated,
    /// A line is longer than `line_bytes_max`.
    #[error("too big inline request")]
    LineTooLong,
    /// A string is announced with a length that is no number or above `bulk_bytes_max`.
    #[error("invalid bulk length")]
    BulkTooLong,
    /// An aggregate is announced with a count that is no number or brings the value above `elements_max`.
    #[error("invalid multibulk length")]
    TooManyElements,
    /// Aggregates are nested deeper than `depth_max`.
    #[error("too deeply nested")]
    TooDeep,
    /// More than `buffered_bytes_max` would have to be held.
    #[error("too much data buffered")]
    TooMuchBuffered,
    /// An argument of a request is not a bulk string.
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    ExpectedBulk(u8),
    /// An inline request leaves a quotation mark open.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
}
