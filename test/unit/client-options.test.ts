import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { parseClusterUrl } from '../../src/client/cluster-url.ts';
import { OWN_OPTIONS, resolveOptions } from '../../src/client/resolve-options.ts';
import type { LockstepOptions } from '../../src/client/app/options.ts';
import { isInPassFile } from '../../src/wire/pass-file.ts';

const message = (input: unknown): string => {
  try {
    resolveOptions(input as LockstepOptions);
  } catch (error) {
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', outcome: 'not-applied' });
    return (error as Error).message;
  }
  throw new Error('It was accepted.');
};

describe('a pass file that the URL names', () => {
  async function passFile(text: string, mode = 0o600): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-passfile-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, 'pass');
    await writeFile(path, text, { mode });
    return path;
  }

  it('gives the password of its servers', async () => {
    const path = await passFile('db1:5432:shop:app:one\ndb2:*:*:*:one\ndb3:*:*:*:two\n');
    const password = (hosts: string): unknown =>
      resolveOptions(`postgresql://app@${hosts}/shop?passfile=${encodeURIComponent(path)}`).connection
        .password;
    expect(password('db1,db2')).toBe('one');
    expect(password('db4')).toBeUndefined();
    expect(() => password('db1,db3')).toThrow(/^Give the password itself: passfile ".*" has several/);
    // Or the one that the file does not name would get the other's password.
    for (const hosts of ['db1,db4', 'db4,db2,db1', 'db1,db1:5433'])
      expect(() => password(hosts)).toThrow(
        /^Add a line for each server to passfile .* for server [12] of [23],/,
      );
    expect(parseClusterUrl(`postgresql://app:mine@db1/shop?passfile=${path}`).password).toBe('mine');
    // Options go before the URL, so that it is their servers and login that get the password.
    const beside = (options: LockstepOptions): unknown =>
      resolveOptions({ connectionString: `postgresql://app@db1/shop?passfile=${path}`, ...options })
        .connection.password;
    expect(beside({})).toBe('one');
    expect(beside({ hosts: [{ host: 'db3' }] })).toBe('two');
    expect(beside({ hosts: [{ host: 'db4' }] })).toBeUndefined();
    expect(beside({ user: 'other' })).toBeUndefined();
    expect(beside({ database: 'other' })).toBeUndefined();
  });

  it('is refused where it cannot be read, or others may', async () => {
    expect(() => parseClusterUrl('postgresql://a@db/x?passfile=/nowhere/p')).toThrow(
      /^Name a pass file .*ENOENT/,
    );
    const open = await passFile('*:*:*:*:one', 0o644);
    expect(() => parseClusterUrl(`postgresql://a@db/x?passfile=${open}`)).toThrow(/^Run chmod 600 on/);
  });

  it('may be a link, and is a regular file that is not too large', async () => {
    const path = await passFile('*:*:*:*:one');
    const [link, pipe] = [`${path}-link`, `${path}-pipe`];
    await symlink(path, link);
    execFileSync('mkfifo', ['-m', '600', pipe]);
    const password = (file: string): unknown =>
      parseClusterUrl(`postgresql://a@db/x?passfile=${file}`).password;
    const isIn = (file: string): boolean => {
      vi.stubEnv('PGPASSFILE', file);
      onTestFinished(() => void vi.unstubAllEnvs());
      return isInPassFile({ host: 'db', port: 5432, database: 'x', user: 'a' });
    };
    expect([password(link), isIn(link)]).toEqual(['one', true]);
    // Nobody writes to it, so that whoever waits does so for ever.
    expect(isIn(pipe)).toBe(false);
    expect(() => password(pipe)).toThrow(/^Name a regular file .* is no regular file\.$/);
    expect(() => password('/dev/zero')).toThrow(/is no regular file\.$/);
    await truncate(path, 1_000_000);
    expect(password(path)).toMatch(/^one/);
    await truncate(path, 1_000_001);
    expect(() => password(path)).toThrow(/^Name a regular file of at most 1000000 bytes: .* is larger\.$/);
    // pg would look through it all.
    expect(isIn(path)).toBe(true);
  });
});

