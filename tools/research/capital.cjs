#!/usr/bin/env node
// How much capital routes how much volume: one pooled vault against a channel for each peer.
//   node tools/research/capital.cjs hubs CHANNELS.csv    what pooling would spare the largest nodes of a channel graph
//   node tools/research/capital.cjs flows                simulated traffic; the least capital that routes 99 % of it
// CHANNELS.csv: a header line, then one channel a line: node, node, capacity. Nodes are any text, capacities whole numbers of one unit.
// Nothing is installed and nothing random: the traffic is drawn from a fixed seed, so both tables come out the same each time.
'use strict';
const { readFileSync } = require('node:fs');

const FLOOR = 0.2; // the vault's part that allotments never touch, the default of `forebay vault deploy`
const HOURS_TO_RAISE = 0.25; // from seeing that an allotment runs low to a raise that is final on Ethereum
const HOURS_TO_REBALANCE = 24; // between two redemptions, or two rebalancings of a channel

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, column) => (column === 0 ? '---' : '--:'));
  return [line(head), `|${rule.join('|')}|`, ...rows.map(line)].join('\n');
}

const percent = (part) => `${(100 * part).toFixed(1)} %`;

// ------------------------------------------------------------------------------------------------------------- hubs

function readChannels(file) {
  const channels = new Map();
  const lines = readFileSync(file, 'utf8').trim().split('\n').slice(1);
  for (const [number, line] of lines.entries()) {
    const [left, right, capacityText] = line.split(',');
    const capacity = Number(capacityText);
    if (!(capacity > 0)) throw new Error(`${file}: line ${number + 2} has no capacity`);
    for (const node of [left, right]) {
      if (!channels.has(node)) channels.set(node, []);
      channels.get(node).push(capacity);
    }
  }
  return { channels, count: lines.length };
}

const HEADROOM = Math.sqrt(HOURS_TO_RAISE / HOURS_TO_REBALANCE); // each lane's own, as a part of its channel

// Each channel was sized by somebody for what it may have to pay out net between two rebalancings: a multiple of that flow's
// deviation. Deviations of flows with pairwise correlation rho add up to sqrt((1 - rho) sum c^2 + rho (sum c)^2).
function pooledNeed(capacities, rho) {
  const sum = capacities.reduce((total, capacity) => total + capacity, 0);
  const squares = capacities.reduce((total, capacity) => total + capacity * capacity, 0);
  const deviation = Math.sqrt((1 - rho) * squares + rho * sum * sum) / sum;
  return (deviation + HEADROOM) / (1 - FLOOR);
}

/** As many equal channels as would pool alike. */
function equalOnes(capacities) {
  const sum = capacities.reduce((total, capacity) => total + capacity, 0);
  return sum ** 2 / capacities.reduce((total, capacity) => total + capacity ** 2, 0);
}

/** The correlation from which a pool needs more than the channels: pooledNeed is 1. */
function breakEven(capacities) {
  const alone = 1 / equalOnes(capacities);
  return ((1 - FLOOR - HEADROOM) ** 2 - alone) / (1 - alone);
}

