//! The deterministic pool core: commands, events, effects, state, sequencer.
