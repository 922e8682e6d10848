import { describe, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { cart, cas, counter, lww, map, set, siblings } from '../../src/leaderless/index.ts';
import type { CasResult, Got, GotSiblings, Quorum } from '../../src/leaderless/index.ts';

declare const q: Quorum;

interface Session {
  user: string;
  visits: number;
}

describe('a collection', () => {
  it('has the calls of its kind and no others', () => {
    // @ts-expect-error a value of consensus is not put
    void q.collection('seats', cas<string>()).put;
    // @ts-expect-error the last write needs no consensus
    void q.collection('prefs', lww<string>()).update;
    // @ts-expect-error a cart has lines, not a value
    void q.collection('carts', cart()).put;
    // @ts-expect-error a counter only adds
    void q.collection('hits', counter()).set;
    // @ts-expect-error a set has elements, not a value
    void q.collection('tags', set<string>()).put;
    // @ts-expect-error compare-and-set has no level: it is always a majority
    void q.collection('seats', cas<string>()).create('1', 'ada', { level: 'one' });
    // @ts-expect-error nobody reads at `accept`
    void q.collection('prefs', lww<string>()).get('1', { level: 'accept' });
  });

  it('knows the types of its values', () => {
    const prefs = q.collection('prefs', lww<Session>());
    expectTypeOf(prefs.get('a')).resolves.toEqualTypeOf<Got<Session | undefined>>();
    // @ts-expect-error a field is missing
    void prefs.put('a', { user: 'ada' });
    const sessions = q.collection('sessions', map<Session>());
    expectTypeOf(sessions.get('a')).resolves.toEqualTypeOf<Got<Partial<Session> | undefined>>();
    // @ts-expect-error there is no such field
    void sessions.set('a', { usr: 'ada' });
    expectTypeOf(q.collection('notes', siblings<string>()).get('a')).resolves.toEqualTypeOf<
      GotSiblings<string>
    >();
    expectTypeOf(
      q.collection('seats', cas<Session>()).create('a', { user: '', visits: 1 }),
    ).resolves.toEqualTypeOf<CasResult<Session>>();
    // @ts-expect-error a set of numbers
    void q.collection('ids', set<number>()).add('a', 'b');
    expectTypeOf(q.collection('hits', counter()).get('a')).resolves.toEqualTypeOf<Got<number>>();
  });

  it('takes the type of its validator', () => {
    const named = q.collection('named', lww(z.object({ name: z.string() })));
    expectTypeOf(named.get('a')).resolves.toEqualTypeOf<Got<{ name: string } | undefined>>();
    q.collection('sessions', map<Session>({ user: z.string() }));
    // @ts-expect-error the validator is of another type
    q.collection('sessions', map<Session>({ user: z.number() }));
  });

  it('ends only where values may end', () => {
    q.collection('prefs', lww<string>(), { ttl: '7d' });
    q.collection('sessions', map<Session>(), { ttl: 60_000 });
    // @ts-expect-error a cart does not end
    q.collection('carts', cart(), { ttl: '7d' });
    // @ts-expect-error neither does a seat
    q.collection('seats', cas<string>(), { ttl: '7d' });
    // @ts-expect-error there is no such unit
    q.collection('prefs', lww<string>(), { ttl: '7y' });
  });
});
