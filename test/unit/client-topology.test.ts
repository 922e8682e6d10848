import { describe, expect, it } from 'vitest';
import {
  contradicts,
  decideLeadership,
  NO_LEADERSHIP,
  preferNamed,
  viewNodes,
} from '../../src/client/cluster/core/leadership.ts';
import type { AgentStatement, Leadership, Probe } from '../../src/client/cluster/core/leadership.ts';
import { parseTopologyEvent } from '../../src/client/cluster/topology-event.ts';
import { parseLsn } from '../../src/model/lsn.ts';

const leader = (timeline: number, lsn = '0/5000000'): Probe => ({
  kind: 'up',
  isInRecovery: false,
  server: null,
  timeline,
  lsn: parseLsn(lsn),
  receivedLsn: null,
});
const follower = (timeline: number | null, lsn: string | null = '0/4000000'): Probe => ({
  kind: 'up',
  isInRecovery: true,
  server: null,
  timeline,
  lsn: lsn === null ? null : parseLsn(lsn),
  receivedLsn: lsn === null ? null : parseLsn(lsn),
});
const down: Probe = { kind: 'down', reason: 'connect ECONNREFUSED' };
const probes = (...list: Probe[]): Map<string, Probe> =>
  new Map(list.map((probe, index) => [`n${index + 1}`, probe]));
const agents = (over: Partial<AgentStatement> = {}): AgentStatement => ({
  term: 1,
  version: 1,
  leader: 'n1',
  leaderTimeline: 1,
  isServing: true,
  isFresh: true,
  ...over,
});
const decide = (
  previous: Leadership,
  nodes: Map<string, Probe>,
  told: AgentStatement | null = null,
): Leadership => decideLeadership({ previous, probes: nodes, agents: told });

describe('decideLeadership by probes', () => {
  it('takes the one writable node', () => {
    expect(decide(NO_LEADERSHIP, probes(follower(1), leader(1), follower(1))).leader).toBe('n2');
  });

  it('has none while none is writable, and remembers the timeline', () => {
    const first = decide(NO_LEADERSHIP, probes(leader(3), follower(3)));
    const then = decide(first, probes(down, follower(3)));
    expect(then).toMatchObject({ leader: null, timeline: 3 });
  });

  it('has none while the writable node lets transactions end for the next one', () => {
    const handing = { ...leader(1), isHandingOver: true };
    const first = decide(NO_LEADERSHIP, probes(leader(1), follower(1)));
    const then = decide(first, probes(handing, follower(1)));
    expect(then).toMatchObject({ leader: null, timeline: 1, reason: expect.stringContaining('hands') });
    expect(decide(first, probes(handing, follower(1)), agents()).leader).toBeNull();
    // A switchover that was called off, and one that was not.
    expect(decide(then, probes(leader(1), follower(1))).leader).toBe('n1');
    expect(decide(then, probes(handing, leader(2))).leader).toBe('n2');
  });

  it('takes the higher timeline of two writable nodes', () => {
    const first = decide(NO_LEADERSHIP, probes(leader(1), follower(1)));
    expect(decide(first, probes(leader(1), leader(2))).leader).toBe('n2');
  });

  it('never goes back to a woken former leader, also when the new one is gone', () => {
    let now = decide(NO_LEADERSHIP, probes(leader(1), follower(1)));
    now = decide(now, probes(down, leader(2)));
    expect(now.leader).toBe('n2');
    now = decide(now, probes(leader(1), down));
    expect(now).toMatchObject({ leader: null, timeline: 2 });
    expect(decide(now, probes(leader(1), leader(2))).leader).toBe('n2');
  });

  it('takes the one writable node whose timeline is hidden, but not two', () => {
    const hidden: Probe = { ...leader(1), timeline: null } as Probe;
    expect(decide(NO_LEADERSHIP, probes(hidden, follower(null)))).toMatchObject({
      leader: 'n1',
      timeline: 1,
    });
    expect(decide(NO_LEADERSHIP, probes(hidden, hidden)).leader).toBeNull();
    const first = decide(NO_LEADERSHIP, probes(leader(3)));
    expect(decide(first, probes(hidden, follower(3)))).toMatchObject({ leader: 'n1', timeline: 3 });
  });

  it('takes neither of two leaders on one timeline, but keeps the one in use', () => {
    expect(decide(NO_LEADERSHIP, probes(leader(2), leader(2))).leader).toBeNull();
    const first = decide(NO_LEADERSHIP, probes(down, leader(2)));
    expect(decide(first, probes(leader(2), leader(2))).leader).toBe('n2');
  });
});

