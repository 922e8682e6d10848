import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openAcceptorStore } from '../../src/coordination/embedded/acceptor-store.ts';
import type { DurableAcceptor } from '../../src/coordination/embedded/acceptor-store.ts';
import { doAllVote, seekAdmission } from '../../src/coordination/embedded/admission.ts';
import { judgeNewcomer } from '../../src/coordination/embedded/core/admission.ts';
import type { NodeId } from '../../src/model/node.ts';
import { systemClock } from '../../src/clock/system-clock.ts';
import { VOTERS } from './coordination-cluster.ts';

const FRESH = { isAdmitted: false, hasWritten: false };
const VOTING = { isAdmitted: true, hasWritten: false };
const WRITTEN = { isAdmitted: true, hasWritten: true };

describe('a voter with an empty file', () => {
  test('votes once all others have answered that nothing was written', () => {
    expect(judgeNewcomer([FRESH, VOTING])).toBe('admit');
    expect(judgeNewcomer([FRESH, null])).toBe('wait');
    expect(judgeNewcomer([])).toBe('admit');
  });

  test('has lost its vote when any other holds something', () => {
    expect(judgeNewcomer([FRESH, WRITTEN])).toBe('lost');
    expect(judgeNewcomer([null, WRITTEN])).toBe('lost');
  });
});

/** Voters whose files are in one folder, and which reach each other unless they are away. */
async function openVoters() {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-admission-'));
  const closing = new AbortController();
  onTestFinished(async () => {
    closing.abort();
    await rm(folder, { recursive: true, force: true });
  });
  const voters = new Map<NodeId, DurableAcceptor>();
  const away = new Set<NodeId>();
  const lost: NodeId[] = [];
  const ask = async (voter: NodeId) => {
    const acceptor = voters.get(voter);
    if (acceptor === undefined || away.has(voter)) throw new Error('away');
    return acceptor.standing;
  };
  const start = async (node: NodeId): Promise<void> => {
    voters.set(
      node,
      await openAcceptorStore({ path: join(folder, node), cluster: 'shop', node, clock: systemClock }),
    );
    void seekAdmission({
      clock: systemClock,
      acceptor: voters.get(node)!,
      others: VOTERS.filter((voter) => voter !== node),
      ask,
      onLost: () => void lost.push(node),
      signal: closing.signal,
    });
  };
  const vote = (node: NodeId, version: number) =>
    voters.get(node)!.handle({
      kind: 'accept',
      key: 'k',
      ballot: { counter: version, proposer: 'p' },
      proposal: { version, value: version },
    });
  return { folder, voters, away, lost, ask, start, vote };
}

describe('seeking admission', () => {
  const [a, b, c] = VOTERS as [NodeId, NodeId, NodeId];

  test('waits for the last of a new cluster, and then all vote', async () => {
    const { voters, ask, start, vote } = await openVoters();
    await start(a);
    await start(b);
    await expect(vote(a, 1)).rejects.toThrow('a does not vote yet');
    const doVote = (): Promise<boolean> => doAllVote(voters.get(a)!, [b, c], ask);
    expect(await doVote()).toBe(false);
    await start(c);
    await expect.poll(() => VOTERS.every((voter) => voters.get(voter)!.standing.isAdmitted)).toBe(true);
    expect(await doVote()).toBe(true);
    // The others do, and this one has not got so far.
    expect(await doAllVote({ isFounder: false }, [b, c], ask)).toBe(false);
    expect(await vote(a, 1)).toEqual({ kind: 'accepted' });
  });

  test('a voter that lost its file does not vote, even when only one that is behind answers', async () => {
    const { folder, voters, away, lost, ask, start, vote } = await openVoters();
    for (const voter of VOTERS) await start(voter);
    await expect.poll(() => doAllVote(voters.get(a)!, VOTERS, ask)).toBe(true);
    for (const voter of VOTERS) await vote(voter, 1);
    await vote(a, 2);
    await vote(b, 2);
    // Together, c and an empty b would be a majority that knows nothing of version 2.
    away.add(a);
    await rm(join(folder, b));
    await start(b);
    await expect.poll(() => lost).toContain(b);
    await expect(vote(b, 3)).rejects.toThrow('b does not vote yet');
    // What a person decides counts.
    await voters.get(b)!.admit();
    expect(await vote(b, 3)).toEqual({ kind: 'accepted' });
  });
});
