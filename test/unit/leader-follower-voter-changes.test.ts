import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { majority } from '../../src/consensus/proposer.ts';
import type { ClusterState, ListedNode } from '../../src/leader-follower/core/cluster-state.ts';
import { addNode, leaveNode, presentNodes } from '../../src/leader-follower/members/core/node-list.ts';
import type { SeedNode } from '../../src/leader-follower/members/core/node-list.ts';
import { grantVote, revokeVote, voterSetOf } from '../../src/leader-follower/members/core/voter-changes.ts';
import type { VoteReport } from '../../src/leader-follower/members/core/voter-changes.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { stateOf } from './decide-views.ts';

const names = Array.from({ length: 10 }, (_, index) => parseNodeId(`n${index + 1}`));
const [n1, n2, n3, n4] = names as [NodeId, NodeId, NodeId, NodeId];

function listed(name: NodeId): ListedNode {
  const number = names.indexOf(name);
  return { name, host: '10.0.0.1', port: 5440 + number, agentPort: 7410 + number, failoverPriority: 1 };
}

function founder(name: NodeId): SeedNode {
  return { ...listed(name), witness: false, voter: true };
}

const seed = [founder(n1), founder(n2), founder(n3)];
const state = stateOf();
const withFourth = addNode(seed, state, listed(n4));

function report(name: NodeId, changes: Partial<VoteReport> = {}): VoteReport {
  const fine = { name, isReachable: true, acceptor: `file of ${name}`, obstacle: null, isFollowing: true };
  return { ...fine, ...changes };
}

const fine = names.map((name) => report(name));

function except(...changed: readonly VoteReport[]): readonly VoteReport[] {
  return fine.map((one) => changed.find(({ name }) => name === one.name) ?? one);
}

function votersOf(of: ClusterState): readonly string[] {
  return presentNodes(seed, of)
    .filter(({ voter }) => voter)
    .map(({ name }) => name);
}

