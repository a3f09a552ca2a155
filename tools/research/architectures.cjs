// Prints what docs/research/multichain-liquidity-pools/pool-architectures/architecture-comparison.md rests on: scores, how the
// ranking depends on the weights, how much capital each shape needs, and what the chain costs in a day. No dependencies, no network.
//
//   node tools/research/architectures.cjs [ranking|capital|gas]
//
// Scores and weights are judgements; they stand here once, and the document quotes them. Gas comes from contracts/evm/snapshots/.

'use strict'

const fs = require('node:fs')
const path = require('node:path')

const CRITERIA = ['capital', 'throughput', 'latency', 'security', 'complexity', 'integration', 'cost']
const WEIGHTS = { capital: 25, throughput: 10, latency: 5, security: 25, complexity: 10, integration: 15, cost: 10 }
const SCORES = {
  spoke: { capital: 9, throughput: 9, latency: 9, security: 7, complexity: 7, integration: 8, cost: 8 },
  mesh: { capital: 4, throughput: 8, latency: 5, security: 7, complexity: 4, integration: 6, cost: 4 },
  tee: { capital: 9, throughput: 7, latency: 6, security: 8, complexity: 3, integration: 6, cost: 5 }
}
const NAMES = Object.keys(SCORES)

function total (scores, weights) {
  const sum = CRITERIA.reduce((all, criterion) => all + weights[criterion], 0)
  return CRITERIA.reduce((all, criterion) => all + scores[criterion] * weights[criterion], 0) / sum
}

function best (scores, weights) {
  const totals = NAMES.map((name) => total(scores[name], weights))
  const highest = Math.max(...totals)
  const winners = NAMES.filter((_, index) => highest - totals[index] < 1e-9)
  return winners.length === 1 ? winners[0] : 'tie'
}

// All ways to give out `parts` equal parts of weight over the criteria.
function * spreads (parts, count) {
  if (count === 1) {
    yield [parts]
    return
  }
  for (let first = 0; first <= parts; first++) {
    for (const rest of spreads(parts - first, count - 1)) yield [first, ...rest]
  }
}

function asWeights (values) {
  return Object.fromEntries(CRITERIA.map((criterion, index) => [criterion, values[index]]))
}

function shares (counts) {
  const sum = Object.values(counts).reduce((all, count) => all + count, 0)
  return [...NAMES, 'tie'].map((name) => `${name} ${(100 * (counts[name] ?? 0) / sum).toFixed(1)} %`).join(', ')
}

// A linear congruential generator (Numerical Recipes): the same figures on every machine.
function generator (seed) {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 4294967296
  }
}

function ranking () {
  console.log('weighted totals, out of 10')
  for (const name of NAMES) console.log(`  ${name.padEnd(6)} ${total(SCORES[name], WEIGHTS).toFixed(2)}`)

  console.log('one criterion at 60 %, the others in proportion')
  for (const criterion of CRITERIA) {
    const scale = 40 / (100 - WEIGHTS[criterion])
    const weights = Object.fromEntries(CRITERIA.map((other) => [other, other === criterion ? 60 : WEIGHTS[other] * scale]))
    const totals = NAMES.map((name) => `${name} ${total(SCORES[name], weights).toFixed(2)}`)
    console.log(`  ${criterion.padEnd(12)} ${totals.join(', ')}`)
  }

  console.log('weight of security from which the hybrid is ahead of the spoke, the others in proportion')
  const others = CRITERIA.filter((criterion) => criterion !== 'security')
  const gap = others.reduce((all, other) => all + WEIGHTS[other] * (SCORES.spoke[other] - SCORES.tee[other]), 0) /
    (100 - WEIGHTS.security)
  for (const lead of [1, 2, 3]) console.log(`  hybrid's lead in security ${lead}: ${(100 * gap / (gap + lead)).toFixed(0)} %`)

  const grid = {}
  let points = 0
  for (const values of spreads(20, CRITERIA.length)) {
    const winner = best(SCORES, asWeights(values))
    grid[winner] = (grid[winner] ?? 0) + 1
    points++
  }
  console.log(`all weights in steps of 5 % (${points} of them): ${shares(grid)}`)

  for (const width of [1, 2, 3]) {
    const random = generator(20261126)
    const counts = {}
    for (let draw = 0; draw < 100000; draw++) {
      const moved = Object.fromEntries(NAMES.map((name) => [name, Object.fromEntries(CRITERIA.map((criterion) => {
        const score = SCORES[name][criterion] + Math.floor(random() * (2 * width + 1)) - width
        return [criterion, Math.min(10, Math.max(0, score))]
      }))]))
      const cuts = CRITERIA.map(() => -Math.log(1 - random()))
      const winner = best(moved, asWeights(cuts))
      counts[winner] = (counts[winner] ?? 0) + 1
    }
    console.log(`random weights, every score off by up to ${width}: ${shares(counts)}`)
  }
}

