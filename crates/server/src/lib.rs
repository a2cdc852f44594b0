//! Where the pure crates meet the world: sockets, clocks, disks.
