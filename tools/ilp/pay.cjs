'use strict'
// Pays an amount with @interledger/pay, which quotes, probes the rate and enforces it; prints what came of it.
//   node pay.cjs <endpoint, see plugin.cjs> <destination account> <shared secret, base64> <amount> <prices as JSON>
require('./node20-shim.cjs')
const { setupPayment, startQuote, pay, closeConnection } = require('@interledger/pay')
const ildcp = require('ilp-protocol-ildcp')
const open = require('./plugin.cjs')

const say = (object) => process.stdout.write(JSON.stringify(object) + '\n')
const [endpoint, destinationAddress, secret, amountToSend, prices] = process.argv.slice(2)

async function main () {
  const plugin = open(endpoint)
  await plugin.connect()
  const sharedSecret = Buffer.from(secret, 'base64')
  const destination = await setupPayment({ plugin, destinationAddress, sharedSecret })
  const account = await ildcp.fetch((data) => plugin.sendData(data))
  const sourceAsset = { code: account.assetCode, scale: account.assetScale }
  const quote = await startQuote({ plugin, destination, sourceAsset, amountToSend, prices: JSON.parse(prices), slippage: 0.02 })
  const paid = await pay({ plugin, destination, quote })
  await closeConnection(plugin, destination)
  say({
    sent: paid.amountSent.toString(),
    delivered: paid.amountDelivered.toString(),
    least_expected: quote.minDeliveryAmount.toString(),
    error: paid.error || null,
    last: true
  })
  process.exit(paid.error ? 1 : 0)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
