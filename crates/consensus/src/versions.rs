//! Versions. One number names what a controller understands: of its peers' words and of the log's entries. Two
//! controllers talk in the lower of their latest versions; the cluster's level is what all its members understand, and
//! it is an entry of the log, so it never goes back.

/// The earliest version that is still spoken. In it the members are the founders for ever.
pub const VERSION_MIN: u32 = 1;
/// The latest one.
pub const VERSION: u32 = REBUILDS;
/// Since when members can change.
pub const MEMBERS_CHANGE: u32 = 2;
/// Since when gateways are registered.
pub const GATEWAYS: u32 = 3;
/// Since when it is agreed whose acknowledgements count.
pub const ACKERS: u32 = 4;
/// Since when instances are rebuilt.
pub const REBUILDS: u32 = 5;
