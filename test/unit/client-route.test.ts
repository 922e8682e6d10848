import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classify } from '../../src/client/classify/core/classify.ts';
import { explainRoute } from '../../src/client/route/core/explain.ts';
import { createRouteTable, decideRoute } from '../../src/client/route/core/route.ts';
import type { RouteNode, RouteRequest, RouteRules } from '../../src/client/route/core/route.ts';
import type { NodeLoad } from '../../src/client/cluster/traffic.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { parseToken } from '../../src/model/token.ts';

const NOW_MS = 10_000;

const node = (key: string, over: Partial<RouteNode & NodeLoad> = {}): RouteNode => ({
  key,
  role: 'follower',
  isUp: true,
  timeline: 1,
  lsn: parseLsn('0/100'),
  lagBytes: 0,
  freshAsOfMs: NOW_MS - 100,
  zone: null,
  weight: 1,
  load: {
    outstanding: over.outstanding ?? 0,
    unanswered: over.unanswered ?? 0,
    unansweredSinceMs: 0,
    latencyMs: over.latencyMs ?? 1,
  },
  ...over,
});
const leader = node('n1', { role: 'leader' });
const rules: RouteRules = { maxLagBytes: 1000, maxLagMs: Infinity, zone: null, allowsUnknownLag: false };
const request = (over: Partial<RouteRequest> = {}): RouteRequest => ({
  access: 'any',
  isSession: over.token !== undefined,
  token: null,
  preferred: null,
  completeAsOfMs: -Infinity,
  excluded: new Set(),
  ...over,
});

interface Situation extends Partial<RouteRequest> {
  readonly rules?: Partial<RouteRules>;
  readonly leaderTimeline?: number;
  readonly blocked?: readonly string[];
}

const at = (situation: Situation, nodes: RouteNode[], random: [number, number] = [0, 0]): string => {
  const { rules: special, leaderTimeline = 1, blocked = [], ...over } = situation;
  const table = createRouteTable(nodes, leaderTimeline, { ...rules, ...special }, new Set(blocked), NOW_MS);
  const route = decideRoute(request(over), table, random, 50);
  return route.kind === 'node' ? `${route.role} ${route.node}` : `wait: ${route.reason}`;
};

