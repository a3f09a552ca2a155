#!/usr/bin/env node
// Writes spec/vectors/evm-digests.json: EIP-712 digests and signatures of every struct type of the vault, made by ethers,
// which nobody here wrote. Rust and Solidity read the file and must come to the same bytes.
//   node tools/evm/digests.cjs [OUTPUT FILE]
'use strict';
const { writeFileSync } = require('node:fs');
const path = require('node:path');
const { Signature, SigningKey, TypedDataEncoder, Wallet, computeAddress, id, version } = require('ethers');

const TYPES = {
  Voucher: [['uint64', 'serial'], ['uint8', 'lane'], ['uint128', 'amount']],
  Release: [['uint64', 'serial'], ['uint8', 'lane'], ['uint128', 'ceiling'], ['uint16', 'nonce']],
  NetOff: [['uint64', 'serial'], ['uint128', 'poolPaid'], ['uint128', 'peerPaid'], ['uint128', 'amount']],
  CoopClose: [['uint64', 'serial'], ['uint128', 'poolPaid'], ['uint128', 'peerPaid']],
  KeyChange: [['uint64', 'serial'], ['uint8', 'lane'], ['address', 'signer'], ['uint16', 'nonce']],
  ShareExit: [['address', 'holder'], ['uint128', 'units'], ['uint128', 'amount'], ['uint64', 'nonce'], ['uint40', 'validUntil']],
  CosignedRaise: [['uint64', 'serial'], ['uint128', 'amount'], ['uint40', 'termEnd'], ['uint64', 'nonce'], ['uint40', 'validUntil']],
  Freeze: [['uint40', 'until']],
  MarkDown: [['uint128', 'index'], ['uint64', 'nonce'], ['uint40', 'validUntil']],
};

// What only a pool and a peer show each other; no contract reads it.
const OFF_CHAIN_TYPES = { PeerKeys: [['address', 'signer'], ['address', 'payout']] };

// Test keys: keccak256 of a text, so that everybody sees that they guard nothing.
const keys = Object.fromEntries(['pool', 'peer', 'operator', 'member'].map((name) => {
  const privateKey = id(`forebay test key: ${name}`);
  return [name, { privateKey, address: computeAddress(privateKey) }];
}));

const DOMAINS = [
  ['1', '0x1111111111111111111111111111111111111111'],
  ['1', '0x00000000000000000000000000000000000000ff'],
  ['31337', '0x5FbDB2315678afecb367f032d93F642f64180aa3'],
  ['42161', '0xdEADBEeF00000000000000000000000000000000'],
  ['9007199254740993', '0x1111111111111111111111111111111111111111'],
];
const U16 = (1n << 16n) - 1n, U40 = (1n << 40n) - 1n, U64 = (1n << 64n) - 1n, U128 = (1n << 128n) - 1n;

const MESSAGES = [
  ['Voucher', 'pool', { serial: 1n, lane: 0n, amount: 1n }],
  ['Voucher', 'peer', { serial: 1n, lane: 1n, amount: 1n }],
  ['Voucher', 'pool', { serial: 2n, lane: 0n, amount: 1_000_000_000_000_000_000n }],
  ['Voucher', 'peer', { serial: U64, lane: 1n, amount: U128 }],
  ['Release', 'peer', { serial: 1n, lane: 0n, ceiling: 0n, nonce: 0n }],
  ['Release', 'pool', { serial: U64, lane: 1n, ceiling: U128, nonce: U16 }],
  ['NetOff', 'pool', { serial: 7n, poolPaid: 10n, peerPaid: 20n, amount: 30n }],
  ['NetOff', 'peer', { serial: U64, poolPaid: U128, peerPaid: 0n, amount: U128 }],
  ['CoopClose', 'pool', { serial: 7n, poolPaid: 10n, peerPaid: 20n }],
  ['CoopClose', 'peer', { serial: U64, poolPaid: 0n, peerPaid: U128 }],
  ['KeyChange', 'peer', { serial: 7n, lane: 0n, signer: '0x2222222222222222222222222222222222222222', nonce: 1n }],
  ['KeyChange', 'pool', { serial: U64, lane: 1n, signer: '0xffffffffffffffffffffffffffffffffffffffff', nonce: U16 }],
  ['ShareExit', 'operator', { holder: '0x3333333333333333333333333333333333333333', units: 5n, amount: 6n, nonce: 0n, validUntil: 1_800_000_000n }],
  ['ShareExit', 'operator', { holder: '0xffffffffffffffffffffffffffffffffffffffff', units: U128, amount: U128, nonce: U64, validUntil: U40 }],
  ['CosignedRaise', 'member', { serial: 7n, amount: 8n, termEnd: 1_800_000_001n, nonce: 9n, validUntil: 1_800_000_000n }],
  ['CosignedRaise', 'member', { serial: U64, amount: U128, termEnd: U40, nonce: U64, validUntil: U40 }],
  ['Freeze', 'member', { until: 1_800_000_000n }],
  ['Freeze', 'member', { until: U40 }],
  ['MarkDown', 'member', { index: 999_999_999_999_999_999_999_999_999n, nonce: 1n, validUntil: 1_800_000_000n }],
  ['MarkDown', 'member', { index: U128, nonce: U64, validUntil: U40 }],
];

