import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ServerLog } from '../../src/postgres/server-log.ts';

describe("PostgreSQL's log", () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-server-log-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('is read for damage as it grows, which is told once a kind, and nothing of it is taken away at a start', async () => {
    const path = join(folder, 'postgres.log');
    const line = (text: string): string => `2026-01-01 00:00:00.000 UTC [1] ${text}\n`;
    const damaged = line('LOG:  WAL contains references to invalid pages');
    // Of an earlier life: no news.
    writeFileSync(path, damaged);
    const told: string[] = [];
    const log = new ServerLog(path, (problem) => told.push(problem));
    try {
      await vi.waitUntil(
        () => {
          appendFileSync(
            path,
            damaged + line('WARNING:  page verification failed, calculated checksum 1 but expected 2'),
          );
          return told.length > 0;
        },
        { timeout: 20_000, interval: 100 },
      );
      const count = told.length;
      appendFileSync(path, damaged.repeat(100) + line('LOG:  could not read file "x": Input/output error'));
      await vi.waitUntil(() => told.length > count, { timeout: 20_000 });
    } finally {
      log.close();
    }
    expect(told).toEqual([
      'PostgreSQL finds damage: its log does not fit its data (LOG:  WAL contains references to invalid pages)',
      'PostgreSQL finds damage: a page of its data is damaged (WARNING:  page verification failed, calculated checksum 1 but expected 2)',
      'PostgreSQL finds damage: its disk fails (LOG:  could not read file "x": Input/output error)',
    ]);
    expect(statSync(path).size).toBeGreaterThan(damaged.length);
  });
});