// Capital for net flows of each peer with mean 0 and deviation 1 in a day, independent, all covered but for one day in a thousand. What lies
// in allotments need only last until the next raise; what lies free is shared by all. Gas is the upper bound: all raised every time, in batches of 20.
function capital () {
  const z = 3.0902
  const floor = 0.2
  const raise = snapshots()['raise, 20'] / 20
  console.log("in standard deviations of one peer's net flow in a day; z = 3.0902, a floor of 20 %")
  console.log('peers | raised every | pool | per-peer channels | mesh of 2 hops | channels / pool | gas a day for raises')
  for (const peers of [5, 20, 100]) {
    for (const hours of [0.25, 1, 4, 12]) {
      const pool = z * (Math.sqrt(peers) + peers * Math.sqrt(hours / 24)) / (1 - floor)
      const separate = peers * z
      const figures = [pool.toFixed(1), separate.toFixed(1), (2 * separate).toFixed(1), (separate / pool).toFixed(2)]
      console.log([peers, `${hours} h`, ...figures, Math.round(24 / hours * peers * raise)].join(' | '))
    }
  }
}

function snapshots () {
  const file = path.join(__dirname, '../../contracts/evm/snapshots/VaultEth.json')
  return Object.fromEntries(Object.entries(JSON.parse(fs.readFileSync(file, 'utf8'))).map(([name, value]) => [name, Number(value)]))
}

function gas () {
  const costs = snapshots()
  const peers = 20
  const lines = [
    ['vouchers to peers, one batch a day to 20 peers', costs['redeem to 20 peers, 20 in one']],
    ['vouchers to the pool, one batch a day', costs['redeem to pool, 20 in one']],
    ['allotments raised, two batches of 20 a day', 2 * costs['raise, 20']],
    ['note index raised every hour (the default)', 24 * costs.accrue],
    ['heartbeat, every ten days', costs.heartbeat / 10]
  ]
  const day = lines.reduce((all, [, value]) => all + value, 0)
  console.log(`a pool of one ETH vault and ${peers} peers, gas a day`)
  for (const [name, value] of lines) console.log(`  ${String(Math.round(value)).padStart(9)}  ${(100 * value / day).toFixed(0).padStart(3)} %  ${name}`)
  console.log(`  ${String(Math.round(day)).padStart(9)}  100 %  in all; ${(day - 23 * costs.accrue).toFixed(0)} with the index raised once a day`)
  for (const gwei of [1, 5, 50]) {
    const ether = 30 * day * gwei / 1e9
    console.log(`  30 days at ${gwei} gwei: ${ether.toFixed(3)} ETH`)
  }
}

const PARTS = { ranking, capital, gas }
const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !(name in PARTS))
if (unknown.length > 0) {
  console.error(`not a part: ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`)
  process.exit(1)
}
for (const name of wanted.length > 0 ? wanted : Object.keys(PARTS)) {
  console.log(`# ${name}`)
  PARTS[name]()
}
