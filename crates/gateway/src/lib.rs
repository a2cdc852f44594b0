//! The data plane: endpoints that never change, in front of servers that do.
