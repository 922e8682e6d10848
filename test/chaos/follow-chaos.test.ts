import { describe, expect, it } from 'vitest';
import { builds } from '../integration/logical-servers.ts';
import { runFollowChaos } from './follow-chaos.ts';

describe.each(builds)('a follow of PostgreSQL $version', (binaries) => {
  it('loses and doubles nothing when it, its source and its target are killed', async () => {
    const result = await runFollowChaos({ binaries, rounds: 4, seed: 5, progress: () => undefined });
    expect(result.violations).toEqual([]);
    expect(result.transactions).toBeGreaterThan(0);
  });
});