describe('resolveOptions', () => {
  it('reads a URL with several servers', () => {
    const { hosts, connection } = resolveOptions(
      'postgresql://app:p%40ss%2Fw%25@127.0.0.1:5441,[::1]:5442,db3.example.com/my%20app?application_name=shop',
    );
    expect(hosts).toEqual([
      { host: '127.0.0.1', port: 5441, zone: null, weight: 1 },
      { host: '::1', port: 5442, zone: null, weight: 1 },
      { host: 'db3.example.com', port: 5432, zone: null, weight: 1 },
    ]);
    expect(connection).toEqual({
      user: 'app',
      password: 'p@ss/w%',
      database: 'my app',
      application_name: 'shop',
    });
  });

  it('takes options, also beside a URL', () => {
    const { hosts, connection, limits } = resolveOptions({
      connectionString: 'postgres://app@a:1/x',
      password: 'secret',
      max: 3,
      failoverTimeoutMs: 5000,
      ssl: undefined,
    });
    expect(hosts).toMatchObject([{ host: 'a', port: 1 }]);
    expect(connection).toEqual({ user: 'app', database: 'x', password: 'secret', max: 3 });
    expect(limits).toMatchObject({ failoverTimeoutMs: 5000, durabilityTimeoutMs: 10_000, gateWaitMs: 20 });
    expect(resolveOptions({ host: 'a', port: 7 }).hosts).toMatchObject([{ host: 'a', port: 7 }]);
  });

  it('lets a pool read its own writes, unless told otherwise', () => {
    expect(resolveOptions({ host: 'a' }).consistency).toBe('own-writes');
    expect(resolveOptions({ host: 'a', consistency: 'eventual' }).consistency).toBe('eventual');
    // Followers of unknown position could not answer after the first write.
    expect(resolveOptions({ host: 'a', allowUnknownLag: true }).consistency).toBe('eventual');
    expect(resolveOptions({ host: 'a', allowUnknownLag: true, consistency: 'own-writes' })).toMatchObject({
      consistency: 'own-writes',
    });
  });

  it.each([
    ['a typo', { hosts: [{ host: 'a' }], failoverTimeoutms: 1 }, /did you mean "failoverTimeoutMs"\?/],
    ['an unknown option', { hosts: [{ host: 'a' }], turbo: true }, /"turbo" is not a known option/],
    ['an unknown URL parameter', 'postgresql://a/x?pool=3', /"pool" is not a known URL parameter/],
    ['a policy that shadows', { host: 'a', durability: { sync: 'off' } }, /"sync", which is built in/],
    ['a policy for none', { host: 'a', durability: { default: 'off' } }, /synchronous_commit=local/],
    [
      'a policy that is none',
      { host: 'a', durability: { order: 'fast' } },
      /"fast" is not a durability; use one of off/,
    ],
    ['no server', {}, /No server is given/],
    ['no servers', { hosts: [] }, /No server is given/],
    ['a server twice', 'postgresql://a:1,a:1/x', /given twice/],
    ['a port that is none', 'postgresql://a:99999/x', /port from 1 to 65535/],
    ['a port in words', 'postgresql://a:http/x', /is not a host with a port/],
    ['an empty server', 'postgresql://a:1,,b:1/x', /is not a host with a port/],
    ['another scheme', 'mysql://app:p%40ss@a/x', /^Begin the URL with postgresql:/],
    ['a scheme in capitals', 'POSTGRESQL://app:pw@a/x', /^Begin the URL with postgresql:/],
    ['quotes around it', '"postgresql://app:pw@a/x"', /without quotes/],
    ['no scheme', 'app:pw@a/x', /^Begin the URL with postgresql:/],
    ['a number as text', { hosts: [{ host: 'a' }], max: '10' }, /"max" is the text "10"; expected a whole/],
    ['a port as text', { hosts: [{ host: 'a', port: '1' }] }, /port "1"; expected a name and a number/],
    ['a server as text', { hosts: ['a:1'] }, /expected \{ host, port \} for each/],
    ['a lone percent sign', 'postgresql://u:50%@a/x', /%25/],
    ['a negative limit', { host: 'a', gateWaitMs: -1 }, /"gateWaitMs" is -1/],
    ['a fraction of a connection', { host: 'a', max: 0.5 }, /"max" is 0.5/],
    ['a consistency that is none', { host: 'a', consistency: 'strong' }, /use "own-writes" or "eventual"/],
    ['a hedge in words', { host: 'a', hedgeAfterMs: 'soon' }, /"hedgeAfterMs" is the text "soon"/],
    ['a negative weight', { hosts: [{ host: 'a', weight: -1 }] }, /weight -1/],
    ['an authority that is not there', 'postgresql://a/x?sslrootcert=/nowhere.pem', /cannot be read/],
    ['a timeout that is none', 'postgresql://a/x?statement_timeout=soon', /Give statement_timeout/],
    ['followers alone', 'postgresql://a/x?target_session_attrs=standby', /use pool\.follower/],
    ['sslmode nonsense', 'postgresql://a/x?sslmode=maybe', /sslmode "maybe"/],
  ] as [string, unknown, RegExp][])('refuses %s in one sentence', (_, input, expected) => {
    expect(message(input)).toMatch(expected);
    expect(message(input)).not.toMatch(/\n/);
  });

  it('takes the parameters of managed services, with the meaning that libpq gives them', () => {
    const ssl = (parameters: string): unknown =>
      resolveOptions(`postgresql://a/x?${parameters}`).connection.ssl;
    expect(ssl('sslmode=prefer')).toEqual({ rejectUnauthorized: false });
    expect(ssl('ssl=true')).toBe(true);
    expect(ssl('ssl=0')).toBe(false);
    expect(ssl('sslmode=disable')).toBe(false);
    expect(ssl('sslmode=require')).toEqual({ rejectUnauthorized: false });
    expect(ssl('sslmode=verify-full')).toBe(true);
    const ca = fileURLToPath(import.meta.url);
    const text = readFileSync(ca, 'utf8');
    expect(ssl(`sslmode=verify-full&sslrootcert=${ca}`)).toEqual({ ca: text });
    expect(ssl(`sslrootcert=${ca}`)).toEqual({ ca: text });
    expect(ssl(`sslmode=require&sslrootcert=${ca}`)).toMatchObject({
      ca: text,
      checkServerIdentity: expect.any(Function),
    });
    expect(ssl(`sslmode=require&sslrootcert=${ca}`)).not.toHaveProperty('rejectUnauthorized');
    const { connection } = resolveOptions('postgresql://a/x?sslmode=verify-full&channel_binding=require');
    expect(connection).toMatchObject({ enableChannelBinding: 'require', ssl: true });
  });

  it('takes what pg and libpq take', () => {
    const { connection } = resolveOptions(
      `postgresql://a/x?statement_timeout=1000&lock_timeout=2000&query_timeout=3000&connect_timeout=4
        &idle_in_transaction_session_timeout=5000&keepalives=1&keepalives_idle=6&client_encoding=utf8
        &fallback_application_name=shop&target_session_attrs=read-write&load_balance_hosts=random`.replaceAll(
        /\s/g,
        '',
      ),
    );
    expect(connection).toEqual({
      database: 'x',
      statement_timeout: 1000,
      lock_timeout: 2000,
      query_timeout: 3000,
      connectionTimeoutMillis: 4000,
      idle_in_transaction_session_timeout: 5000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 6000,
      client_encoding: 'utf8',
      fallback_application_name: 'shop',
    });
  });

  it('never shows the password', () => {
    expect(message('postgresql://app:hunter2@a:99999/x')).not.toContain('hunter2');
    expect(message('mysql://app:hunter2@a/x')).not.toContain('hunter2');
    expect(message('postgresql://app:hunter2')).not.toContain('hunter2');
    expect(message('postgresql://app:1234567/x')).not.toContain('1234567');
  });

  it.each([
    'p%40ss/w#rd',
    'secret@',
    'sec@ret',
    'sec@re/t',
    'sec@re?t',
    '12345/secret',
    '1@2?secret',
    '1@2?sslmode=secret',
    '1@2?statement_timeout=secret',
    'sec#re/t',
    'sec%ret/t',
    '1,2/secret',
    'sec,ret@',
  ])('says how to write the password %s, and shows no part of it', (password) => {
    for (const hosts of ['a', 'a:1,b:2']) {
      const said = message(`postgresql://app:${password}@${hosts}/x`);
      expect(said).toMatch(/^Percent-encode .* \(@ as %40, \/ as %2F/);
      for (const part of password.match(/[a-z1-9]{3,}/g) ?? [])
        expect(said.replace('password', '')).not.toContain(part);
    }
  });

  it('takes a plain @ as a value of a parameter, and in a password what splits no URL', () => {
    const { connection } = resolveOptions('postgresql://app:secret@a/x?application_name=me@home');
    expect(connection).toMatchObject({ password: 'secret', application_name: 'me@home' });
    expect(parseClusterUrl('postgresql://a/x\n')).toMatchObject({ database: 'x' });
    const { hosts } = parseClusterUrl('postgresql://db1,db2?application_name=me@home');
    expect(hosts).toEqual([{ host: 'db1' }, { host: 'db2' }]);
    const password = 's:e?c#r,e=t';
    expect(resolveOptions(`postgresql://app:${password}@a/x`).connection).toMatchObject({ password });
  });
});

it('docs/client.md has a row for each option that pg does not know', () => {
  const text = readFileSync(fileURLToPath(new URL('../../docs/client.md', import.meta.url)), 'utf8');
  const [, table = ''] = /^## Options$(.*?)^#/ms.exec(text) ?? [];
  const rows = [...table.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name);
  expect([...OWN_OPTIONS].filter((name) => !rows.includes(name))).toEqual([]);
});
