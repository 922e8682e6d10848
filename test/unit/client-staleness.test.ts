import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addSample, seenBefore } from '../../src/client/cluster/core/freshness-clock.ts';
import type { LeaderSample } from '../../src/client/cluster/core/freshness-clock.ts';
import { createRouteTable, decideRoute } from '../../src/client/route/core/route.ts';
import type { Leadership, Probe } from '../../src/client/cluster/core/leadership.ts';
import { viewNodes } from '../../src/client/cluster/core/leadership.ts';
import type { Lsn } from '../../src/model/lsn.ts';

const leadership: Leadership = { leader: 'leader', term: 0, timeline: 1, reason: '' };

const step = fc.record({
  kind: fc.constantFrom('write', 'replay', 'round', 'ask leader', 'ask follower', 'answer', 'read'),
  elapsedMs: fc.integer({ min: 0, max: 300 }),
  amount: fc.integer({ min: 0, max: 60 }),
});

/** A leader that writes, a follower that replays when it likes, and a client that sees them through probes. */
class World {
  nowMs = 0;
  #leaderLsn = 50;
  #replayed = 1;
  /** Where the leader's log was from which time on. */
  readonly #past: { readonly atMs: number; readonly lsn: number }[] = [{ atMs: -1e6, lsn: 50 }];
  #samples: readonly LeaderSample[] = [];
  readonly #probes = new Map<string, Probe>();
  readonly #open: (() => void)[] = [];

  write(amount: number): void {
    this.#leaderLsn += amount;
    this.#past.push({ atMs: this.nowMs, lsn: this.#leaderLsn });
  }

  replay(amount: number): void {
    this.#replayed = Math.min(this.#leaderLsn, this.#replayed + amount);
  }

  /** The server reads its position now, some time after the question, and the answer takes time as well. */
  ask(node: 'leader' | 'follower', askedAtMs: number): void {
    const lsn = BigInt(node === 'leader' ? this.#leaderLsn : this.#replayed) as Lsn;
    this.#open.push(() => {
      if (node === 'leader') this.#samples = addSample(this.#samples, { lsn, askedAtMs });
      const isInRecovery = node === 'follower';
      const up = { kind: 'up', server: node, timeline: 1, lsn, receivedLsn: lsn, isInRecovery } as const;
      this.#probes.set(node, up);
    });
  }

  /** Both are asked, and answer before anything else happens. */
  round(askedAtMs: number): void {
    this.ask('leader', askedAtMs);
    this.ask('follower', askedAtMs);
    while (this.#open.length > 0) this.answer();
  }

  answer(): void {
    this.#open.shift()?.();
  }

  /** Whether a follower is chosen; its data must then be no older than the bound. */
  read(maxStalenessMs: number): 'leader' | 'follower' | null {
    const nodes = viewNodes(leadership, this.#probes, this.#samples).map((viewed) => ({
      ...viewed,
      zone: null,
      weight: 1,
      load: { outstanding: 0, unanswered: 0, unansweredSinceMs: 0, latencyMs: 1 },
    }));
    const rules = { maxLagBytes: 1e9, maxLagMs: Infinity, zone: null, allowsUnknownLag: false };
    const table = createRouteTable(nodes, 1, rules, new Set(), this.nowMs);
    const request = {
      access: 'any',
      isSession: false,
      token: null,
      preferred: null,
      completeAsOfMs: this.nowMs - maxStalenessMs,
      excluded: new Set<string>(),
    } as const;
    const route = decideRoute(request, table, [0, 0], 0);
    return route.kind === 'node' ? route.role : null;
  }

  /** What must at least be replayed now. */
  required(maxStalenessMs: number): number {
    const before = this.#past.filter(({ atMs }) => atMs <= this.nowMs - maxStalenessMs);
    return before.at(-1)?.lsn ?? 0;
  }

  get replayed(): number {
    return this.#replayed;
  }
}

describe('bounded staleness', () => {
  it('is never exceeded, however late answers come and however the follower falls behind', () => {
    let fromFollower = 0;
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 80, size: 'max' }),
        fc.integer({ min: 0, max: 1500 }),
        (steps, bound) => {
          const world = new World();
          for (const { kind, elapsedMs, amount } of steps) {
            const askedAtMs = world.nowMs;
            world.nowMs += elapsedMs;
            if (kind === 'write') world.write(amount);
            if (kind === 'replay') world.replay(amount);
            if (kind === 'ask leader') world.ask('leader', askedAtMs);
            if (kind === 'ask follower') world.ask('follower', askedAtMs);
            if (kind === 'answer') world.answer();
            if (kind === 'round') world.round(askedAtMs);
            if (kind !== 'read' || world.read(bound) !== 'follower') continue;
            fromFollower += 1;
            expect(world.replayed).toBeGreaterThanOrEqual(world.required(bound));
          }
        },
      ),
      { numRuns: 2000 },
    );
    expect(fromFollower).toBeGreaterThan(100);
  });

  it('lets a follower answer that keeps up', () => {
    const world = new World();
    world.replay(100);
    for (let round = 0; round < 10; round += 1) {
      world.write(5);
      world.replay(5);
      world.nowMs += 250;
      world.round(world.nowMs);
    }
    world.nowMs += 200;
    expect(world.read(250)).toBe('follower');
    expect(world.read(100)).toBe('leader');
  });
});

describe('a position that the log surely had before', () => {
  const samples = [
    { lsn: 100n as Lsn, askedAtMs: 0 },
    { lsn: 200n as Lsn, askedAtMs: 250 },
    { lsn: 300n as Lsn, askedAtMs: 500 },
  ];

  it.each([
    ['is none where nothing was asked', [], 300, null],
    ['is none of the only answer, which may have come later', samples.slice(0, 1), 300, null],
    ['is the answer before the last question, which may have been answered later', samples, 600, 200n],
    ['is the same at the very moment of the question', samples, 500, 200n],
    ['is an older one before that', samples, 499, 100n],
    ['is none before the second question', samples, 249, null],
  ])('%s', (_, seen, atMs, expected) => {
    expect(seenBefore(seen, atMs)).toBe(expected);
  });
});
