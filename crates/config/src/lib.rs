//! TOML to a checked configuration, every mistake with its line. Pure.
