import { describe, expect, it } from 'vitest';
import { observeStall } from '../../src/leader-follower/local/core/stall.ts';
import { parseNodeId } from '../../src/model/node.ts';

const waits = { following: parseNodeId('n1'), isReceiving: false, isLeaderServing: true };
const leaderless = { ...waits, isLeaderServing: false };

describe('a follower that should stream and does not', () => {
  it('is stalled from the first look at a leader that is there', () => {
    const since = observeStall(null, waits, 1_000);
    expect(observeStall(since, waits, 31_000)).toBe(1_000);
  });

  it('is not while it streams, or follows nobody', () => {
    expect(observeStall(1_000, { ...waits, isReceiving: true }, 2_000)).toBeNull();
    expect(observeStall(1_000, { ...waits, following: null }, 2_000)).toBeNull();
  });

  it('gets its time anew when a leader is back, however long there was none', () => {
    let since = observeStall(null, leaderless, 0);
    since = observeStall(since, leaderless, 600_000);
    expect(since).toBeNull();
    since = observeStall(since, waits, 600_250);
    expect(since).toBe(600_250);
    since = observeStall(since, leaderless, 620_000);
    expect(observeStall(since, waits, 620_250)).toBe(620_250);
  });
});
