//! One RESP value. It carries no protocol version: `encode_value` says what each becomes in RESP 2.

/// A value of RESP 2 or 3.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A short text without line breaks (`+`).
    Simple(String),
    /// An error: a code in capitals, a space, a sentence (`-`, `!`).
    Error(String),
    /// A signed number (`:`).
    Integer(i64),
    /// Any bytes (`$`).
    Bulk(Vec<u8>),
    /// Nothing, where a string could be (`$-1`, `_`).
    Null,
    /// Nothing, where an array could be (`*-1`; in RESP 3 the same as `Null`, and read as that).
    NullArray,
    /// Values in order (`*`).
    Array(Vec<Value>),
    /// Pairs in order (`%`).
    Map(Vec<(Value, Value)>),
    /// Values whose order says nothing (`~`).
    Set(Vec<Value>),
    /// A message that nobody asked for (`>`).
    Push(Vec<Value>),
    /// A floating point number (`,`).
    Double(f64),
    /// True or false (`#`).
    Boolean(bool),
    /// An integer of any size, in digits (`(`).
    BigNumber(String),
    /// Text with a format of three bytes, such as `txt` (`=`).
    Verbatim([u8; 3], Vec<u8>),
}

impl Value {
    /// A bulk string.
    pub fn bulk(text: impl AsRef<[u8]>) -> Self {
        Self::Bulk(text.as_ref().to_vec())
    }

    /// The bytes of anything that is a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(text) => Some(text.as_bytes()),
            Self::Bulk(bytes) | Self::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of anything that is a string of UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}
