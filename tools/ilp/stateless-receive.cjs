'use strict'
// A receiver of @interledger/stream-receiver, which keeps no connections, behind a link: prints where to pay, and its total
// when its standard input closes.
//   node stateless-receive.cjs <endpoint, see plugin.cjs>
require('./node20-shim.cjs')
const { randomBytes } = require('crypto')
const ildcp = require('ilp-protocol-ildcp')
const { deserializeIlpPrepare, isIlpReply, serializeIlpReply } = require('ilp-packet')
const { StreamServer } = require('@interledger/stream-receiver')
const open = require('./plugin.cjs')

const say = (object) => process.stdout.write(JSON.stringify(object) + '\n')

async function main () {
  const plugin = open(process.argv[2])
  let server = null
  let received = 0n
  let packets = 0
  plugin.registerDataHandler(async (data) => {
    const prepare = deserializeIlpPrepare(data)
    const money = server.createReply(prepare)
    if (isIlpReply(money)) return serializeIlpReply(money)
    received += BigInt(prepare.amount)
    packets += 1
    money.setTotalReceived(received.toString())
    return serializeIlpReply(money.accept())
  })
  await plugin.connect()
  const account = await ildcp.fetch((data) => plugin.sendData(data))
  server = new StreamServer({ serverSecret: randomBytes(32), serverAddress: account.clientAddress })
  const { ilpAddress, sharedSecret } = server.generateCredentials({ asset: { code: account.assetCode, scale: account.assetScale } })
  say({ destination_account: ilpAddress, shared_secret: sharedSecret.toString('base64') })
  process.stdin.on('end', () => {
    say({ received: received.toString(), packets, last: true })
    process.exit(0)
  })
  process.stdin.resume()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