function hubs(file) {
  const { channels, count } = readChannels(file);
  const sum = (capacities) => capacities.reduce((total, capacity) => total + capacity, 0);
  const nodes = [...channels.values()].sort((a, b) => sum(b) - sum(a));
  const correlations = [0, 0.1, 0.25, 0.5, 1];
  const row = (name, capacities) => {
    const cells = correlations.map((rho) => percent(pooledNeed(capacities, rho)));
    return [name, capacities.length, (sum(capacities) / 1e8).toFixed(0), equalOnes(capacities).toFixed(1), ...cells, breakEven(capacities).toFixed(2)];
  };
  const head = ['node by capacity', 'channels', 'capacity / 10^8', 'as many equal ones', ...correlations.map((rho) => `ρ = ${rho}`), 'even at ρ ='];
  const rows = [0, 1, 2, 4, 9, 19, 49, 99].filter((rank) => rank < nodes.length).map((rank) => row(`${rank + 1}`, nodes[rank]));
  console.log(`${count} channels, ${nodes.length} nodes. Capital that a pool needs, as a part of what the channels lock:\n`);
  console.log(table(head, rows));
  const counted = nodes.filter((node) => node.length >= 10);
  const median = (figures) => figures.sort((a, b) => a - b)[Math.floor(figures.length / 2)];
  const needs = correlations.map((rho) => `${percent(median(counted.map((node) => pooledNeed(node, rho))))} at ρ = ${rho}`);
  console.log(`\nMedian of the ${counted.length} nodes with ten channels or more: ${needs.join(', ')}; even at ρ = ${median(counted.map(breakEven)).toFixed(2)}.`);
}

// ------------------------------------------------------------------------------------------------------------ flows

function randomFrom(seed) { // mulberry32
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const PACKETS_PER_DAY = 20_000;
const DAYS = 12;
const ROUTED = 0.99;

// Packets between peers whose sizes fall as 1/rank. `drift` of them go from peers of even place to peers of odd place, the rest anywhere.
function traffic(peers, drift, seed) {
  const random = randomFrom(seed);
  const weights = Array.from({ length: peers }, (_, place) => 1 / (place + 1));
  const drawn = (allowed) => {
    const total = weights.reduce((sum, weight, place) => sum + (allowed(place) ? weight : 0), 0);
    let left = random() * total;
    for (let place = 0; place < peers; place++) {
      if (!allowed(place)) continue;
      left -= weights[place];
      if (left <= 0) return place;
    }
    return allowed(peers - 1) ? peers - 1 : peers - 2;
  };
  const packets = [];
  for (let number = 0; number < PACKETS_PER_DAY * DAYS; number++) {
    const drifts = random() < drift;
    const payer = drawn((place) => !drifts || place % 2 === 0);
    const payee = drawn((place) => place !== payer && (!drifts || place % 2 === 1));
    packets.push({ payer, payee, amount: -Math.log(1 - random()) });
  }
  return { packets, weights };
}

// A channel for each peer: what it can still pay is its own, until all are rebalanced.
function routedByChannels(sizes, packets, hoursToRebalance) {
  const every = Math.round((PACKETS_PER_DAY * hoursToRebalance) / 24);
  let balances = [...sizes];
  let routed = 0;
  for (const [number, { payer, payee, amount }] of packets.entries()) {
    if (number % every === 0) balances = [...sizes];
    if (balances[payee] < amount) continue;
    balances[payee] -= amount;
    balances[payer] += amount;
    routed += amount;
  }
  return routed;
}

// What channels would need had each been sized for the most that its own peer ever received, net, between two rebalancings.
function hindsight(peers, packets) {
  const every = Math.round((PACKETS_PER_DAY * HOURS_TO_REBALANCE) / 24);
  const most = new Array(peers).fill(0);
  let received = new Array(peers).fill(0);
  for (const [number, { payer, payee, amount }] of packets.entries()) {
    if (number % every === 0) received = new Array(peers).fill(0);
    received[payer] -= amount;
    received[payee] += amount;
    most[payee] = Math.max(most[payee], received[payee]);
  }
  return most.reduce((sum, peak) => sum + peak, 0);
}

// One vault: each peer has an allotment, raised out of free money above the floor once less than half of it is left. What peers
// pay becomes free when their vouchers are redeemed, with everything else, after `hoursToRedeem`.
function routedByPool(capital, allotment, peers, packets, hoursToRedeem) {
  const raiseEvery = Math.round((PACKETS_PER_DAY * HOURS_TO_RAISE) / 24);
  const redeemEvery = Math.round((PACKETS_PER_DAY * hoursToRedeem) / 24);
  const remaining = new Array(peers).fill(0);
  const received = new Array(peers).fill(0);
  let [free, routed, raises] = [capital, 0, 0];
  for (const [number, { payer, payee, amount }] of packets.entries()) {
    if (number % redeemEvery === 0) {
      for (let peer = 0; peer < peers; peer++) {
        remaining[peer] -= Math.max(received[peer], 0);
        free += Math.max(-received[peer], 0);
        received[peer] = 0;
      }
    }
    if (number % raiseEvery === 0) {
      for (let peer = 0; peer < peers; peer++) {
        const headroom = remaining[peer] - received[peer];
        const raise = Math.min(allotment - headroom, free - FLOOR * capital);
        if (headroom >= allotment / 2 || raise < allotment / 8) continue;
        remaining[peer] += raise;
        free -= raise;
        raises++;
      }
    }
    if (remaining[payee] - received[payee] < amount) continue;
    received[payee] += amount;
    received[payer] -= amount;
    routed += amount;
  }
  return { routed, raises };
}

// The least capital with which `part(capital)` of the traffic is routed.
function leastCapital(part) {
  let [low, high] = [1, PACKETS_PER_DAY * 16];
  while (high - low > PACKETS_PER_DAY / 4000) {
    const middle = (low + high) / 2;
    if (part(middle) >= ROUTED) high = middle;
    else low = middle;
  }
  return high;
}

// The allotment is the operator's choice: the best of six, as a part of the capital that may be allotted.
function leastPool(peers, packets, offered, hoursToRedeem) {
  const tried = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8].map((share) => {
    const run = (capital) => {
      const allotment = (share * capital * (1 - FLOOR)) / Math.sqrt(peers);
      return routedByPool(capital, allotment, peers, packets, hoursToRedeem);
    };
    const least = leastCapital((capital) => run(capital).routed / offered);
    return { least, raises: run(least).raises / DAYS };
  });
  return tried.sort((a, b) => a.least - b.least)[0];
}

