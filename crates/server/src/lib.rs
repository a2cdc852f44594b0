//! Where the pure crates meet the world: sockets, clocks, disks. Everything that decides is elsewhere; what is here is
//! small and dumb, and runs effects strictly in the order in which it was told.

mod handle;
mod question;

pub use handle::Handle;
