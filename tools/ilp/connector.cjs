'use strict'
// Runs npm's ilp-connector with the configuration given as JSON; prints a line once it listens. Ends with its standard input.
//   node connector.cjs <configuration>
require('./loopback.cjs')
const createApp = require('ilp-connector').createApp

const app = createApp(JSON.parse(process.argv[2]))
app.listen()
  .then(() => process.stdout.write(JSON.stringify({ listening: true }) + '\n'))
  .catch((error) => {
    console.error(error)
    process.exit(1)
  })
process.stdin.on('end', () => process.exit(0))
process.stdin.resume()
process.on('unhandledRejection', (error) => console.error(`unhandled: ${error && error.message}`))
