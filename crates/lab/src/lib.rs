//! Local stacks of real servers, faults, writers, checkers.
