import { afterEach, describe, expect, it, vi } from 'vitest';
import { connect, LockstepPool } from '../../src/client/pool.ts';
import { resolveOptions } from '../../src/client/resolve-options.ts';
import { resolvePoolOptions } from '../../src/client/single-server.ts';
import { hasStatementOptions } from '../../src/client/statement/queryable.ts';

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
