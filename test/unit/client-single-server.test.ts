import { afterEach, describe, expect, it, vi } from 'vitest';
import { connect, LockstepPool } from '../../src/client/pool.ts';
import { resolveOptions } from '../../src/client/resolve-options.ts';
import { resolvePoolOptions } from '../../src/client/single-server.ts';
import { hasStatementOptions, readStatement } from '../../src/client/statement/queryable.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('resolvePoolOptions', () => {
  it('finds the one server as pg does, and leaves pg its options', () => {
    vi.stubEnv('PGHOST', 'db.example');
    vi.stubEnv('PGPORT', '6000');
    const none = resolvePoolOptions({});
    expect(none).toMatchObject({
      isSingleServer: true,
      connection: {},
      hosts: [{ host: 'db.example', port: 6000 }],
    });
    const connectionString = 'postgres://app:a%2Cb@one.example/shop?application_name=shop';
    const options = { connectionString, max: 3, failoverTimeoutMs: 100, binary: true };
    const fromUrl = resolvePoolOptions(options);
    expect(fromUrl.connection).toBe(options);
    expect(fromUrl.hosts).toMatchObject([{ host: 'one.example', port: 6000 }]);
    expect(fromUrl.limits.failoverTimeoutMs).toBe(100);
    const socket = resolvePoolOptions({ host: '/var/run/postgresql', port: 5433 });
    expect(socket.hosts).toMatchObject([{ host: '/var/run/postgresql', port: 5433 }]);
  });

  it('takes the URLs of one server that only pg takes, and connect() does not', () => {
    const urls = [
      ['postgresql://app@one.example/shop?schema=public', 'one.example'],
      ['postgresql:///shop?host=/var/run/postgresql', '/var/run/postgresql'],
    ] as const;
    for (const [connectionString, host] of urls) {
      const single = resolvePoolOptions({ connectionString });
      expect(single).toMatchObject({ isSingleServer: true, hosts: [{ host }] });
      expect(() => connect(connectionString)).toThrow(/URL/);
    }
    expect(resolveOptions('postgresql://app@one.example/shop').isSingleServer).toBeUndefined();
  });

  it('takes hosts, and several of them in a URL, as a cluster', () => {
    const hosts = [{ host: 'one.example' }];
    expect(resolvePoolOptions({ hosts }).isSingleServer).toBeUndefined();
    const url = resolvePoolOptions({ connectionString: 'postgres://app:a,b@one.example,two.example/shop' });
    expect(url.isSingleServer).toBeUndefined();
    expect(url.hosts).toMatchObject([{ host: 'one.example' }, { host: 'two.example' }]);
  });

  it('checks its own options, and in a cluster all of them', () => {
    expect(() => resolvePoolOptions({ failoverTimeoutMs: -1 })).toThrow('failoverTimeoutMs');
    expect(() => resolvePoolOptions({ hosts: [{ host: 'one.example' }], pipeline: true })).toThrow(
      'pipeline',
    );
  });
});

describe('a statement for one server', () => {
  it.each([
    ['maxStalenessMs', -1],
    ['durabilityTimeoutMs', 0.5],
  ])('is refused with a wrong %s, as in a cluster', async (name, value) => {
    const pool = new LockstepPool({ host: '127.0.0.1', port: 1 });
    await expect(pool.query({ text: 'SELECT 1', [name]: value })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(name) as string,
    });
    await pool.end();
  });

  it('stays pg’s own with a right maxStalenessMs', () => {
    expect(hasStatementOptions({ text: 'SELECT 1', maxStalenessMs: 2000 })).toBe(false);
    expect(hasStatementOptions({ text: 'SELECT 1', maxStalenessMs: undefined })).toBe(false);
    expect(hasStatementOptions('SELECT 1')).toBe(false);
  });
});

describe.each([
  ['one server', () => new LockstepPool({ host: '127.0.0.1', port: 1 })],
  ['a cluster', () => connect({ hosts: [{ host: '127.0.0.1', port: 1 }], user: 'app' })],
])('a misspelt option, for %s,', (_kind, open) => {
  const text = 'INSERT INTO t VALUES (1)';
  const refused = (remedy: string): object => ({
    code: 'CONFIG_INVALID',
    outcome: 'not-applied',
    message: expect.stringContaining(remedy) as string,
  });

  it.each([
    ['durabilty', 'durability'],
    ['Durability', 'durability'],
    ['durabilityTimeout', 'durabilityTimeoutMs'],
    ['idempotency_key', 'idempotencyKey'],
    ['maxStalenessMS', 'maxStalenessMs'],
  ])('of a query is not left out without a word: %s', async (name, meant) => {
    const pool = open();
    const config = { text, [name]: 'sync' };
    const calls = [
      pool.query(config),
      pool.query(config, []),
      pool.leader.query(config),
      pool.session().query(config),
      pool.transaction([config]),
    ];
    for (const call of calls) await expect(call).rejects.toMatchObject(refused(`did you mean "${meant}"?`));
    await pool.end();
  });

  it.each([
    ['durabilty', 'did you mean "durability"?'],
    ['readonly', 'did you mean "readOnly"?'],
    ['isolationLevel', '"isolationLevel" is not a known option of transaction()'],
  ])('of a transaction is not left out without a word: %s', async (name, remedy) => {
    const pool = open();
    for (const work of [[{ text }], async () => undefined])
      await expect(pool.transaction(work as never, { [name]: 'x' })).rejects.toMatchObject(refused(remedy));
    await pool.end();
  });
});

describe('a query’s config', () => {
  it('may have whatever else pg or a library puts there', () => {
    const config = {
      text: 'SELECT 1',
      values: [],
      name: 'one',
      rowMode: 'array',
      types: {},
      callback: undefined,
      binary: true,
      portal: 'p',
      rows: 10,
      queryMode: 'extended',
      query_timeout: 10,
      options: {},
      duration: 1,
      stability: 1,
    };
    expect(hasStatementOptions(config)).toBe(false);
    expect(readStatement(config, undefined)).toBe(config);
  });
});
