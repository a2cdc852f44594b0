//! One server process each: how it is started, known again, signalled and ended. What they are for, together, is the
//! business of `stack`.

pub mod agent;
pub mod controller;
pub mod gateway;
pub mod mariadb;
pub mod nursery;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod sentinel;
pub mod usage;
