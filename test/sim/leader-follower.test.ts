import { describe, expect, it } from 'vitest';
import { World } from '../scenario/world.ts';
import type { Mutant } from '../scenario/model-node.ts';

const SEEDS = Number(process.env['SIM_SEEDS'] ?? 400);
const STEPS = 250;

/** A small seeded generator (mulberry32): the same seed gives the same run. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Deaths, suspensions, partial streaming and commits at whoever accepts them; then everything heals. */
function runSeed(seed: number, nodes: number, mutant: Mutant | null = null): World {
  const random = seeded(seed);
  const world = new World(nodes, mutant);
  const pick = (): string => `n${1 + Math.floor(random() * nodes)}`;
  for (let step = 0; step < STEPS; step++) {
    const dice = random();
    const name = pick();
    const node = world.node(name);
    if (dice < 0.02 && node.isUp) world.kill(name);
    else if (dice < 0.05 && !node.isUp) world.start(name);
    else if (dice < 0.06 && node.isUp) world.pause(name);
    else if (dice < 0.09 && node.isPaused) {
      world.resume(name);
      // A woken PostgreSQL serves its waiting clients before its agent looks at the clock.
      world.commit(name, `${seed}-${step}`);
      world.stream(2);
    } else if (dice < 0.35) world.commit(name, `${seed}-${step}`);
    else if (dice < 0.6) world.stream(1 + Math.floor(random() * 2));
    else world.tick(world.nodes.map((other) => other.name).toSorted(() => random() - 0.5));
    checkSafety(world, seed);
  }
  for (const node of world.nodes) {
    if (node.isPaused) world.resume(node.name);
    if (!node.isUp) world.start(node.name);
  }
  for (let round = 0; round < 120; round++) {
    world.tick();
    world.stream(50);
    checkSafety(world, seed);
  }
  return world;
}

function checkSafety(world: World, seed: number): void {
  const command = `SIM_SEEDS=1 SIM_FIRST=${seed} npm test -- --project sim`;
  const leaders = world.nodes.filter((node) => node.process === 'leader' && world.nowMs < node.leaseUntilMs);
  if (leaders.length > 1)
    throw new Error(`I1: ${leaders.map((node) => node.name).join(' and ')} lead at once (${command})`);
  const leader = world.leader();
  if (leader === undefined) return;
  const held = new Set(leader.log.map((entry) => entry.id));
  const lost = world.acknowledged.filter((id) => !held.has(id));
  if (lost.length > 0)
    throw new Error(
      `I2: ${leader.name} lacks acknowledged ${lost.join(', ')} (${command})\n${world.trace.join('\n')}`,
    );
}

describe('the pure cores under random faults', () => {
  const first = Number(process.env['SIM_FIRST'] ?? 1);
  it.each([3, 4, 5])(
    'never lose an acknowledged synchronous commit and always recover with %i nodes',
    (nodes) => {
      let acknowledged = 0;
      for (let seed = first; seed < first + SEEDS; seed++) {
        const world = runSeed(seed, nodes);
        acknowledged += world.acknowledged.length;
        const leader = world.leader();
        expect(
          leader,
          `seed ${seed}: a leader after everything healed\n${world.trace.slice(-40).join('\n')}`,
        ).toBeDefined();
        for (const node of world.nodes) {
          expect(node.log, `seed ${seed}: ${node.name} converged`).toEqual(leader?.log);
        }
      }
      expect(acknowledged).toBeGreaterThan(SEEDS);
    },
  );

  it.each(['small-quorum', 'no-barrier', 'no-fence'] as const)('catch the broken rule %s', (mutant) => {
    const isCaught = (seed: number): boolean => {
      try {
        runSeed(seed, 4, mutant);
        return false;
      } catch (error) {
        return (error as Error).message.startsWith('I2');
      }
    };
    const seeds = Array.from({ length: 3_000 }, (_, index) => index + 1);
    expect(seeds.some(isCaught), `${mutant} stays unseen in ${seeds.length} seeds`).toBe(true);
  });
});
