import { describe, expect, it } from 'vitest';
import { describeQuorum, describeRepairs, missingAt } from '../../src/admin/page/quorum-words.js';
import type { QuorumPicture, QuorumServer } from '../../src/admin/quorum.ts';

function node(name: string, given: Partial<QuorumServer> = {}): QuorumServer {
  const rest = { hints: {}, cells: 5, slots: 1, problem: null };
  return { name, state: 'up', ...rest, ...given };
}

function quorum(nodes: readonly QuorumServer[]): QuorumPicture {
  const up = nodes.filter(({ state }) => state === 'up').length;
  return { isFounded: true, hasQuorum: up >= 2, acceptsWrites: up > 0, nodes };
}

const whole = quorum([node('q1'), node('q2'), node('q3')]);
const gone = quorum([
  node('q1', { hints: { q3: 7 } }),
  node('q2', { hints: { q3: 2 } }),
  node('q3', { state: 'down' }),
]);
const back = quorum([node('q1', { hints: { q3: 3 } }), node('q2'), node('q3')]);

describe('the panel of the independent servers', () => {
  it('says what works', () => {
    expect(describeQuorum(whole)).toMatchObject({
      tone: 'good',
      text: '3 of 3 servers are up: every level works',
    });
    expect(describeQuorum(gone)).toMatchObject({ tone: 'warn' });
    const lone = quorum([node('q1'), node('q2', { state: 'down' }), node('q3', { state: 'refused' })]);
    expect(describeQuorum(lone).text).toContain('only "one" and "accept"');
    expect(describeQuorum({ ...whole, isFounded: false }).text).toContain('nobody has used them');
  });

  it('tells what a server misses, and how that is brought to it', () => {
    expect([missingAt(gone, 'q3'), missingAt(gone, 'q1')]).toEqual([9, 0]);
    expect(describeRepairs(whole, whole)).toEqual([]);
    expect(describeRepairs(whole, gone)).toEqual(['q3 is gone; what it misses is noted at the others']);
    expect(describeRepairs(gone, back)).toEqual([
      'q3 is back; 9 keys to bring',
      '6 keys brought to q3; 3 to go',
    ]);
    expect(describeRepairs(back, whole)).toEqual(['3 keys brought to q3; it has all that was noted']);
  });
});
