#!/usr/bin/env node
// Draws the report's charts from what other commands print and from committed data. No dependencies, no network.
//
//   node tools/research/charts.cjs            writes the SVG files into the report
//   node tools/research/charts.cjs --check    fails when one of them would change
'use strict'

const { execFileSync } = require('node:child_process')
const { readFileSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')

const ROOT = join(__dirname, '../..')
const REPORT = join(ROOT, 'docs/research/multichain-liquidity-pools')
const INK = '#1f2933'
const PALE = '#c3ccd5'
// Told apart without colour too: each line and each bar has its name or its number beside it.
const COLOURS = ['#0b6e99', '#b3541e', '#5b3e8f']
const OURS = '#0b6e99'
const OTHERS = '#8795a1'

const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ',')
const escaped = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;')

function text (x, y, content, { size = 13, anchor = 'start', colour = INK, weight = 'normal' } = {}) {
  const style = `font-size="${size}" text-anchor="${anchor}" fill="${colour}" font-weight="${weight}"`
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${style}>${escaped(content)}</text>`
}

function line (x1, y1, x2, y2, colour, { width = 1, dash = 'none' } = {}) {
  const ends = `x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}"`
  return `<line ${ends} stroke="${colour}" stroke-width="${width}" stroke-dasharray="${dash}"/>`
}

function drawing (width, height, title, parts) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(16, 26, title, { size: 15, weight: 'bold' }),
    ...parts,
    '</svg>',
    ''
  ].join('\n')
}

// Channels' capital over the pool's, by the time between raises.
function capital () {
  const printed = execFileSync('node', [join(__dirname, 'architectures.cjs'), 'capital'], { encoding: 'utf8' })
  const rows = printed.split('\n').filter((row) => /^\d/.test(row)).map((row) => row.split('|').map((cell) => parseFloat(cell)))
  const [left, right, top, bottom, highest] = [60, 640, 50, 320, 4]
  const x = (hours) => left + (right - left) * Math.log(hours / 0.25) / Math.log(48)
  const y = (ratio) => bottom - (bottom - top) * ratio / highest
  const parts = []
  for (let ratio = 0; ratio <= highest; ratio++) {
    parts.push(line(left, y(ratio), right, y(ratio), PALE), text(left - 8, y(ratio) + 4, `${ratio}`, { anchor: 'end' }))
  }
  for (const [hours, name] of [[0.25, '15 min'], [1, '1 h'], [4, '4 h'], [12, '12 h']]) {
    parts.push(text(x(hours), bottom + 20, name, { anchor: 'middle' }))
  }
  parts.push(text((left + right) / 2, bottom + 42, 'time between raises of an allotment', { anchor: 'middle' }))
  parts.push(line(left, y(1), right, y(1), INK, { dash: '5 4' }), text(left + 6, y(1) + 17, 'below: channels need less than the pool', { size: 12 }))
  for (const [index, peers] of [100, 20, 5].entries()) {
    const points = rows.filter((row) => row[0] === peers).map((row) => [x(row[1]), y(row[5])])
    const path = points.map((point) => point.map((part) => part.toFixed(1)).join(',')).join(' ')
    parts.push(`<polyline points="${path}" fill="none" stroke="${COLOURS[index]}" stroke-width="2.5"/>`)
    for (const [px, py] of points) parts.push(`<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="3.5" fill="${COLOURS[index]}"/>`)
    const [endX, endY] = points[points.length - 1]
    const apart = [-8, 4, 14][index]
    parts.push(text(endX + 10, endY + apart, `${peers} peers`, { colour: COLOURS[index], weight: 'bold' }))
  }
  return drawing(740, 380, 'Capital of per-peer channels over that of a pool, floor 20 % (estimate)', parts)
}

// Ours beside others, operation by operation.
function gas () {
  const ours = JSON.parse(readFileSync(join(ROOT, 'contracts/evm/snapshots/VaultEth.json'), 'utf8'))
  const of = (...names) => names.reduce((sum, name) => sum + Number(ours[name]), 0)
  const sums = {
    'open, both sides funded': of('open with allotment', 'deposit, first'),
    'voucher or checkpoint': of('redeem to peer, 1'),
    'both close at once': of('close together'),
    'one side alone, all of it': of('start close', 'redeem to peer, 1', 'redeem to pool, 1', 'finish close')
  }
  const others = JSON.parse(readFileSync(join(__dirname, 'gas-of-others.json'), 'utf8'))
  const [left, widest, scale] = [110, 520, 567668]
  const parts = []
  let y = 60
  for (const [operation, values] of Object.entries(others.lines)) {
    parts.push(text(16, y, operation, { weight: 'bold' }))
    y += 8
    for (const [index, value] of [sums[operation], ...values].entries()) {
      const name = index === 0 ? 'ours' : others.systems[index - 1]
      const width = value === null ? 0 : widest * value / scale
      parts.push(text(left - 8, y + 12, name, { anchor: 'end', size: 12 }))
      parts.push(`<rect x="${left}" y="${y + 1}" width="${width.toFixed(1)}" height="14" fill="${index === 0 ? OURS : OTHERS}"/>`)
      parts.push(text(left + width + 6, y + 12, value === null ? 'n.f.' : grouped(value), { size: 12 }))
      y += 18
    }
    y += 26
  }
  return drawing(740, y - 10, 'Gas of whole transactions, native coin (Raiden: ERC-20)', parts)
}

const CHARTS = { 'pool-architectures/capital.svg': capital, 'payment-channels/gas.svg': gas }
const [mode] = process.argv.slice(2)
if (mode !== undefined && mode !== '--check') {
  console.error(`not a mode: ${mode}; there is --check`)
  process.exit(1)
}
let stale = 0
for (const [name, draw] of Object.entries(CHARTS)) {
  const file = join(REPORT, name)
  const drawn = draw()
  if (mode === undefined) {
    writeFileSync(file, drawn)
  } else if (readFileSync(file, 'utf8') !== drawn) {
    console.error(`${name} is not what its data say: run node tools/research/charts.cjs`)
    stale += 1
  }
}
process.exit(stale === 0 ? 0 : 1)
