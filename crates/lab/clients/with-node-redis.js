// Writes through a gateway with node-redis, and reads again what it wrote, until its input ends:
// `with-node-redis.js HOST PORT`.
//
// Each line of input, and its end, is answered with one line of JSON: what was done and seen so far. A connection that the
// library loses counts as an error, even if it opens another one.

'use strict';

// The library then says what it was told; to be set before it is loaded.
process.env.REDIS_EMIT_DIAGNOSTICS = '1';

const diagnostics = require('node:diagnostics_channel');
const readline = require('node:readline');
const { setTimeout: pause } = require('node:timers/promises');
const { createClient } = require('redis');
const { version } = require('redis/package.json');

const CLIENTS = 4;
const WORKERS = 2;
// As in a program that has something else to do, too.
const PAUSE_MS = 1;

const account = { library: `node-redis ${version}`, commands: 0, longest_ms: 0, errors: [], notifications: {} };
let stops = false;

function failed(error) {
  account.errors.push(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
}

diagnostics.subscribe('redis.maintenance', ({ type }) => {
  account.notifications[type] = (account.notifications[type] ?? 0) + 1;
});

async function timed(command) {
  const begun = performance.now();
  const answer = await command();
  account.commands += 1;
  account.longest_ms = Math.max(account.longest_ms, Math.round(performance.now() - begun));
  return answer;
}

async function work(client, key) {
  for (let value = 1; !stops; value += 1) {
    try {
      await timed(() => client.set(key, value));
      const answer = await timed(() => client.get(key));
      if (answer !== String(value)) {
        failed(`${key} is ${answer} instead of ${value}`);
      }
    } catch (error) {
      failed(error);
    }
    await pause(PAUSE_MS);
  }
}

async function main(host, port) {
  const clients = Array.from({ length: CLIENTS }, () =>
    createClient({ RESP: 3, socket: { host, port: Number(port) }, maintNotifications: 'enabled' }),
  );
  for (const client of clients) {
    client.on('error', failed);
    await client.connect();
  }
  const work_of = (client, number) =>
    Array.from({ length: WORKERS }, (_, worker) => work(client, `node-redis:${number}:${worker}`));
  const workers = clients.flatMap(work_of);
  for await (const _ of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(account));
  }
  stops = true;
  await Promise.all(workers);
  await Promise.all(clients.map((client) => client.close()));
  console.log(JSON.stringify(account));
}

main(...process.argv.slice(2));
