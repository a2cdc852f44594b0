//! Real servers that diverged, and agents that bring them back.

mod copying;
mod reading;
mod strangers;
mod support;
mod taking_back;
