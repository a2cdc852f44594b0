//! Servers put together: the lab (Backstay, its Redis and MariaDB groups) and, for comparison, a group under stock
//! Sentinel. MariaDB groups without anybody who watches.

pub mod certificates;
pub mod configuration;
pub mod databases;
pub mod down;
pub mod fault;
pub mod health;
pub mod lab;
pub mod mariadb;
pub mod options;
mod planned;
pub mod state;
pub mod stock;
pub mod up;
pub mod view;
