import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { nameAddresses, dropDeparted, isDeparted } from '../../src/client/cluster/core/membership.ts';
import type { Members } from '../../src/client/cluster/core/membership.ts';
import type { Place } from '../../src/client/app/options.ts';
import { authOf, connectionTo, MemberDirectory } from '../../src/client/cluster/members.ts';

const place = (host: string, over: Partial<Place> = {}): Place => ({
  host,
  port: 5432,
  zone: null,
  weight: 1,
  ...over,
});
const NONE: Members = new Map();
const present = (members: Members): string[] =>
  [...members.values()].filter((member) => !isDeparted(member)).map(({ address }) => address);

describe('membership', () => {
  it('makes each address of a name a member, and keeps the name for its certificate', () => {
    const members = nameAddresses(NONE, 'db', place('db', { zone: 'a' }), ['10.0.0.1', '10.0.0.2'], 0);
    expect([...members.keys()]).toEqual(['10.0.0.1:5432', '10.0.0.2:5432']);
    expect(members.get('10.0.0.2:5432')).toMatchObject({ serverName: 'db', zone: 'a' });
    const literal = nameAddresses(NONE, '10.0.0.1', place('10.0.0.1'), ['10.0.0.1'], 0);
    expect(literal.get('10.0.0.1:5432')?.serverName).toBeNull();
  });

  it('drops an address that nobody names any more, but only after a while', () => {
    let members = nameAddresses(NONE, 'db', place('db'), ['10.0.0.1'], 0);
    members = nameAddresses(members, 'db', place('db'), ['10.0.0.2'], 1000);
    expect(present(members)).toEqual(['10.0.0.2']);
    expect(dropDeparted(members, 1999, 1000)).toBe(members);
    expect([...dropDeparted(members, 2000, 1000).keys()]).toEqual(['10.0.0.2:5432']);
  });

  it('keeps an address that comes back, and one that another name has', () => {
    let members = nameAddresses(NONE, 'ro', place('ro'), ['10.0.0.1'], 0);
    members = nameAddresses(members, 'ro', place('ro'), ['10.0.0.2'], 5);
    members = nameAddresses(members, 'ro', place('ro'), ['10.0.0.1'], 10);
    expect(present(members)).toEqual(['10.0.0.1']);
    members = nameAddresses(members, 'rw', place('rw'), ['10.0.0.2'], 15);
    members = nameAddresses(members, 'ro', place('ro'), [], 20);
    expect(present(dropDeparted(members, 10_000, 100))).toEqual(['10.0.0.2']);
  });

  it('holds exactly what was named within the grace time, whatever the order', () => {
    const look = fc.record({
      source: fc.constantFrom('x', 'y'),
      addresses: fc.subarray(['1.1.1.1', '2.2.2.2', '3.3.3.3']),
    });
    fc.assert(
      fc.property(fc.array(look), (looks) => {
        let members = NONE;
        const lastNamedMs = new Map<string, number>();
        const named = new Map<string, readonly string[]>();
        looks.forEach(({ source, addresses }, index) => {
          for (const [, before] of named) for (const address of before) lastNamedMs.set(address, index);
          named.set(source, addresses);
          members = dropDeparted(nameAddresses(members, source, place(source), addresses, index), index, 3);
          const now = new Set([...named.values()].flat());
          expect(new Set(present(members))).toEqual(now);
          const recent = [...lastNamedMs].filter(([, atMs]) => index - atMs < 3).map(([address]) => address);
          expect(new Set([...members.values()].map(({ address }) => address))).toEqual(
            new Set([...now, ...recent]),
          );
        });
      }),
    );
  });
});

describe('connectionTo', () => {
  const named = { address: '10.0.0.1', port: 5432, serverName: 'db.example.com' };

  it('checks the certificate against the name, not the address that it was resolved to', () => {
    expect(connectionTo(named, true)).toMatchObject({
      host: '10.0.0.1',
      ssl: { servername: 'db.example.com' },
    });
    expect(connectionTo(named, { ca: 'x' }).ssl).toEqual({ servername: 'db.example.com', ca: 'x' });
  });

  it('leaves alone what needs no name', () => {
    expect(connectionTo(named, false).ssl).toBe(false);
    expect(connectionTo(named, { servername: 'other' }).ssl).toEqual({ servername: 'other' });
    expect(connectionTo({ ...named, serverName: null }, true).ssl).toBe(true);
    expect(connectionTo(named, undefined)).toEqual({ host: '10.0.0.1', port: 5432 });
  });
});

describe('how a server may authenticate', () => {
  it('is what the app allows for those that it named, and SCRAM alone for those that only agents did', () => {
    const allowed = ['md5', 'none'] as const;
    const lookup = (): Promise<string[]> => Promise.resolve([]);
    const directory = new MemberDirectory([place('10.0.0.1')], lookup, systemClock, () => undefined);
    directory.tell([place('10.0.0.1'), place('10.0.0.2')]);
    const [named, told] = ['10.0.0.1:5432', '10.0.0.2:5432'].map((key) => directory.members.get(key)!);
    expect(authOf(named!, allowed)).toEqual(allowed);
    expect(authOf(told!, allowed)).toEqual(['scram-sha-256']);
    directory.stop();
  });
});
