#!/usr/bin/env node
// Builds the contracts from an empty directory and writes one JSON file a contract, byte for byte the same everywhere:
//   node tools/evm/artifacts.cjs [OUTPUT DIRECTORY]        (default: contracts/evm/artifacts)
// To check the committed ones, give it a fresh directory and compare the files.
'use strict';
const { execFileSync } = require('node:child_process');
const { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const CONTRACTS = [
  ['Vault', 'src/Vault.sol'],
  ['TestToken', 'test/TestToken.sol'],
];

// EIP-170: what a contract's code may be.
const CODE_SIZE_MAX = 24576;

const root = path.join(__dirname, '../../contracts/evm');
const forge = process.env.FORGE ?? path.join(__dirname, 'node_modules/@foundry-rs/forge-linux-amd64/bin/forge');

function artifact(out, name, source) {
  const built = JSON.parse(readFileSync(path.join(out, path.basename(source), `${name}.json`), 'utf8'));
  const size = (built.deployedBytecode.object.length - 2) / 2;
  if (size > CODE_SIZE_MAX) throw new Error(`${name} has ${size} bytes, more than the ${CODE_SIZE_MAX} of EIP-170`);
  return {
    contractName: name,
    source,
    solc: require('solc').version(),
    settings: { evmVersion: 'cancun', optimizerRuns: 200, viaIR: false, bytecodeHash: 'none', cborMetadata: false },
    abi: built.abi,
    bytecode: built.bytecode.object,
    deployedBytecode: built.deployedBytecode.object,
    // Where the constructor writes parameters into the code: [{start, length}, …], to be masked before code is compared.
    immutableReferences: Object.values(built.deployedBytecode.immutableReferences ?? {})
      .flat()
      .sort((a, b) => a.start - b.start),
  };
}

const target = path.resolve(process.argv[2] ?? path.join(root, 'artifacts'));
const scratch = mkdtempSync(path.join(os.tmpdir(), 'forebay-artifacts-'));
try {
  const sources = CONTRACTS.map(([, source]) => source);
  const out = path.join(scratch, 'out');
  execFileSync(forge, ['build', '--out', out, '--cache-path', path.join(scratch, 'cache'), ...sources], {
    cwd: root, // foundry.toml names the compiler relative to it
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  mkdirSync(target, { recursive: true });
  for (const [name, source] of CONTRACTS) {
    writeFileSync(path.join(target, `${name}.json`), JSON.stringify(artifact(out, name, source), null, 1) + '\n');
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
