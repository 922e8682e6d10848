import { describe, expect, it } from 'vitest';
import { Fence } from '../../src/leader-follower/leadership/fence.ts';

describe('a fence', () => {
  it('allows nothing before the register was read', () => {
    expect(new Fence().allows(7)).toBe(false);
  });

  it('allows only what is newer than the newest version that it was raised at', () => {
    const fence = new Fence();
    fence.raise(7);
    fence.raise(3);
    expect([6, 7, 8].map((version) => fence.allows(version))).toEqual([false, false, true]);
  });
});
