//! Bytes to values and back, incremental and bounded: RESP, what Backstay says to a Redis and to a MariaDB, and the
//! frames between controllers. Nothing here reads a socket, and no input can make it panic or hold more than the limit it was given.

mod buffer;
pub mod frame;
pub mod mariadb;
pub mod redis;
pub mod resp;
