//! Drives the sequencer: links, chain effects, clock, configuration.