describe('decideRoute', () => {
  it('sends writes to the leader and reads to followers', () => {
    expect(at({ access: 'leader' }, [leader, node('n2')])).toBe('leader n1');
    expect(at({}, [leader, node('n2')])).toBe('follower n2');
  });

  it('takes the clearly quicker and less busy of two drawn followers', () => {
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

  it('leaves a follower alone that answers nothing, and not one with a statement that takes long', () => {
    const other = node('n3', { latencyMs: 8 });
    const silent = (unanswered: number): RouteNode => node('n2', { outstanding: unanswered, unanswered });
    expect(at({}, [leader, silent(2), other])).toBe('follower n2');
    expect(at({}, [leader, silent(3), other])).toBe('follower n3');
    // Nobody else is there.
    expect(at({}, [leader, silent(3)])).toBe('follower n2');
  });

  it('spreads nearly equal followers by the random numbers', () => {
    const slightlyQuicker = node('n3', { latencyMs: 0.9 });
    expect(at({}, [leader, node('n2'), slightlyQuicker], [0, 0])).toBe('follower n2');
    expect(at({}, [leader, node('n2'), slightlyQuicker], [0.6, 0])).toBe('follower n3');
  });

  it('draws by weight, and never a follower without any', () => {
    const nodes = [leader, node('n2', { weight: 3 }), node('n3'), node('n4', { weight: 0 })];
    const drawn = Array.from({ length: 100 }, (_, index) => at({}, nodes, [index / 100, 0.5]));
    expect(drawn.filter((route) => route === 'follower n2')).toHaveLength(75);
    expect(drawn.filter((route) => route === 'follower n3')).toHaveLength(25);
    expect(at({}, [leader, node('n4', { weight: 0 })])).toBe('leader n1');
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

  it('reads from followers without a position where the app allows it, but never in a session', () => {
    const special = { allowsUnknownLag: true };
    for (const over of [{ lsn: null }, { lagBytes: null }]) {
      expect(at({ rules: special }, [leader, node('n2', over)])).toBe('follower n2');
      expect(at({ rules: special, isSession: true }, [leader, node('n2', over)])).toBe('leader n1');
    }
    expect(at({ rules: special }, [leader, node('n2', { lagBytes: 1001 })])).toBe('leader n1');
  });

  it('holds followers to a limit in time', () => {
    const old = node('n2', { freshAsOfMs: NOW_MS - 600 });
    expect(at({ rules: { maxLagMs: 500 } }, [leader, old])).toBe('leader n1');
    expect(at({ rules: { maxLagMs: 700 } }, [leader, old])).toBe('follower n2');
    expect(at({ rules: { maxLagMs: 700 } }, [leader, node('n2', { freshAsOfMs: null })])).toBe('leader n1');
    expect(at({ completeAsOfMs: NOW_MS - 500 }, [leader, old])).toBe('leader n1');
    expect(at({ completeAsOfMs: NOW_MS - 700 }, [leader, old])).toBe('follower n2');
  });

  it('prefers followers of its zone, and takes others when there is none', () => {
    const nodes = [leader, node('n2', { zone: 'a' }), node('n3', { zone: 'b', latencyMs: 0.1 })];
    for (const random of [0, 0.9]) {
      expect(at({ rules: { zone: 'a' } }, nodes, [random, 0])).toBe('follower n2');
      expect(at({ rules: { zone: 'a' }, excluded: new Set(['n2']) }, nodes, [random, 0])).toBe('follower n3');
    }
    expect(at({ rules: { zone: 'c' } }, nodes)).toBe('follower n3');
  });

  it('leaves out what the circuit breaker holds back', () => {
    expect(at({ blocked: ['n2'] }, [leader, node('n2'), node('n3', { latencyMs: 99 })])).toBe('follower n3');
    expect(at({ blocked: ['n2'] }, [leader, node('n2')])).toBe('leader n1');
    expect(at({ blocked: ['n1'], access: 'leader' }, [leader])).toBe('leader n1');
  });

  it('skips nodes that failed this statement', () => {
    expect(at({ excluded: new Set(['n2']) }, [leader, node('n2')])).toBe('leader n1');
    expect(at({ excluded: new Set(['n1', 'n2']) }, [leader, node('n2')])).toMatch(/^wait: leader n1/);
  });

  it('waits without a leader, but still reads from followers', () => {
    expect(at({ access: 'leader' }, [node('n2')])).toBe('wait: there is no leader');
    expect(at({}, [node('n2')])).toBe('follower n2');
  });

  it('asks no follower to wait for what is too far off', () => {
    const nodes = [leader, node('n2', { timeline: 1 })];
    expect(at({ token: parseToken('1-0/4E8') }, nodes)).toBe('follower n2');
    expect(at({ token: parseToken('1-0/4E9') }, nodes)).toBe('leader n1');
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

  it('keeps a session on the follower it reads from, unless another is twice as quick', () => {
    const stay = { preferred: 'n2', isSession: true };
    expect(at(stay, [leader, node('n2'), node('n3')], [0.99, 0])).toBe('follower n2');
    expect(at(stay, [leader, node('n2', { latencyMs: 1.9 }), node('n3')], [0.99, 0])).toBe('follower n2');
    expect(at(stay, [leader, node('n2', { latencyMs: 2.1 }), node('n3')], [0.99, 0])).toBe('follower n3');
    expect(at(stay, [leader, node('n2', { isUp: false }), node('n3')])).toBe('follower n3');
  });

  it('asks no follower for a write whose position is unknown', () => {
    const token = parseToken('1-FFFFFFFF/FFFFFFFF');
    expect(at({ token }, [leader, node('n2')])).toBe('leader n1');
  });

  it('waits when the session has seen a newer leader than this pool', () => {
    expect(at({ token: parseToken('2-0/50'), leaderTimeline: 1 }, [leader])).toMatch(/^wait: the session/);
  });
});

describe('explainRoute', () => {
  it('says of every server why it may or may not take the statement', () => {
    const nodes = [
      leader,
      node('n2', { outstanding: 2, latencyMs: 0.8, zone: 'a' }),
      node('n3', { lagBytes: 2000 }),
      node('n4', { isUp: false, role: 'unknown' }),
      node('n5'),
      node('n6', { lsn: null }),
      node('n7', { timeline: 2 }),
      node('n8', { zone: 'b' }),
    ];
    const held = { ...rules, zone: 'a' };
    const blocked = new Set(['n5']);
    const table = createRouteTable(nodes, 1, held, blocked, NOW_MS);
    const asked = request({ token: parseToken('1-0/50') });
    const explained = explainRoute({
      classification: classify('SELECT 1'),
      request: asked,
      route: decideRoute(asked, table, [0, 0], 0),
      table,
      nodes,
      rules: held,
      blocked,
      nowMs: NOW_MS,
      nameOf: (key) => `db${key.slice(1)}`,
      watermarkOf: () => ({ lsn: parseLsn('0/60'), observedAtMs: 0 }),
    });
    expect(String(explained).split('\n')).toEqual([
      'It goes to follower db2: read, 3 eligible followers.',
      'The text is a read (read only).',
      '  - leader db1    reads come here when no follower may answer',
      "  + follower db2  2 in flight, 0.8 ms a statement, 0 bytes behind, was seen past the session's position",
      '  - follower db3  is 2000 bytes behind, more than maxReadLagBytes 1000',
      '  - unknown db4   is down',
      '  - follower db5  failed several times in a row, and is left out for a while',
      '  - follower db6  reports no position, so that its lag is unknown',
      '  - follower db7  is not known to be on timeline 1, which the session has seen',
      '  - follower db8  is in zone b, and zone a is preferred',
    ]);
  });
});

const anyNode = fc.record({
  key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
  role: fc.constantFrom('leader' as const, 'follower' as const, 'unknown' as const),
  isUp: fc.boolean(),
  timeline: fc.constantFrom(null, 1, 2),
  lsn: fc.constantFrom(null, parseLsn('0/100')),
  lagBytes: fc.constantFrom(null, 0, 1000, 1001),
  freshAsOfMs: fc.constantFrom(null, NOW_MS - 100, NOW_MS - 900),
  zone: fc.constantFrom(null, 'a', 'b'),
  weight: fc.constantFrom(0, 1, 2.5),
  load: fc.record({
    outstanding: fc.nat(20),
    unanswered: fc.nat(9),
    unansweredSinceMs: fc.nat(50),
    latencyMs: fc.double({ min: 0, max: 50, noNaN: true }),
  }),
});

const anySituation = fc.record({
  nodes: fc
    .uniqueArray(anyNode, { selector: ({ key }) => key, maxLength: 5 })
    .filter((nodes) => nodes.filter(({ role }) => role === 'leader').length <= 1),
  access: fc.constantFrom('any' as const, 'leader' as const),
  token: fc.constantFrom(null, parseToken('1-0/50'), parseToken('2-0/50')),
  isSession: fc.boolean(),
  completeAsOfMs: fc.constantFrom(-Infinity, NOW_MS - 500),
  excluded: fc.subarray(['a', 'b', 'c', 'd', 'e']),
  blocked: fc.subarray(['a', 'b', 'c', 'd', 'e']),
  maxLagMs: fc.constantFrom(Infinity, 500),
  zone: fc.constantFrom(null, 'a'),
  allowsUnknownLag: fc.boolean(),
  first: fc.double({ min: 0, max: 0.999_999, noNaN: true }),
  second: fc.double({ min: 0, max: 0.999_999, noNaN: true }),
});

describe('any situation', () => {
  it('sends nothing where it must not go, and waits only without a usable node', () => {
    fc.assert(
      fc.property(anySituation, (given) => {
        const isSession = given.isSession || given.token !== null;
        const { maxLagMs, zone, allowsUnknownLag } = given;
        const held = { ...rules, maxLagMs, zone, allowsUnknownLag };
        const blocked = new Set(given.blocked);
        const table = createRouteTable(given.nodes, 2, held, blocked, NOW_MS);
        const excluded = new Set(given.excluded);
        const asked = { ...given, preferred: null, isSession, excluded };
        const route = decideRoute(asked, table, [given.first, given.second], 50);
        const mayAnswer = given.nodes.filter(
          ({ key, role, isUp, weight, lsn, lagBytes, freshAsOfMs, timeline }) =>
            role === 'follower' &&
            isUp &&
            weight > 0 &&
            !excluded.has(key) &&
            !given.blocked.includes(key) &&
            (lsn !== null && lagBytes !== null
              ? lagBytes <= 1000 && NOW_MS - (freshAsOfMs ?? -Infinity) <= given.maxLagMs
              : given.allowsUnknownLag && !isSession) &&
            (given.token === null ||
              (timeline ?? (given.token.timeline === 1 ? 1 : 0)) === given.token.timeline) &&
            (freshAsOfMs ?? -Infinity) >= given.completeAsOfMs,
        );
        const explained = explainRoute({
          classification: classify('SELECT 1'),
          request: asked,
          route,
          table,
          nodes: given.nodes,
          rules: held,
          blocked,
          nowMs: NOW_MS,
          nameOf: (key) => key,
          watermarkOf: () => null,
        });
        const told = explained.nodes.filter(({ isEligible }) => isEligible).map(({ name }) => name);
        const near = mayAnswer.filter((other) => other.zone === zone);
        const expected = zone !== null && near.length > 0 ? near : mayAnswer;
        if (given.access === 'any' && expected.length > 0)
          expect(told).toEqual(expected.map(({ key }) => key));
        else expect(told).toEqual(route.kind === 'node' ? [route.node] : []);
        const chosen = given.nodes.find(({ key }) => route.kind === 'node' && key === route.node);
        if (given.access === 'any' && mayAnswer.length > 0) {
          expect(mayAnswer).toContain(chosen);
          const isNear = mayAnswer.some(({ zone }) => zone === given.zone);
          if (given.zone !== null && isNear) expect(chosen?.zone).toBe(given.zone);
        } else if (route.kind === 'node') {
          expect(chosen?.role).toBe('leader');
          expect(excluded.has(route.node)).toBe(false);
        } else {
          expect(given.nodes.some(({ key, role }) => role === 'leader' && !excluded.has(key))).toBe(false);
        }
      }),
    );
  });
});