describe('votes that come and go', () => {
  it('are those of the founders until one changes, and are all in the register from then on', () => {
    expect(voterSetOf(null)).toBeNull();
    expect(voterSetOf(withFourth)).toBeNull();
    const granted = grantVote(seed, withFourth, n4, fine);
    expect(voterSetOf(granted)).toEqual({
      epoch: 1,
      voters: [
        { name: n1, url: 'http://10.0.0.1:7410', acceptor: null },
        { name: n2, url: 'http://10.0.0.1:7411', acceptor: null },
        { name: n3, url: 'http://10.0.0.1:7412', acceptor: null },
        { name: n4, url: 'http://10.0.0.1:7413', acceptor: 'file of n4' },
      ],
    });
    const revoked = revokeVote(seed, granted, n2, n1, fine);
    expect(revoked.votersEpoch).toBe(2);
    expect(votersOf(revoked)).toEqual([n1, n3, n4]);
    // Whatever cluster.json says of them.
    expect(presentNodes([], revoked)).toEqual(presentNodes(seed, revoked));
    // It goes on as a node without a vote, and comes back by the file that it has then.
    expect(presentNodes(seed, revoked).find(({ name }) => name === n2)).toMatchObject({ voter: false });
    const again = grantVote(seed, revoked, n2, except(report(n2, { acceptor: 'new file' })));
    expect(voterSetOf(again)?.voters.find(({ name }) => name === n2)?.acceptor).toBe('new file');
  });

  it('name no file where others than the agents vote', () => {
    const etcd = fine.map((one) => ({ ...one, acceptor: null }));
    const granted = grantVote(seed, withFourth, n4, etcd);
    expect(granted.nodes?.every((node) => node.acceptor === undefined || node.acceptor === null)).toBe(true);
    expect(votersOf(granted)).toEqual([n1, n2, n3, n4]);
  });

  it('let a node be removed once it has none', () => {
    expect(() => leaveNode(seed, withFourth, n3, n1)).toThrow('n3 votes. Revoke its vote first');
    const revoked = revokeVote(seed, withFourth, n3, n1, fine);
    const left = leaveNode(seed, revoked, n3, n1);
    const gone = { ...left, sync: { ...left.sync, members: [n2] } };
    expect(presentNodes(seed, gone).find(({ name }) => name === n3)).toMatchObject({
      isLeaving: true,
      failoverPriority: 0,
    });
    expect(() => grantVote(seed, left, n3, fine)).toThrow('n3 is being removed');
  });

  it('come to a witness, which follows nobody', () => {
    const withWitness = [...seed, { ...founder(n4), witness: true, failoverPriority: 0 }];
    const revoked = revokeVote(withWitness, state, n4, n1, fine);
    const again = grantVote(withWitness, revoked, n4, except(report(n4, { isFollowing: false })));
    expect(presentNodes(withWitness, again).find(({ name }) => name === n4)).toMatchObject({
      witness: true,
      voter: true,
    });
  });

  it.each([
    ['a node that is none', 'n9', fine, /There is no node "n9"; there are n1, n2, n3, n4/],
    ['a voter', n2, fine, /n2 votes already/],
    [
      'a voter that lost its vote',
      n2,
      except(report(n2, { obstacle: 'it is lost' })),
      /n2 has a vote already, and the vote of n2 does not count \(it is lost\)\. Where it is lost for good, revoke/,
    ],
    ['a node that does not answer', n4, except(report(n4, { isReachable: false })), /n4 does not answer/],
    ['a node that is copied', n4, except(report(n4, { isFollowing: false })), /n4 does not follow yet/],
    [
      'any, beside an older release',
      n4,
      except(report(n2, { acceptor: undefined })),
      /n2 runs an older release/,
    ],
    [
      'one that could not make a majority',
      n4,
      except(report(n2, { isReachable: false }), report(n3, { obstacle: 'lost its vote' })),
      /Of 4 voters 3 would have to agree, and n2 does not answer, the vote of n3 does not count \(lost its vote\)/,
    ],
  ] as const)('are not granted to %s', (_, name, reports, message) => {
    expect(() => grantVote(seed, withFourth, name, reports)).toThrow(message);
  });

  it('are seven at most', () => {
    let grown = state;
    for (const name of names.slice(3, 7)) {
      grown = grantVote(seed, addNode(seed, grown, listed(name)), name, fine);
    }
    const eighth = names[7]!;
    expect(() => grantVote(seed, addNode(seed, grown, listed(eighth)), eighth, fine)).toThrow(
      '7 voters at most',
    );
  });

  it.each([
    ['from a node that is none', 'n9', fine, /There is no node "n9"/],
    ['from a node without one', n4, fine, /n4 does not vote/],
    ['from whoever leads', n1, fine, /n1 leads\. Hand the leadership over first/],
    [
      'where the rest could not agree',
      n2,
      except(report(n3, { isReachable: false })),
      /Of 2 voters 2 would have to agree, and n3 does not answer/,
    ],
  ] as const)('are not taken %s', (_, name, reports, message) => {
    expect(() => revokeVote(seed, withFourth, name, n1, reports)).toThrow(message);
  });

  it('are not taken from the last that votes and may lead', () => {
    const single = [founder(n1), { ...founder(n2), voter: false }];
    expect(() =>
      revokeVote(single, { ...state, leadership: { ...state.leadership, holder: n2 } }, n1, n2, fine),
    ).toThrow(/none may lead/);
  });

  it('change by one at a time, so that majorities before and after meet', () => {
    const change = fc.record({ kind: fc.constantFrom('grant', 'revoke'), name: fc.constantFrom(...names) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 25 }), (changes) => {
        let now = names.slice(3).reduce((built, name) => addNode(seed, built, listed(name)), state);
        for (const { kind, name } of changes) {
          let next: ClusterState;
          try {
            next =
              kind === 'grant' ? grantVote(seed, now, name, fine) : revokeVote(seed, now, name, n1, fine);
          } catch {
            continue;
          }
          const [before, after] = [votersOf(now), votersOf(next)];
          const union = new Set([...before, ...after]).size;
          expect(union).toBe(Math.max(before.length, after.length));
          expect(majority(before.length) + majority(after.length)).toBeGreaterThan(union);
          expect(next.votersEpoch).toBe((now.votersEpoch ?? 0) + 1);
          expect(after).toContain(n1);
          now = next;
        }
      }),
    );
  });
});
