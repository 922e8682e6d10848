import { describe, expect, test } from 'vitest';
import type { ConsensusReply, VersionedValue } from '../../src/consensus/acceptor.ts';
import { changeOf, judgeCompareAndSet } from '../../src/consensus/compare-and-set.ts';
import { decidePeek } from '../../src/consensus/read.ts';

const WRITE = { expectedVersion: 4, value: 'mine', operation: 'me:1' };

describe('compare-and-set', () => {
  test('writes the next version on the expected one and leaves any other as it is', () => {
    expect(changeOf(WRITE)({ version: 4, value: 'x' })).toEqual({
      version: 5,
      value: 'mine',
      operation: 'me:1',
    });
    const other = { version: 6, value: 'x', operation: 'you:1' };
    expect(changeOf(WRITE)(other)).toBe(other);
  });

  test.each([
    { committed: { version: 5, operation: 'me:1' }, before: false, outcome: 'applied' },
    { committed: { version: 5, operation: 'me:1' }, before: true, outcome: 'applied' },
    { committed: { version: 5, operation: 'you:1' }, before: true, outcome: 'conflict' },
    { committed: { version: 3, operation: 'you:1' }, before: true, outcome: 'conflict' },
    { committed: { version: 6, operation: 'you:1' }, before: false, outcome: 'conflict' },
    // It may be the version 5 that the sixth was built on.
    { committed: { version: 6, operation: 'you:1' }, before: true, outcome: 'unknown' },
  ])('at $committed, proposed before: $before, is $outcome', ({ committed, before, outcome }) => {
    expect(judgeCompareAndSet(WRITE, committed, before)).toBe(outcome);
  });
});

describe('peek', () => {
  const state = (counter: number, accepted: VersionedValue, promised = counter): ConsensusReply => ({
    kind: 'state',
    promised: { counter: promised, proposer: 'p' },
    acceptedBallot: { counter, proposer: 'p' },
    accepted,
  });

  test('settles when a quorum accepted one ballot, also under a newer promise', () => {
    const replies = [state(2, { version: 1 }), state(3, { version: 2 }), state(3, { version: 2 }, 9)];
    expect(decidePeek(replies, 2)).toEqual({ kind: 'settled', register: { version: 2 } });
  });

  test('does not settle by equal values of different ballots, by too few answers or by other replies', () => {
    expect(decidePeek([state(2, { version: 1 }), state(3, { version: 1 })], 2).kind).toBe('unsettled');
    expect(decidePeek([state(2, { version: 1 })], 2).kind).toBe('unsettled');
    expect(decidePeek([{ kind: 'accepted' }, { kind: 'accepted' }], 2).kind).toBe('unsettled');
  });
});
