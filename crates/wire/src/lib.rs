//! Bytes to values and back, incremental and bounded. Pure.
