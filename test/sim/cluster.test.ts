import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { isCaught, MUTANTS } from './cluster/mutants.ts';
import { runCluster } from './cluster/run.ts';
import type { SeedsResult } from './seeds.ts';

const SEEDS = Number(process.env['SIM_SEEDS'] ?? 10_000);
/** A mutant that no seed of so many catches is not caught. */
const MUTANT_SEEDS = 6_000;

describe('a whole cluster under every fault', () => {
  it('keeps every promise, and recovers', async () => {
    const main = join(import.meta.dirname, 'main.ts');
    const { stdout } = await promisify(execFile)(process.execPath, [
      main,
      '--seeds',
      String(SEEDS),
      '--json',
    ]).catch((error: { stdout: string }) => error);
    const { seeds, violations } = JSON.parse(stdout) as SeedsResult;
    expect(violations).toEqual([]);
    expect(seeds).toBe(SEEDS);
  });

  it('is put to the test: leaders fall, and commits are acknowledged', () => {
    let acknowledged = 0;
    let leaderships = 0;
    for (let seed = 1; seed <= 100; seed++) {
      const result = runCluster(seed);
      acknowledged += result.acknowledged;
      leaderships += result.leaderships;
    }
    expect(acknowledged / 100).toBeGreaterThan(50);
    expect(leaderships / 100).toBeGreaterThan(2);
  });

  it('moves the leadership for no reason never', () => {
    for (let seed = 1; seed <= 100; seed++)
      expect(runCluster(seed, { isCalm: true }).violations, `seed ${seed}`).toEqual([]);
  });

  it('runs the same for the same seed, also when somebody reads the transcript', () => {
    const first = runCluster(7);
    const lines: string[] = [];
    expect(runCluster(7, { transcript: (line) => lines.push(line) })).toEqual(first);
    expect(lines.length).toBeGreaterThan(20);
    expect(runCluster(8).hash).not.toBe(first.hash);
  });

  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))('catches %s', (_name, mutant) => {
    for (let seed = 1; seed <= MUTANT_SEEDS; seed++) {
      const broken = runCluster(seed, { mutant: mutant.name }).violations[0];
      if (broken !== undefined && isCaught(mutant, broken.invariant)) return;
    }
    expect.fail(`no seed of ${MUTANT_SEEDS} caught it: ${mutant.what}`);
  });
});
