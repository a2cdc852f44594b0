//! Conversations with a MySQL 8, as its manual says that it talks: no real one was asked.

mod login;
mod orders;
mod server;
mod standing;
