import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';

const run = promisify(execFile);
const program = join(import.meta.dirname, 'ending-program.ts');

/** What the program told at its exit. */
interface Ending {
  readonly workMs: number;
  readonly lingerMs: number;
  readonly left: readonly string[];
}

let cluster: TestCluster;
let silent: Server;
const accepted = new Set<Socket>();

beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 2 });
  silent = createServer((socket) => accepted.add(socket));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  for (const socket of accepted) socket.destroy();
  silent?.close();
  await cluster?.[Symbol.asyncDispose]();
});

/** Fails when the program does not exit by itself. */
async function runToItsEnd(what: string, url: string): Promise<Ending> {
  const leader = await cluster.leader();
  const { dsn = '' } = cluster.nodes.find(({ name }) => name === leader) ?? {};
  const options = { timeout: 30_000, killSignal: 'SIGKILL' } as const;
  const { stdout } = await run(process.execPath, [program, what, url, dsn], options);
  return JSON.parse(stdout) as Ending;
}

/**
 * Closing takes a few milliseconds where connecting and asking took many, on a machine of any speed; the
 * shortest timer that could be left behind takes seconds.
 */
function expectPromptEnd({ workMs, lingerMs, left }: Ending): void {
  expect({ left, ratio: lingerMs / workMs }).toEqual({ left, ratio: expect.toSatisfy((ratio) => ratio < 3) });
}

it.each(['cluster', 'server', 'client', 'listen'])(
  'a program with %s exits when it has ended it',
  async (what) => {
    expectPromptEnd(await runToItsEnd(what, cluster.url));
  },
);

it('a program exits also while a server of the list accepts connections and says nothing', async () => {
  const { port } = silent.address() as AddressInfo;
  const { hostname } = new URL(cluster.nodes[0]?.dsn ?? '');
  const url = cluster.url.replace(`@${hostname}`, `@127.0.0.1:${port},${hostname}`);
  expectPromptEnd(await runToItsEnd('listen', url));
  expect(accepted.size).toBeGreaterThan(0);
});