describe('decideLeadership by agents', () => {
  it('believes the agents before the next probe', () => {
    const told = agents({ term: 2, leader: 'n2', leaderTimeline: 2 });
    expect(decide(NO_LEADERSHIP, probes(leader(1), follower(1)), told)).toMatchObject({
      leader: 'n2',
      term: 2,
    });
  });

  it('refuses a writable node that the agents do not name', () => {
    const told = agents({ term: 2, leader: 'n2', leaderTimeline: null, isServing: false });
    expect(decide(NO_LEADERSHIP, probes(leader(1), follower(1)), told).leader).toBeNull();
    expect(decide(NO_LEADERSHIP, probes(leader(1)), agents({ leader: null })).leader).toBeNull();
  });

  it('never goes back to an older term', () => {
    const now = decide(
      NO_LEADERSHIP,
      probes(down, leader(2)),
      agents({ term: 5, leader: 'n2', leaderTimeline: 2 }),
    );
    const stale = agents({ term: 4, leader: 'n1', leaderTimeline: 1 });
    expect(decide(now, probes(leader(1), down), stale)).toMatchObject({ leader: null, term: 5, timeline: 2 });
  });

  it('never follows agents to an older timeline', () => {
    const now = decide(NO_LEADERSHIP, probes(down, leader(2)));
    const told = agents({ term: 9, leader: 'n1', leaderTimeline: 1 });
    expect(decide(now, probes(leader(1), leader(2)), told).leader).toBeNull();
  });

  it('falls back on probes when no agent is connected, without going back', () => {
    const now = decide(
      NO_LEADERSHIP,
      probes(leader(1), leader(2)),
      agents({ term: 2, leader: 'n2', leaderTimeline: 2 }),
    );
    const silent = agents({ term: 2, leader: 'n2', leaderTimeline: 2, isFresh: false });
    expect(decide(now, probes(leader(1), down), silent).leader).toBeNull();
    expect(decide(now, probes(leader(3), down), silent).leader).toBe('n1');
  });

  it('has no leader while the named one is not reachable', () => {
    expect(decide(NO_LEADERSHIP, probes(down, follower(1)), agents()).leader).toBeNull();
  });
});

describe('one server at several addresses', () => {
  const at = (probe: Probe, server: string): Probe => ({ ...probe, server }) as Probe;

  it('is one leader, not a split history', () => {
    const nodes = probes(at(leader(2), 'a'), at(leader(2), 'a'), at(follower(2), 'b'));
    const first = decide(NO_LEADERSHIP, nodes);
    expect(first.leader).toBe('n1');
    expect(viewNodes(first, nodes).map(({ role }) => role)).toEqual(['leader', 'unknown', 'follower']);
  });

  it('stays the leader under the address in use', () => {
    const first = decide(NO_LEADERSHIP, probes(down, at(leader(2), 'a')));
    const nodes = probes(at(leader(2), 'a'), at(leader(2), 'a'));
    expect(decide(first, nodes).leader).toBe('n2');
    expect(viewNodes(first, nodes).map(({ role }) => role)).toEqual(['unknown', 'leader']);
  });

  it('gets one share of the reads', () => {
    const nodes = probes(
      at(leader(1), 'a'),
      at(follower(1), 'b'),
      at(follower(1), 'b'),
      follower(1),
      follower(1),
    );
    const view = viewNodes(decide(NO_LEADERSHIP, nodes), nodes);
    expect(view.map(({ role }) => role)).toEqual(['leader', 'follower', 'unknown', 'follower', 'follower']);
  });
});

describe('preferNamed', () => {
  it('takes no writes to an address that its name has left for another writable server', () => {
    const nodes = probes(leader(1), leader(1));
    const first = decide(NO_LEADERSHIP, probes(leader(1)));
    expect(decide(first, nodes).leader).toBe('n1');
    expect(decide(first, preferNamed(nodes, new Set(['n1'])) as Map<string, Probe>).leader).toBe('n2');
  });

  it('keeps the only writable one, and reads from followers that left', () => {
    const nodes = probes(leader(1), follower(1));
    expect(preferNamed(nodes, new Set(['n1', 'n2']))).toBe(nodes);
    expect([...preferNamed(probes(leader(1), follower(1)), new Set(['n2'])).values()][1]?.kind).toBe('up');
  });
});

