import { describe, expect, it } from 'vitest';
import { untilReady } from '../../src/cli/commands/restart-command.ts';
import type { NodeStatus } from '../../src/leader-follower/report/status.ts';
import { LockstepError } from '../../src/model/errors.ts';
import type { Topology } from '../../src/model/topology.ts';
import { topology } from './admin-fixtures.ts';

const leaderless = topology({ leader: null });
const silence = new LockstepError('NO_LEADER', 'None of n1, n2, n3 answers.');

/** What is seen at one look after the other; the last one stays. */
function looks(...seen: readonly (Topology | Error)[]): Parameters<typeof untilReady>[0] {
  const rest = [...seen];
  const status = { state: 'running', following: 'n1', isReceiving: true } as NodeStatus;
  return {
    topology: async () => {
      const look = rest.length > 1 ? rest.shift()! : rest[0]!;
      if (look instanceof Error) throw look;
      return look;
    },
    status: async (name) => (name === 'n3' ? { ...status, state: 'stopped' } : status),
  };
}

describe('a restart that waits for a node to catch up', () => {
  it('goes on after looks that fail, and while nobody leads', async () => {
    const ready = topology({ version: 7 });
    expect(await untilReady(looks(silence, leaderless, silence, ready), ['n2'])).toBe(ready);
  });

  it('waits for a leader also where no node is named', async () => {
    const ready = topology();
    expect(await untilReady(looks(leaderless, ready), [])).toBe(ready);
  });

  it.each([
    ['nobody leads', leaderless, 'n2', 'NO_LEADER', /^Do what "lockstep status" says.*nobody leads\.$/],
    ['no agent answers', silence, 'n2', 'NO_LEADER', /^Do what "lockstep status" says.*no agent answers\.$/],
    ['a node is away', topology(), 'n3', 'LAG_EXCEEDED', /^See "lockstep status": .* n3 does not run\.$/],
  ])('ends where %s to the end, and does not claim that nothing was changed', async (...row) => {
    const [, seen, name, code, words] = row;
    await expect(untilReady(looks(seen), [name], 0)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(words),
    });
  });
});
