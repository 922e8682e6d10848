import { describe, expect, it } from 'vitest';
import { describeConflict, describeWorld, pairsOf } from '../../src/admin/world/page/world-words.js';
import type { WorldLink, WorldPicture } from '../../src/admin/world/world.ts';

const link = (from: string, to: string, state: string): WorldLink => ({
  from,
  to,
  state,
  detail: null,
  applied: 0,
  lost: 0,
  lagMs: null,
});
const world = (...links: readonly (readonly WorldLink[] | null)[]): WorldPicture => ({
  conflicts: [],
  regions: links.map((some, index) => ({
    name: ['eu', 'us', 'ap'][index] ?? '',
    links: some,
    problem: null,
    kept: 0,
    parked: 0,
    appUrl: null,
  })),
});

describe('what the world page says', () => {
  it('is the worst that there is', () => {
    expect(describeWorld(world([link('us', 'eu', 'streaming')], [link('eu', 'us', 'streaming')]))).toBe(
      '2 regions, every link up.',
    );
    expect(describeWorld(world([link('us', 'eu', 'cut')], [link('eu', 'us', 'cut')]))).toBe(
      'Cut apart: eu and us. All go on writing.',
    );
    expect(describeWorld(world([link('us', 'eu', 'held')], [link('eu', 'us', 'streaming')]))).toMatch(/wait/);
    expect(describeWorld(world(null, [link('eu', 'us', 'cut')]))).toBe('The process of eu does not answer.');
  });

  it('has each two regions once', () => {
    const both = world([link('us', 'eu', 'streaming')], [link('eu', 'us', 'failed')]);
    expect(pairsOf(both)).toEqual([{ a: 'eu', b: 'us', state: 'failed' }]);
  });

  it('tells of a conflict the columns that it was about', () => {
    const { title, lines } = describeConflict({
      table: 'public.products',
      key: '1',
      kind: 'update/update',
      decision: 'later-wins',
      earlier: null,
      later: { at: '2026-01-01T10:20:30.000000Z', region: 'us' },
      before: { id: '1', name: 'b', note: 'x' },
      seen: { id: '1', name: 'a', note: 'x' },
      written: { id: '1', name: 'c', note: 'x' },
      result: { id: '1', name: 'c', note: 'x' },
    });
    expect(title).toBe(
      '10:20:30  public.products 1: update/update by an earlier write and us; the later one stands.',
    );
    expect(lines).toEqual(['name: us saw a and wrote c; it was b and is c']);
  });
});
