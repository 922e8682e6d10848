import { describe, expect, it } from 'vitest';
import { decideRoute } from '../../src/client/core/route.ts';
import type { RouteNode, RouteRequest } from '../../src/client/core/route.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { parseToken } from '../../src/model/token.ts';

const node = (key: string, over: Partial<RouteNode> = {}): RouteNode => ({
  key,
  role: 'follower',
  isUp: true,
  timeline: 1,
  lsn: parseLsn('0/100'),
  lagBytes: 0,
  outstanding: 0,
  latencyMs: 1,
  ...over,
});
const leader = node('n1', { role: 'leader' });
const request = (over: Partial<RouteRequest> = {}): RouteRequest => ({
  access: 'any',
  token: null,
  maxLagBytes: 1000,
  excluded: new Set(),
  leaderTimeline: 1,
  ...over,
});
const at = (over: Partial<RouteRequest>, nodes: RouteNode[], random: [number, number] = [0, 0]): string => {
  const route = decideRoute(request(over), nodes, random);
  return route.kind === 'node' ? `${route.role} ${route.node}` : `wait: ${route.reason}`;
};

describe('decideRoute', () => {
  it('sends writes to the leader and reads to followers', () => {
    expect(at({ access: 'leader' }, [leader, node('n2')])).toBe('leader n1');
    expect(at({}, [leader, node('n2')])).toBe('follower n2');
  });

  it('takes the quicker and less busy of two drawn followers', () => {
    const busy = node('n2', { outstanding: 9 });
    const free = node('n3');
    for (const random of [
      [0, 0],
      [0.99, 0],
    ] as [number, number][]) {
      expect(at({}, [leader, busy, free], random)).toBe('follower n3');
    }
    expect(at({}, [leader, node('n2', { latencyMs: 8 }), free])).toBe('follower n3');
  });

  it('spreads equal followers by the random numbers', () => {
    expect(at({}, [leader, node('n2'), node('n3')], [0, 0])).toBe('follower n2');
    expect(at({}, [leader, node('n2'), node('n3')], [0.6, 0])).toBe('follower n3');
  });

  it.each([
    ['down', { isUp: false }],
    ['too far behind', { lagBytes: 1001 }],
    ['of unknown lag', { lagBytes: null }],
    ['without a position', { lsn: null }],
    ['a second writable node', { role: 'unknown' }],
  ] as [string, Partial<RouteNode>][])('uses no follower that is %s', (_, over) => {
    expect(at({}, [leader, node('n2', over)])).toBe('leader n1');
  });

  it('skips nodes that failed this statement', () => {
    expect(at({ excluded: new Set(['n2']) }, [leader, node('n2')])).toBe('leader n1');
    expect(at({ excluded: new Set(['n1', 'n2']) }, [leader, node('n2')])).toMatch(/^wait: leader n1/);
  });

  it('waits without a leader, but still reads from followers', () => {
    expect(at({ access: 'leader' }, [node('n2')])).toBe('wait: there is no leader');
    expect(at({}, [node('n2')])).toBe('follower n2');
  });

  it('compares a token only with followers proven to be on its timeline', () => {
    const token = parseToken('2-0/50');
    const over = { token, leaderTimeline: 2 };
    expect(at(over, [leader, node('n2', { timeline: 1 })])).toBe('leader n1');
    expect(at(over, [leader, node('n2', { timeline: null })])).toBe('leader n1');
    expect(at(over, [leader, node('n2', { timeline: 3 })])).toBe('leader n1');
    expect(at(over, [leader, node('n2', { timeline: 2 })])).toBe('follower n2');
    expect(at({ token: parseToken('1-0/50') }, [leader, node('n2', { timeline: null })])).toBe('follower n2');
  });

  it('waits when the session has seen a newer leader than this pool', () => {
    expect(at({ token: parseToken('2-0/50'), leaderTimeline: 1 }, [leader])).toMatch(/^wait: the session/);
  });
});
