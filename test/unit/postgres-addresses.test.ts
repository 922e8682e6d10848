import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isHost, isNetwork } from '../../src/postgres/addresses.ts';
import { renderHba, renderSettings } from '../../src/postgres/settings.ts';

/** What the outside tried to have written into pg_hba.conf, and relatives of it. */
const FORGED = [
  '127.0.0.2/32 trust\n#',
  '127.0.0.2/32 trust #',
  '10.0.0.1 trust',
  'db1\nhost all all all trust',
  "db1'",
  'db1"',
  'db1#',
  'db 1',
  'db1\0',
  'db1\r',
  'all',
  'ALL',
  'samenet',
  'samehost',
  '.example.com',
  'db1.',
  '-db1',
  'db1,db2',
  'http://db1',
  'db1:5432',
  '0.0.0.0',
  '::',
  '0.0.0.0/0',
  'fe80::1%lo trust',
  'fe80::1%lo',
  '127.1',
  '2130706433',
  '',
  'a'.repeat(254),
];

describe('a host', () => {
  test.each([
    '127.0.0.1',
    '10.20.30.40',
    '::1',
    'fd00::12',
    'db1',
    'db-1.example.com',
    'my_db_1',
    '1a.example',
  ])('%s is one', (text) => expect(isHost(text)).toBe(true));

  test.each(FORGED)('%j is none', (text) => expect(isHost(text)).toBe(false));

  test('never has a character that means something in pg_hba.conf, a connection string or a URL', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 20 }), fc.nat(), (text, seed) => {
        const at = seed % 10;
        const candidate = `${'example.de'.slice(0, at)}${text}${'example.de'.slice(at)}`;
        if (isHost(candidate)) expect(candidate).toMatch(/^[A-Za-z0-9_.:-]+$/);
      }),
    );
  });
});

describe('a network', () => {
  test.each(['10.0.0.0/8', '0.0.0.0/0', '127.0.0.1/32', '::/0', 'fd00::/128'])('%s is one', (text) =>
    expect(isNetwork(text)).toBe(true),
  );

  test.each([
    ...FORGED.filter((text) => text !== '0.0.0.0/0'),
    '10.0.0.0/33',
    '10.0.0.0',
    '::/129',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/8/8',
    '10.0.0.0/8 trust',
  ])('%j is none', (text) => expect(isNetwork(text)).toBe(false));
});

describe('files that PostgreSQL reads', () => {
  test('pg_hba.conf takes nothing that is no address', () => {
    for (const forged of FORGED.filter((text) => text !== '0.0.0.0/0')) {
      expect(() => renderHba({ nodes: [], clients: [forged] })).toThrow('is not written to pg_hba.conf');
      expect(() => renderHba({ nodes: ['127.0.0.1/32', forged], clients: [] })).toThrow(
        'is not written to pg_hba.conf',
      );
    }
    expect(renderHba({ nodes: ['10.0.0.0/8', 'db1', '::1/128'], clients: [] })).toContain(
      'host all all db1 scram-sha-256\n',
    );
  });

  test('lockstep.conf takes no name and no value with another line in it', () => {
    expect(() => renderSettings({ "a = 'b'\nc": 1 })).toThrow('is not written to lockstep.conf');
    expect(() => renderSettings({ a: 'b\0' })).toThrow('is not written to lockstep.conf');
    expect(() => renderSettings({ a: 'b\rhost' })).toThrow('is not written to lockstep.conf');
  });
});
