//! What became of packets whose link is gone: their bytes may have been lost with it, or with our process before they left.

use std::collections::BTreeMap;
use std::time::Instant;

use forebay_channel::{PacketName, PeerMessage, RESUME_MAX};
use forebay_pool::State;
use forebay_quantity::PeerId;

use super::Post;

/// Going through all packets in flight takes at most a fiftieth of the core's time, however often peers come and go.
const PAUSE_PER_WALK: u32 = 50;
/// Messages to one peer on one link: sixteen times what a peer's own side has in flight. What is beyond waits for its expiry.
const QUESTIONS_MAX: usize = 16;

impl Post {
    /// Asks each peer that has said hello on a new link which packets never came. Only packets whose prepares went out,
    /// or were lost, before are in the state by now, and on a link what was sent before is read before: so the peer knows.
    pub(crate) fn ask_in_flight(&mut self, state: &State) {
        let now = Instant::now();
        if self.ask_due.is_empty() || self.ask_from.is_some_and(|from| now < from) {
            return;
        }
        let due = std::mem::take(&mut self.ask_due);
        let mut waiting: BTreeMap<PeerId, Vec<PacketName>> = BTreeMap::new();
        let of_due = state.packets();
        for (packet, found) in of_due.filter(|(_, found)| due.contains(&found.out_peer)) {
            let expires_at = found.expires_out;
            let packets = waiting.entry(found.out_peer).or_default();
            packets.push(PacketName { expires_at, packet });
        }
        self.ask_from = Some(Instant::now() + now.elapsed() * PAUSE_PER_WALK);
        for (peer, packets) in waiting {
            for part in packets.chunks(RESUME_MAX).take(QUESTIONS_MAX) {
                let packets = part.to_vec();
                self.say(peer, &PeerMessage::PacketsAsked { packets });
            }
        }
    }
}
