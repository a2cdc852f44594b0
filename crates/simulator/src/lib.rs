//! A whole world on one seed: clock, network, disks, engines, faults, checkers. Pure.
