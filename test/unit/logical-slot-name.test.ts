import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { firstSlot, isSlotOf, nextSlot } from '../../src/logical/follow/core/slot-name.ts';

const follows = fc.stringMatching(/^[a-z0-9_]{1,40}$/);

describe('the slots of a follow', () => {
  it('have a new name each time, that a slot can have and no other follow uses', () => {
    fc.assert(
      fc.property(follows, follows, fc.integer({ min: 1, max: 20 }), (follow, other, count) => {
        const names = [firstSlot(follow)];
        for (let turn = 0; turn < count; turn++) names.push(nextSlot(names.at(-1) ?? '', follow));
        expect(new Set(names).size).toBe(count + 1);
        for (const name of names) {
          expect(name).toMatch(/^[a-z0-9_]{1,63}$/);
          expect(isSlotOf(name, follow)).toBe(true);
          expect(isSlotOf(name, other)).toBe(follow === other);
        }
      }),
    );
  });

  it('are told from slots that others made', () => {
    expect(nextSlot('lockstep_follow_main', 'main')).toBe('lockstep_follow2_main');
    expect(nextSlot('lockstep_follow2_main', 'main')).toBe('lockstep_follow3_main');
    expect(nextSlot('made_by_hand', 'main')).toBe('lockstep_follow2_main');
    expect(isSlotOf('made_by_hand', 'hand')).toBe(false);
    expect(isSlotOf('lockstep_follow_main_copy', 'main')).toBe(false);
  });
});
