import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import {
  describeAdded,
  describeLastFailover,
  describeOpenRescue,
  whyStays,
} from '../../src/cli/commands/node-command.ts';
import type { NodeConfig } from '../../src/leader-follower/config/config.ts';
import { configWithDelays } from './config-with-delays.ts';

function nodes(...voters: readonly boolean[]): NodeConfig[] {
  return voters.map((voter, index) => ({ name: `n${index + 1}`, voter }) as unknown as NodeConfig);
}

test('a removal that leaves no failover says what is left, and the way out first', () => {
  expect(describeLastFailover(nodes(true, true, true), 'n2')).toBe(
    'Give another node a vote first ("lockstep node grant-vote"), or pass --force: without n2, only 2 votes are left (n1, n3), and no failover is possible.',
  );
});

test.each([
  ['one of five', nodes(true, true, true, true, true), 'n2'],
  ['one that does not vote', nodes(true, true, true, false), 'n4'],
  ['one of two, where there was no failover before', nodes(true, true), 'n2'],
])('%s goes without a warning', (_, all, name) => {
  expect(describeLastFailover(all, name)).toBeNull();
});

test('a node whose rescue is on stays, and is told how to end that first', () => {
  expect(describeOpenRescue('n4', { phase: 'open' })).toMatch(
    /^Close the rescue on n4 first \("lockstep rescue close --node n4"\), or pass --force: .*Nothing was changed\.$/,
  );
  expect(describeOpenRescue('n4', { phase: 'held' })).toContain('a rescue is held there');
  expect(describeOpenRescue('n4', { phase: 'idle' })).toBeNull();
});

test('a delayed node whose agent is silent stays: its PostgreSQL may show the past of an open rescue', async () => {
  const config = configWithDelays(await closedPort(), null, '1h');
  expect(await whyStays(config, 'n5')).toBe(
    'Start the agent of n5, or pass --force: it did not say whether a rescue is open there, and what that shows is gone with the node. Nothing was changed.',
  );
  expect(await whyStays(config, 'n4')).toBeNull();
});

/** Nobody listens there any more. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

test('a delayed node is not to be added to what the app connects to, and not offered a vote', () => {
  const place = { host: '10.0.0.5', port: 5432 };
  const delayed = describeAdded('n5', place, { vote: false, delay: '2min' }).join('\n');
  expect(delayed).toContain('not to what the app connects to');
  expect(delayed).not.toContain('grant-vote');
  const other = describeAdded('n5', place, { vote: false }).join('\n');
  expect(other).toContain('names the servers of the app');
  expect(other).toContain('grant-vote');
});
