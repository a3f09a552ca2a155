#!/usr/bin/env node
// Weighs the scores of the comparison matrix, and asks how much one line has to weigh until ours is not first.
//   node tools/research/matrix.cjs
// Scores are judgements, 0 to 3, written down here and in the document; what this program adds is the sums.
'use strict';

const SYSTEMS = ['Lightning', 'Raiden', 'Vector', 'go-nitro', 'Nitrolite', 'Perun', 'Solana p-c', 'ours'];
const OURS = SYSTEMS.indexOf('ours');
const LINES = [
  ['capital efficiency', 4, [1, 1, 1, 2, 2, 1, 1, 3]],
  ['safety of an absent party (old states, watching)', 4, [1, 2, 2, 2, 2, 2, 3, 3]],
  ['maturity, audits, users', 3, [3, 1, 1, 0, 2, 1, 2, 0]],
  ['cost of a redemption and of closes', 3, [2, 1, 1, 2, 0, 1, 3, 2]],
  ['throughput shown by a measurement', 2, [1, 1, 0, 0, 0, 0, 0, 3]],
  ['cost of opening', 1, [3, 1, 1, 3, 0, 3, 2, 1]],
  ['several LPs', 2, [0, 0, 0, 0, 0, 0, 0, 3]],
  ['reach to other chains', 1, [0, 0, 2, 0, 2, 2, 0, 1]],
];
const WEIGHT_MAX = 60;

/** Sums by system, where `weigh` says what a line weighs. */
function sums(weigh) {
  return SYSTEMS.map((_, system) => LINES.reduce((sum, line, at) => sum + weigh(at) * line[2][system], 0));
}

const stated = (at) => LINES[at][1];
const row = (cells) => `| ${cells.join(' | ')} |`;

console.log(row(['line', 'weight', ...SYSTEMS]));
console.log(`|---|${'--:|'.repeat(SYSTEMS.length + 1)}`);
for (const [name, weight, scores] of LINES) console.log(row([name, weight, ...scores]));
const weights = LINES.reduce((sum, line) => sum + line[1], 0);
console.log(row([`sum of ${3 * weights}`, weights, ...sums(stated)]));

console.log('\none line made heavier, the others as they are: the weight at which ours is not first');
for (const [at, [name]] of LINES.entries()) {
  let weight = LINES[at][1];
  const raised = (line) => (line === at ? weight : stated(line));
  while (weight <= WEIGHT_MAX && Math.max(...sums(raised)) === sums(raised)[OURS]) weight += 1;
  const found = sums(raised).map((sum, system) => `${SYSTEMS[system]} ${sum}`).join(', ');
  console.log(weight > WEIGHT_MAX ? `  ${name}: never` : `  ${name}: ${weight} (${found})`);
}

const MATURITY = 2;
const halved = sums((at) => (at === MATURITY ? 10 : stated(at) / 2));
console.log('\nmaturity at 10, the rest halved');
console.log(`  ${SYSTEMS.map((name, system) => `${name} ${halved[system].toFixed(1)}`).join(', ')}`);
