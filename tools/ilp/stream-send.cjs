'use strict'
// Pays an amount by STREAM over a link. When a connection dies, as it does on a lost link or an R00, or stands still,
// as it does on a fulfill whose data was lost, a new one pays the rest. Prints its running total on each line fed to its standard input, and at the end.
//   node stream-send.cjs <endpoint, see plugin.cjs> <destination account> <shared secret, base64> <amount>
require('./node20-shim.cjs')
const { createConnection } = require('ilp-protocol-stream')
const open = require('./plugin.cjs')

const say = (object) => process.stdout.write(JSON.stringify(object) + '\n')
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const [url, destinationAccount, secret, amountText] = process.argv.slice(2)
const total = BigInt(amountText)
const PATIENCE_MS = 60000
// Longer than any packet of a STREAM connection lives.
const STILL_MAX_MS = 32000

let done = 0n
let delivered = 0n
let connections = 0
let current = null

const sent = () => done + (current ? BigInt(current.totalSent) : 0n)

async function payRest () {
  connections += 1
  // A STREAM connection takes its plugin along when it ends.
  const plugin = open(url)
  await plugin.connect()
  const connection = await createConnection({
    plugin,
    destinationAccount,
    sharedSecret: Buffer.from(secret, 'base64'),
    slippage: 0.05
  })
  current = connection
  let stillness = null
  try {
    const stream = connection.createStream()
    const died = new Promise((resolve) => {
      connection.on('error', resolve)
      connection.on('close', resolve)
      stream.on('error', resolve)
    })
    const paid = new Promise((resolve, reject) => {
      stream.sendTotal((total - done).toString(), { timeout: PATIENCE_MS }).then(resolve, reject)
    })
    let seen = { total: connection.totalSent, at: Date.now() }
    stillness = setInterval(() => {
      if (connection.totalSent !== seen.total) seen = { total: connection.totalSent, at: Date.now() }
      else if (Date.now() - seen.at > STILL_MAX_MS) connection.destroy(new Error('nothing moves'))
    }, 1000)
    await Promise.race([paid, died.then((error) => { throw error || new Error('the connection closed') })])
  } finally {
    clearInterval(stillness)
    done += BigInt(connection.totalSent)
    delivered += BigInt(connection.totalDelivered)
    current = null
    await Promise.race([connection.end().catch(() => {}), pause(1000)])
    await connection.destroy().catch(() => {})
  }
}

async function main () {
  process.stdin.on('data', () => say({ sent: sent().toString(), connections }))
  process.stdin.on('end', () => process.exit(1))
  const until = Date.now() + 2 * PATIENCE_MS
  while (done < total && Date.now() < until) {
    try {
      await payRest()
    } catch (error) {
      console.error(`connection ${connections} ended after ${done} of ${total}: ${error.message || error}`)
      await pause(300)
    }
  }
  say({ sent: done.toString(), delivered: delivered.toString(), connections, last: true })
  process.exit(done >= total ? 0 : 1)
}

process.on('unhandledRejection', (error) => console.error(`unhandled: ${error && error.message}`))
main().catch((error) => {
  console.error(error)
  process.exit(1)
})
