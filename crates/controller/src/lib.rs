//! The brain: observations in, decisions out. Pure.
