//! One contract suite for every rail, fake or real.
