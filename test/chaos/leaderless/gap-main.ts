// `npm run gap`: the longest time without an answer, for any key and any caller, while one of three servers is killed, suspended or cut off.
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { cart, cas, lww, quorum } from '../../../src/leaderless/index.ts';
import { IndependentServers } from '../../integration/leaderless/servers.ts';
import { suspended } from './faults.ts';
import { Partition } from './partition.ts';

const { values } = parseArgs({
  options: { callers: { type: 'string', default: '64' }, json: { type: 'boolean', default: false } },
});
const BEFORE_MS = 3_000;
const FAULT_MS = 5_000;
const callers = Number(values.callers);

await using servers = await IndependentServers.start();
await (await servers.quorum()).close();
await using stack = new AsyncDisposableStack();
const links = await Promise.all(servers.servers.map(({ url }) => Partition.before(url)));
for (const link of links) stack.use(link);
const opened = await quorum({ nodes: links.map(({ url }, index) => ({ name: `q${index + 1}`, url })) });
stack.defer(() => opened.close());
const prefs = opened.collection('prefs', lww<number>());
const carts = opened.collection('carts', cart());
const counters = opened.collection('counters', cas<number>());

/** Of what was answered since the last look: the longest pause of any caller, and how much it was. */
interface Pause {
  longestMs: number;
  answers: number;
  failures: number;
  /** By how much this process's own timers were late: what the machine lacks, not the servers. */
  lateMs: number;
}
let pause: Pause = { longestMs: 0, answers: 0, failures: 0, lateMs: 0 };
const lastAt = new Map<number, number>();
let isOver = false;

async function call(caller: number): Promise<void> {
  const key = `k${caller}`;
  const work = [
    () => prefs.put(key, caller),
    () => prefs.get(key),
    () => carts.add(key, { sku: 1, quantity: 1 }),
    () => counters.update(key, (value = 0) => value + 1),
    () => counters.get(key),
  ];
  lastAt.set(caller, performance.now());
  for (let turn = caller; !isOver; turn++) {
    await (work[turn % work.length] ?? work[0])?.().catch(() => (pause.failures += 1));
    const now = performance.now();
    pause.longestMs = Math.max(pause.longestMs, now - (lastAt.get(caller) ?? now));
    pause.answers += 1;
    lastAt.set(caller, now);
  }
}

/** What is under way still counts. */
function take(): Pause {
  const now = performance.now();
  for (const at of lastAt.values()) pause.longestMs = Math.max(pause.longestMs, now - at);
  const taken = pause;
  pause = { longestMs: 0, answers: 0, failures: 0, lateMs: 0 };
  for (const caller of lastAt.keys()) lastAt.set(caller, now);
  return taken;
}

async function watchTimers(): Promise<void> {
  while (!isOver) {
    const at = performance.now();
    await delay(10);
    pause.lateMs = Math.max(pause.lateMs, performance.now() - at - 10);
  }
}

const running = Promise.all([watchTimers(), ...Array.from({ length: callers }, (_, index) => call(index))]);
const faults: Readonly<Record<string, () => Promise<void>>> = {
  killed: async () => {
    await servers.kill('q1');
    await delay(FAULT_MS);
    await servers.restart('q1');
  },
  suspended: () => suspended(servers.dataDir('q2'), () => delay(FAULT_MS)),
  'cut off': async () => {
    links[2]?.cut();
    await delay(FAULT_MS);
    links[2]?.mend();
  },
};
const rows: (Pause & { readonly what: string })[] = [];
await delay(2_000);
for (const [name, strike] of Object.entries(faults)) {
  take();
  await delay(BEFORE_MS);
  rows.push({ what: 'all three up', ...take() });
  await strike();
  rows.push({ what: `one ${name}`, ...take() });
  const endsAt = performance.now() + 30_000;
  while (opened.status().nodes.some(({ state }) => state !== 'up') && performance.now() < endsAt)
    await delay(50);
}
isOver = true;
await running;
process.stdout.write(
  values.json
    ? `${JSON.stringify({ callers, rows }, null, 2)}\n`
    : `${rows.map(({ what, longestMs, answers, failures, lateMs }) => `${what.padEnd(16)} longest pause ${longestMs.toFixed(0)} ms, ${answers} answers, ${failures} failures, own timers late by ${lateMs.toFixed(0)} ms`).join('\n')}\n`,
);
