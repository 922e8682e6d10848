import { expect, test } from 'vitest';
import {
  describeAdded,
  describeLastFailover,
  describeOpenRescue,
} from '../../src/cli/commands/node-command.ts';
import type { NodeConfig } from '../../src/leader-follower/config/config.ts';

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
  expect(describeOpenRescue({ node: 'n4', phase: 'open' })).toMatch(
    /^Close the rescue on n4 first \("lockstep rescue close --node n4"\), or pass --force: .*Nothing was changed\.$/,
  );
  expect(describeOpenRescue({ node: 'n4', phase: 'held' })).toContain('a rescue is held there');
  expect(describeOpenRescue({ node: 'n4', phase: 'idle' })).toBeNull();
});

test('a delayed node is not to be added to what the app connects to, and not offered a vote', () => {
  const place = { host: '10.0.0.5', port: 5432 };
  const delayed = describeAdded('n5', place, { vote: false, delay: '2min' }).join('\n');
  expect(delayed).toContain('not to what the app connects to');
  expect(delayed).not.toContain('grant-vote');
  const other = describeAdded('n5', place, { vote: false }).join('\n');
  expect(other).toContain('names the servers of the app');
  expect(other).toContain('grant-vote');
});
