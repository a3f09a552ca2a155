//! Changes to bytes, chosen by a seed.

use super::INPUT_SIZE_MAX;

/// A generator that is the same everywhere (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Lengths and counts that decoders meet, each written as OER, WebSocket and borsh write them.
const EDGES: &[&[u8]] = &[
    &[0x00],
    &[0x7f],
    &[0x80],
    &[0x81, 0x00],
    &[0x82, 0xff, 0xff],
    &[0x84, 0x40, 0x00, 0x00, 0x00],
    &[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x00, 0x00, 0x00, 0x40],
];

/// One of the seeds after one to eight changes.
pub(super) fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        change(&mut bytes, seeds, random);
    }
    bytes.truncate(INPUT_SIZE_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    let other = &seeds[random.below(seeds.len())];
    match random.below(8) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, random.byte()),
        2 => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len()).min(other.len())..]);
        }
        3 => {
            let start = random.below(other.len());
            let end = start + random.below(other.len().saturating_sub(start));
            bytes.splice(at..at, other[start..end].iter().copied());
        }
        4 => {
            let edge = EDGES[random.below(EDGES.len())];
            let end = (at + edge.len()).min(bytes.len());
            bytes.splice(at..end, edge.iter().copied());
        }
        5 => {
            let end = at + random.below(bytes.len().saturating_sub(at));
            bytes.drain(at..end);
        }
        6 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.byte();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, mutated};

    #[test]
    fn a_seed_is_an_input_and_inputs_differ() {
        let seeds = [vec![1, 2, 3, 4], vec![9; 40], Vec::new()];
        let inputs: Vec<_> = (0..200)
            .map(|seed| mutated(&seeds, &mut Random(seed)))
            .collect();
        let again: Vec<_> = (0..200)
            .map(|seed| mutated(&seeds, &mut Random(seed)))
            .collect();
        assert_eq!(inputs, again);
        let distinct: std::collections::BTreeSet<_> = inputs.iter().collect();
        assert!(distinct.len() > 150, "{} of 200", distinct.len());
    }
}
