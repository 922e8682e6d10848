import { expect, it } from 'vitest';
import { runHang } from '../../chaos/leaderless/hang.ts';

const MB = 1_048_576;

it('a server that hangs under load fills no memory, holds up nobody, and lacks nothing afterwards', async () => {
  const maxQueueBytes = MB / 4;
  const result = await runHang({
    hangMs: 8_000,
    callers: 256,
    maxQueueBytes,
    everyMs: 1_000,
    say: () => undefined,
  });
  expect(result.answers).toBeGreaterThan(1_000);
  expect(result.failures).toBe(0);
  expect(result.mostWaitingBytes).toBeGreaterThan(0);
  expect(result.mostWaitingBytes).toBeLessThanOrEqual(maxQueueBytes);
  expect(result.heaps.length).toBeGreaterThan(3);
  expect(Math.max(...result.heaps)).toBeLessThan(result.heapBefore + 32 * MB);
  expect(result.isEqual).toBe(true);
});
