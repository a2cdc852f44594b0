//! Real servers that diverged, and agents that bring them back.

mod copying;
mod support;
mod taking_back;
