import { describe, expect, it } from 'vitest';
import { pauseAfterRead } from '../../src/logical/core/read-pause.ts';

const PACKET = 130;
const MUCH = 65_536;

describe('what follows a read of the stream', () => {
  it('is a pause where little was read, so that packets are read together', () => {
    expect(pauseAfterRead({ bytes: PACKET, waitingBytes: 0, isInLarge: false })).toBeGreaterThan(0);
    expect(pauseAfterRead({ bytes: MUCH, waitingBytes: 0, isInLarge: false })).toBeNull();
    expect(pauseAfterRead({ bytes: MUCH, waitingBytes: 0, isInLarge: true })).toBeNull();
  });

  it('is no pause amid a large transaction while what came during the last one is handed on in pieces', () => {
    for (let waitingBytes = MUCH - PACKET; waitingBytes > 0; waitingBytes -= PACKET)
      expect(pauseAfterRead({ bytes: PACKET, waitingBytes, isInLarge: true })).toBeNull();
  });

  it('is a longer pause amid a large transaction, for which nobody waits', () => {
    const before = pauseAfterRead({ bytes: PACKET, waitingBytes: 0, isInLarge: false });
    expect(pauseAfterRead({ bytes: PACKET, waitingBytes: 0, isInLarge: true })).toBeGreaterThan(before ?? 0);
  });
});
