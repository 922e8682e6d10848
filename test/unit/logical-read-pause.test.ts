import { describe, expect, it } from 'vitest';
import { pauseAfterRead } from '../../src/logical/core/read-pause.ts';

const PACKET = 130;
const MUCH = 65_536;

describe('what follows a read of the stream', () => {
  it('is a pause where little was read, so that packets are read together', () => {
    expect(pauseAfterRead({ bytes: PACKET, waitingBytes: 0, isInStretch: false })).toBeGreaterThan(0);
    expect(pauseAfterRead({ bytes: MUCH, waitingBytes: 0, isInStretch: false })).toBeNull();
    expect(pauseAfterRead({ bytes: MUCH, waitingBytes: 0, isInStretch: true })).toBeNull();
  });

  it('is no pause within a stretch while what came during the last one is handed on in pieces', () => {
    for (let waitingBytes = MUCH - PACKET; waitingBytes > 0; waitingBytes -= PACKET)
      expect(pauseAfterRead({ bytes: PACKET, waitingBytes, isInStretch: true })).toBeNull();
  });

  it('is a longer pause within a stretch, for which nobody waits', () => {
    const before = pauseAfterRead({ bytes: PACKET, waitingBytes: 0, isInStretch: false });
    expect(pauseAfterRead({ bytes: PACKET, waitingBytes: 0, isInStretch: true })).toBeGreaterThan(
      before ?? 0,
    );
  });
});