describe('viewNodes', () => {
  it('dates what a follower surely shows by what the leader was seen to have', () => {
    const nodes = probes(
      leader(2),
      follower(2, '0/20'),
      follower(2, '0/10'),
      follower(2, '0/1'),
      follower(1, '0/20'),
    );
    const samples = [
      { lsn: parseLsn('0/10'), askedAtMs: 100 },
      { lsn: parseLsn('0/18'), askedAtMs: 200 },
      { lsn: parseLsn('0/30'), askedAtMs: 300 },
    ];
    const view = viewNodes(decide(NO_LEADERSHIP, nodes), nodes, samples);
    expect(view.map(({ freshAsOfMs }) => freshAsOfMs)).toEqual([null, 200, 100, null, null]);
  });

  it('dates nothing that a follower shows whose timeline is not proven to be the leader’s', () => {
    const samples = [{ lsn: parseLsn('0/10'), askedAtMs: 100 }];
    const freshOf = (timeline: number, followers: readonly Probe[]): readonly (number | null)[] => {
      const nodes = probes(leader(timeline), ...followers);
      const view = viewNodes(decide(NO_LEADERSHIP, nodes), nodes, samples);
      return view.slice(1).map(({ freshAsOfMs }) => freshAsOfMs);
    };
    expect(freshOf(2, [follower(null, '0/20'), follower(2, '0/20')])).toEqual([null, 100]);
    // Before the first failover there is one timeline alone, where a service hides them too.
    expect(freshOf(1, [follower(null, '0/20')])).toEqual([100]);
  });

  it('measures lag against what was received while the leader is not promoted yet', () => {
    const coming: Probe = {
      kind: 'up',
      isInRecovery: true,
      server: null,
      timeline: 1,
      lsn: parseLsn('0/10'),
      receivedLsn: parseLsn('0/30'),
    };
    const view = viewNodes(
      { ...NO_LEADERSHIP, leader: 'n1', timeline: 1 },
      probes(coming, follower(1, '0/20')),
    );
    expect(view[1]?.lagBytes).toBe(16);
  });

  it('measures lag against the leader, and without one against what was received', () => {
    const nodes = probes(leader(1, '0/5000000'), follower(1, '0/4FFFFF0'), down);
    const view = viewNodes(decide(NO_LEADERSHIP, nodes), nodes);
    expect(view.map(({ role, lagBytes }) => [role, lagBytes])).toEqual([
      ['leader', 0],
      ['follower', 16],
      ['unknown', null],
    ]);
    const leaderless = probes(down, follower(1, '0/20'), follower(1, '0/10'));
    expect(viewNodes(NO_LEADERSHIP, leaderless).map(({ lagBytes }) => lagBytes)).toEqual([null, 0, 16]);
  });

  it('shows a second writable node as no follower', () => {
    const nodes = probes(leader(1), leader(2));
    const view = viewNodes(decide(NO_LEADERSHIP, nodes), nodes);
    expect(view[0]).toMatchObject({ role: 'unknown', isUp: true });
  });
});

describe('servers that say something else than the agents', () => {
  const contradicted = (nodes: Map<string, Probe>, told: AgentStatement): boolean =>
    contradicts({ previous: NO_LEADERSHIP, probes: nodes, agents: told });

  it('contradict an old topology that names who follows now, is gone, or nobody', () => {
    const old = agents({ term: 2, leader: 'n1', leaderTimeline: 1 });
    expect(contradicted(probes(follower(2), leader(2)), old)).toBe(true);
    expect(contradicted(probes(down, leader(2)), old)).toBe(true);
    expect(contradicted(probes(follower(2), leader(2)), agents({ leader: null }))).toBe(true);
    expect(contradicted(probes(down, leader(2)), agents({ leader: 'n9', leaderTimeline: 99 }))).toBe(true);
  });

  it('do not while they agree, none is writable, or the agents chose between two that are', () => {
    const told = agents({ term: 2, leader: 'n1', leaderTimeline: 1 });
    expect(contradicted(probes(leader(1), follower(1)), told)).toBe(false);
    expect(contradicted(probes(follower(1), follower(1)), told)).toBe(false);
    expect(contradicted(probes(down, down), agents({ leader: null }))).toBe(false);
    expect(contradicted(probes(leader(1), leader(2)), told)).toBe(false);
  });
});

describe('parseTopologyEvent', () => {
  const topology = { cluster: 'c', version: 1, term: 2, timeline: 1, leader: 'n1', nodes: [] };
  const parse = (event: string, data: string): unknown =>
    parseTopologyEvent({ event, data, signature: 'checked before' });

  it('reads topology events only', () => {
    expect(parse('topology', JSON.stringify(topology))).toEqual(topology);
    expect(parse('event', JSON.stringify(topology))).toBeNull();
  });

  it('survives what is no topology', () => {
    const node = '{"term":1,"version":1,"nodes":[{"name":"n1","host":7,"port":"5432","agentUrl":""}]}';
    for (const data of ['', '{', '[]', 'null', '{"term":"1"}', node])
      expect(parse('topology', data)).toBeNull();
  });
});
