import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DamageReader, ServerLog } from '../../src/postgres/server-log.ts';

describe("PostgreSQL's log", () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-server-log-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('is read for damage as it grows, which is told once a kind, and nothing of it is taken away at a start', async () => {
    const path = join(folder, 'postgres.log');
    const line = (text: string): string => `2026-01-01 00:00:00.000 UTC [1] checkpointer ${text}\n`;
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

  it('is read by whole lines, whose ends can be a text that somebody chose', async () => {
    const path = join(folder, 'postgres.log');
    const line = (sender: string, text: string): string => `2026-01-01 00:00:00.000 UTC ${sender} ${text}`;
    const forged = line('[1] startup', 'LOG:  invalid page in block 1 of ');
    const started = line('[1] startup', 'PANIC:  WAL contains references to invalid pages\n');
    const begun = line('[7] client backend', 'ERROR:  it ');
    writeFileSync(path, '');
    const told: string[] = [];
    const log = new ServerLog(path, (problem) => told.push(problem));
    try {
      await vi.waitUntil(
        () => {
          appendFileSync(path, told.length === 0 ? `${started}${begun}` : '');
          return told.length > 0;
        },
        { timeout: 20_000, interval: 100 },
      );
      // Its beginning was there at the last look.
      const lost = line('[1] startup', 'PANIC:  could not locate a valid checkpoint record\n');
      appendFileSync(path, `${forged}\n${lost}`);
      await vi.waitUntil(() => told.length > 1, { timeout: 20_000 });
      // More than is read at a time, so that its beginning is left out.
      const failed = line('[1] checkpointer', 'LOG:  could not fsync file "x": Input/output error\n');
      appendFileSync(path, `${begun}${forged.repeat(5_000)}\n${failed}`);
      await vi.waitUntil(() => told.length > 2, { timeout: 20_000 });
    } finally {
      log.close();
    }
    expect(told.map((problem) => problem.replace(/ \(.*/s, ''))).toEqual([
      'PostgreSQL finds damage: its log does not fit its data',
      'PostgreSQL finds damage: its log is damaged where a start begins',
      'PostgreSQL finds damage: its disk fails',
    ]);
  });
});

describe('what a session says of damage', () => {
  const session = '2026-01-01 00:00:00.000 UTC [7] client backend ';
  const page = 'invalid page in block 1 of relation "base/5/16384"';

  it('is told as such, and takes no place from what PostgreSQL says by itself', () => {
    const told = new DamageReader().read(
      [`${session}ERROR:  ${page}`, `2026-01-01 00:00:00.000 UTC [2] startup WARNING:  ${page}`].join('\n'),
    );
    expect([...told]).toEqual([
      ['a page of its data is damaged, says a session, whose SQL may have made that up', `ERROR:  ${page}`],
      ['a page of its data is damaged', `WARNING:  ${page}`],
    ]);
  });

  it('is nothing where its words are in a value, a statement, a name or a line further down', () => {
    const lines = [
      `ERROR:  invalid input syntax for type integer: "${page}"`,
      `STATEMENT:  select 'ERROR:  ${page}'::int`,
      `CONTEXT:  ERROR:  ${page}`,
      `NOTICE:  ${page}`,
      'ERROR:  could not create unique index "x: Input/output error"',
      'ERROR:  relation "could not read: Input/output error" does not exist',
    ].map((line) => session + line);
    expect([
      ...new DamageReader().read([...lines, `\tLOG:  ${page}`, `\t${session}LOG:  ${page}`].join('\n')),
    ]).toEqual([]);
  });

  it('does not make up for, or get between, what the start of PostgreSQL says of a record', () => {
    const reader = new DamageReader();
    const of = (sender: string): string =>
      `2026-01-01 00:00:00.000 UTC ${sender} LOG:  incorrect resource manager data checksum in record at 0/18F4160`;
    expect(
      reader.read([of('[7] client backend'), of('[7] client backend'), of('[3] startup')].join('\n')).size,
    ).toBe(0);
    expect([...reader.read([of('[7] client backend'), of('[3] startup')].join('\n')).keys()]).toEqual([
      'its log has a damaged record',
    ]);
  });
});
