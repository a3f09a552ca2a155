#!/usr/bin/env node
// The compiler that forge calls. It answers the only two things forge asks of a `solc`, --version and --standard-json,
// with the pinned npm package, so that no compiler is ever downloaded outside package-lock.json.
'use strict';
const { readFileSync } = require('node:fs');
const solc = require('solc');

const asked = process.argv.slice(2);
if (asked.includes('--version')) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else if (asked.includes('--standard-json')) {
  process.stdout.write(solc.compile(readFileSync(0, 'utf8')));
} else {
  console.error('solc.cjs answers only --version and --standard-json');
  process.exit(1);
}
