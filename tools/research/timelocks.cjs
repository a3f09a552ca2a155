#!/usr/bin/env node
// How long the two locks of a swap have to stand, and what the option costs that they give.
//   node tools/research/timelocks.cjs [DEVIATION]     a year's standard deviation of the pair's price, 0.8 unless given
// The pool is in the middle: the client locks first (incoming), then the pool (outgoing), the client claims and shows the preimage, the
// pool claims. Whatever is counted in blocks is taken at the time that it passes, either way, once in a million times.
'use strict';

const RARE = 1e-6;
const BLOCK_H = 1 / 6;
// Hours: until a fact is final; until a transaction is included at the planned fee spike; until our own process has seen and decided.
const EVM = { name: 'EVM', final: 0.25, included: 1, blocks: false };
const BITCOIN = { name: 'Bitcoin', final: 6, included: 12, blocks: true }; // in blocks: BOLT 2 takes 12 for inclusion at least
const LIGHTNING = { name: 'Lightning', final: 0, included: 0, blocks: true };
const SEE_H = 0.2;
const CLIENT_H = 1; // what a client is given to claim, beyond inclusion
const LDK_FAIL_BACK = 39; // blocks before expiry at which LDK 0.2 gives a held payment back
const CLTV_LIMIT = 144; // of an outgoing payment, all hops together: our own limit
const FORCE_CLOSE = 18; // blocks to a commitment, and a second stage, on chain: 2R+G+S of BOLT 2

function blocksWithin(hours, blocks) { // chance that at least `blocks` come within `hours`
  const expected = hours / BLOCK_H;
  let [term, sum] = [Math.exp(-expected), 0];
  for (let count = 0; count < blocks; count++) {
    sum += term;
    term *= expected / (count + 1);
  }
  return 1 - sum;
}

function hoursOf(blocks, chance) { // the time within which they have come with that chance
  let [low, high] = [0, blocks * 2 + 20];
  for (let round = 0; round < 60; round++) {
    const middle = (low + high) / 2;
    if (blocksWithin(middle, blocks) < chance) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

const longest = (blocks) => (blocks === 0 ? 0 : hoursOf(blocks, 1 - RARE));
const shortest = (blocks) => (blocks === 0 ? 0 : hoursOf(blocks, RARE));
const blocksThatLast = (hours) => { // the fewest whose shortest time is that long
  let blocks = 1;
  while (shortest(blocks) < hours) blocks++;
  return blocks;
};
const slow = (chain, amount) => (chain.blocks ? longest(amount) : amount);

// The outgoing lock stands long enough for the client to see it final and to claim.
function outgoing(chain) {
  if (chain === LIGHTNING) return { blocks: CLTV_LIMIT, latest: longest(CLTV_LIMIT + FORCE_CLOSE) };
  const needed = slow(chain, chain.final) + CLIENT_H + slow(chain, chain.included);
  if (!chain.blocks) return { blocks: '', latest: needed };
  const blocks = blocksThatLast(needed);
  return { blocks, latest: longest(blocks) };
}

// The incoming lock outlives it by: our refund or the client's claim final, seen, and our claim final.
function incoming(chain, other, otherLatest) {
  const refund = other === LIGHTNING ? 0 : slow(other, other.included + other.final);
  const claim = chain === LIGHTNING ? 0 : slow(chain, chain.included + chain.final);
  const needed = otherLatest + refund + SEE_H + claim;
  if (!chain.blocks) return { blocks: '', earliest: needed, latest: needed };
  const buffer = chain === LIGHTNING ? LDK_FAIL_BACK : 0;
  const blocks = blocksThatLast(needed) + buffer;
  return { blocks, earliest: shortest(blocks - buffer), latest: longest(blocks) };
}

const deviation = Number(process.argv[2] ?? 0.8);
const option = (hours) => (1e4 * 0.4 * deviation * Math.sqrt(hours / 8766)).toFixed(0);
const cells = ([from, to]) => {
  const out = outgoing(to);
  const into = incoming(from, to, out.latest);
  const blocks = (lock) => (lock.blocks === '' ? 'by time' : lock.blocks);
  return [`${from.name} → ${to.name}`, blocks(out), out.latest.toFixed(1), blocks(into), into.earliest.toFixed(1), into.latest.toFixed(1), option(out.latest)];
};
const pairs = [[EVM, EVM], [BITCOIN, EVM], [EVM, BITCOIN], [LIGHTNING, EVM], [EVM, LIGHTNING], [BITCOIN, LIGHTNING], [LIGHTNING, BITCOIN]];
const line = (row) => `| ${row.join(' | ')} |`;
console.log(`144 blocks take ${shortest(144).toFixed(1)} to ${longest(144).toFixed(1)} hours, but for one time in a million either way.\n`);
console.log(line(['client gives → gets', 'outgoing, blocks', 'latest end, h', 'incoming, blocks', 'earliest end, h', 'latest end, h', `option at σ = ${deviation}, bp`]));
console.log('|---|--:|--:|--:|--:|--:|--:|');
for (const pair of pairs) console.log(line(cells(pair)));