const OFF_CHAIN_MESSAGES = [
  ['PeerKeys', 'peer', { signer: keys.peer.address, payout: '0x4444444444444444444444444444444444444444' }],
];

const shape = (type) => TYPES[type] ?? OFF_CHAIN_TYPES[type];
const fields = (type) => ({ [type]: shape(type).map(([t, name]) => ({ type: t, name })) });
const named = (types) => Object.fromEntries(Object.keys(types).map((type) => {
  const encodeType = TypedDataEncoder.from(fields(type)).encodeType(type);
  return [type, { encodeType, typehash: id(encodeType) }];
}));
const plain = (value) => (typeof value === 'bigint' ? value.toString() : value.toLowerCase());

async function vector(type, signer, message, domain) {
  const digest = TypedDataEncoder.hash(domain, fields(type), message);
  const wallet = new Wallet(keys[signer].privateKey);
  const signature = Signature.from(await wallet.signTypedData(domain, fields(type), message));
  const direct = new SigningKey(keys[signer].privateKey).sign(digest);
  if (direct.serialized !== signature.serialized) throw new Error('two ways of signing disagree');
  return {
    type,
    chainId: domain.chainId.toString(),
    contract: domain.verifyingContract.toLowerCase(),
    message: Object.fromEntries(shape(type).map(([, name]) => [name, plain(message[name])])),
    structHash: TypedDataEncoder.hashStruct(type, fields(type), message),
    digest,
    signer,
    signature: signature.serialized,
    r: signature.r,
    vs: signature.yParityAndS,
  };
}

async function main() {
  const domains = DOMAINS.map(([chainId, verifyingContract]) => ({
    name: 'Forebay Vault', version: '1', chainId: BigInt(chainId), verifyingContract: verifyingContract.toLowerCase(),
  }));
  const [vectors, offChain] = [[], []];
  for (const domain of domains) {
    for (const [type, signer, message] of MESSAGES) vectors.push(await vector(type, signer, message, domain));
    for (const [type, signer, message] of OFF_CHAIN_MESSAGES) offChain.push(await vector(type, signer, message, domain));
  }
  const file = {
    source: `npm ethers ${version}, TypedDataEncoder and SigningKey (RFC 6979), by tools/evm/digests.cjs`,
    name: 'Forebay Vault',
    version: '1',
    keys,
    types: named(TYPES),
    offChainTypes: named(OFF_CHAIN_TYPES),
    domains: domains.map((domain) => ({
      chainId: domain.chainId.toString(),
      contract: domain.verifyingContract,
      separator: TypedDataEncoder.hashDomain(domain),
    })),
    count: vectors.length,
    vectors,
    offChain,
  };
  const target = process.argv[2] ?? path.join(__dirname, '../../spec/vectors/evm-digests.json');
  writeFileSync(target, JSON.stringify(file, null, 1) + '\n');
}

main();
