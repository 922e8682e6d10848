import { expect, it } from 'vitest';
import { runHang } from '../../chaos/leaderless/hang.ts';

const MB = 1_048_576;

it('a server that hangs under load fills no memory, holds up nobody, and lacks nothing afterwards', async () => {
  // Four times what all callers together can ask of a server that answers.
  const maxQueueBytes = MB;
  const result = await runHang({
    hangMs: 8_000,
    callers: 256,
    // A machine that stalls for a second is no hang: this tells who is held up, not how fast the disk is.
    quorum: { maxQueueBytes, statementTimeoutMs: 4_000, deadlineMs: 30_000 },
    everyMs: 1_000,
    say: () => undefined,
  });
  expect(result.answers).toBeGreaterThan(1_000);
  expect(result.failures).toEqual([]);
  expect(result.mostWaitingBytes).toBeGreaterThan(0);
  expect(result.mostWaitingBytes).toBeLessThanOrEqual(maxQueueBytes);
  expect(result.heaps.length).toBeGreaterThan(3);
  expect(Math.max(...result.heaps)).toBeLessThan(result.heapBefore + 32 * MB);
  expect(result.isEqual).toBe(true);
});
