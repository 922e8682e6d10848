import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { addNodeCommands } from '../../src/cli/commands/node-command.ts';
import { addDevCommand } from '../../src/cli/dev/dev-command.ts';
import { addPolicyCommands } from '../../src/cli/policy/policy-command.ts';
import { addRescueCommands } from '../../src/cli/rescue/rescue-commands.ts';
import { delayedNode } from '../../src/cli/rescue/rescue-node.ts';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../src/leader-follower/config/config.ts';
import { parseNodeCommand } from '../../src/leader-follower/members/node-keeper.ts';
import { configWithDelays } from './config-with-delays.ts';

const config = (...delays: readonly (string | null)[]): ClusterConfig => configWithDelays(6_000, ...delays);

/** What a command line is refused with, before anything is read or asked. */
async function complaint(...words: readonly string[]): Promise<string> {
  let said = '';
  const program = new Command()
    .exitOverride()
    .configureOutput({ writeErr: (text) => (said += text), writeOut: () => undefined });
  addRescueCommands(program);
  addPolicyCommands(program);
  addNodeCommands(program);
  addDevCommand(program);
  // Commands do not inherit these once they are made.
  for (const command of [program, ...program.commands, ...program.commands.flatMap((one) => one.commands)])
    command.exitOverride().configureOutput({ writeErr: (text) => (said += text), writeOut: () => undefined });
  await expect(program.parseAsync(['node', 'lockstep', ...words])).rejects.toThrow();
  return said;
}

describe('a rescue', () => {
  it('needs a delayed node, and wants to know which of several', () => {
    expect(() => delayedNode(config(), undefined)).toThrow(
      /no delayed node, from which a mistake could be undone.*node add <name> --delay 1h/,
    );
    expect(delayedNode(config('1h'), undefined).name).toBe('n4');
    expect(() => delayedNode(config('1h', '2d'), undefined)).toThrow(
      /which with --node: n4 \(1h\), n5 \(2d\)/,
    );
    expect(() => delayedNode(config('1h'), 'n1')).toThrow(/n1 is not delayed/);
    expect(() => delayedNode(config('1h'), 'n9')).toThrow(/n9/);
  });

  it('says what is wrong with what it is asked', async () => {
    expect(await complaint('rescue', 'open', '--before', 'lunch')).toMatch(
      /"lunch" is no transaction \(81234\), position in the log \(0\/5000028\) or time/,
    );
    for (const xid of ['1', '4294967296'])
      expect(await complaint('rescue', 'open', '--before', xid)).toMatch(
        `${xid} is no number of a transaction; "lockstep rescue list" shows them`,
      );
    expect(await complaint('rescue', 'open')).toMatch(/--before/);
    expect(await complaint('rescue', 'list', '--since', 'yesterday')).toMatch(/--since/);
    expect(await complaint('rescue', 'diff')).toMatch(/missing required argument/);
    for (const words of [
      ['dev', '--delayed', '10'],
      ['node', 'add', 'n4', '--delay', '10'],
    ])
      expect(await complaint(...words)).toContain(
        'is invalid. "10" is no duration for the delay; write its unit: 10s, 10min or 10h.\n',
      );
  });
});

describe('a kind of follower', () => {
  it('with a delay that is no duration, or in a circle, is refused with one sentence', () => {
    const add = {
      kind: 'add',
      node: { ...config().nodes[0], name: 'n9', failoverPriority: 0, delay: 'soon' },
    };
    const { witness: _, voter: __, ...node } = add.node as NodeConfig;
    expect(() => parseNodeCommand({ ...add, node })).toThrow(
      '"soon" is no duration for the delay; write a number with a unit, like 30s, 10min, 1h or 2d.',
    );
    expect(() => parseNodeCommand({ ...add, node: { ...node, delay: '60d' } })).toThrow(
      'A delay of 60d is not possible; give one from 1s to 24d.',
    );
    expect(() => config('soon')).toThrow(/is not valid at "nodes\.3\.delay": "soon" is no duration/);
    const { nodes, ...rest } = config();
    const circle = nodes.map((one, index) => ({
      ...one,
      from: index === 0 ? undefined : nodes[3 - index]?.name,
    }));
    expect(() => parseClusterConfig({ ...rest, nodes: circle }, 'a test')).toThrow(
      /n2 follows n3 follows n2: that is a circle/,
    );
  });
});

describe('a policy', () => {
  it('says what is wrong with what it is asked', async () => {
    expect(await complaint('policy', 'set', 'fast')).toMatch(/one of async, semi-sync, sync/);
    expect(await complaint('policy', 'set', 'semi-sync', '--followers', '0')).toMatch(/from 1 to 12/);
    expect(await complaint('policy', 'set', 'sync', '--degrade-after', 'soon')).toMatch(/--degrade-after/);
  });
});
