//! One controller node: the brain and the consensus behind one ordered step. Pure.
