//! Raft behind one step function, speaking only our types. Pure.
