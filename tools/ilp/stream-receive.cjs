'use strict'
// A STREAM server behind a link: prints where to pay as one JSON line, then one line with its total whenever a
// connection ends, and a last one when it is asked to stop (SIGTERM, or its standard input closes).
//   node stream-receive.cjs <endpoint, see plugin.cjs>
require('./node20-shim.cjs')
const { createServer } = require('ilp-protocol-stream')
const open = require('./plugin.cjs')

const say = (object) => process.stdout.write(JSON.stringify(object) + '\n')

async function main () {
  const plugin = open(process.argv[2])
  await plugin.connect()
  const server = await createServer({ plugin })
  let received = 0n
  let packets = 0
  server.on('connection', (connection) => {
    connection.on('stream', (stream) => {
      stream.setReceiveMax('18446744073709551615')
      stream.on('money', (amount) => {
        received += BigInt(amount)
        packets += 1
      })
    })
    connection.on('error', () => {})
  })
  const { destinationAccount, sharedSecret } = server.generateAddressAndSecret()
  say({ destination_account: destinationAccount, shared_secret: sharedSecret.toString('base64') })
  process.stdin.on('data', () => say({ received: received.toString(), packets }))
  const stop = () => {
    say({ received: received.toString(), packets, last: true })
    process.exit(0)
  }
  process.stdin.on('end', stop)
  process.on('SIGTERM', stop)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