function flowRow(peers, drift) {
  const { packets, weights } = traffic(peers, drift, 7);
  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
  const offered = sum(packets.map((packet) => packet.amount));
  const channels = (parts, hours) => leastCapital((capital) => {
    const sizes = parts.map((part) => (capital * part) / sum(parts));
    return routedByChannels(sizes, packets, hours) / offered;
  });
  const daily = leastPool(peers, packets, offered, HOURS_TO_REBALANCE);
  const sized = channels(weights, HOURS_TO_REBALANCE);
  const capitals = [channels(weights.map(() => 1), HOURS_TO_REBALANCE), sized, hindsight(peers, packets), daily.least];
  const often = [channels(weights, 6), leastPool(peers, packets, offered, 6).least];
  const days = (capital) => (capital / PACKETS_PER_DAY).toFixed(3);
  const turnover = (PACKETS_PER_DAY / daily.least).toFixed(1);
  return [peers, percent(drift), ...capitals.map(days), percent(daily.least / sized), daily.raises.toFixed(0), turnover, ...often.map(days)];
}

function flows() {
  const head = ['peers', 'one way', 'channels, even', 'channels, sized', 'channels, hindsight', 'pool', 'pool / sized', 'raises a day', 'turnovers a day', 'sized, 6 h', 'pool, 6 h'];
  const rows = [10, 30, 100].flatMap((peers) => [0, 0.05, 0.2, 0.5].map((drift) => flowRow(peers, drift)));
  console.log(`Least capital in days of offered volume for ${percent(ROUTED)} routed; ${PACKETS_PER_DAY} packets a day, ${DAYS} days, floor ${percent(FLOOR)}:\n`);
  console.log(table(head, rows));
}

const [command, file] = process.argv.slice(2);
try {
  if (command === 'hubs' && file) hubs(file);
  else if (command === 'flows') flows();
  else throw new Error('usage: capital.cjs hubs CHANNELS.csv | capital.cjs flows');
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
