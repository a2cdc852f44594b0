//! Facts about Redis itself, without Backstay, on which `docs/guarantees.md` relies. Each was seen once by hand; here
//! it is seen again with the version that is installed.

mod fence;
mod promotion;
mod replication;
mod restart;
mod support;
