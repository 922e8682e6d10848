import { execFile } from 'node:child_process';
import { access, appendFile, mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { takeBaseBackup } from '../../src/postgres/copy/base-backup.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { assertFreeSpace, createDataFolder, writeSettings } from '../../src/postgres/data-folder.ts';
import { ControlFileReader, readControlFile } from '../../src/postgres/control-file.ts';
import { renderConnInfo } from '../../src/postgres/settings.ts';
import { freePort, ServerFixture, until } from './fixture.ts';

const run = promisify(execFile);
const system = await findPostgres('system').catch(() => null);
const embedded = await findPostgres('embedded').then(async (found) =>
  reachableBinaries(found, await resolveAccount()),
);
const builds = [...(system === null ? [] : [system]), embedded];

describe.each(builds)('a data folder of PostgreSQL $version ($source)', (binaries) => {
  it('is never made over existing files, and made anew after an initdb that was cut off', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const { account } = fixture;
    const dataDir = fixture.dataDir('a');
    await mkdir(dataDir, { recursive: true });
    await writeFile(join(dataDir, 'precious'), 'data');
    const before = await stat(dataDir);
    const options = { binaries, account, superuserPassword: 'x' };
    await expect(createDataFolder({ ...options, dataDir })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await readFile(join(dataDir, 'precious'), 'utf8')).toBe('data');
    expect(await stat(dataDir)).toMatchObject({ mode: before.mode, uid: before.uid });

    const other = fixture.dataDir('b');
    await mkdir(`${other}.initdb`, { recursive: true });
    await writeFile(join(`${other}.initdb`, 'PG_VERSION'), '15\n');
    await createDataFolder({ ...options, dataDir: other });
    expect((await stat(other)).mode & 0o777).toBe(0o700);
    expect(await readdir(join(other, '..'))).toEqual(['data']);
  });

  it.skipIf(process.getuid?.() !== 0)(
    'lets its user read the password, and put nothing in its place',
    async () => {
      await using fixture = await ServerFixture.create(binaries);
      const binDir = join(fixture.root, 'bin');
      await mkdir(binDir);
      const looks = '#!/bin/sh\nfor a; do case $a in --pwfile=*) f=${a#*=}; cat "$f" >&2; d=${f%/*};\n';
      const tries =
        'mv "$f" "$d/moved" 2>/dev/null || touch "$d/new" 2>/dev/null || echo kept >&2;; esac; done; exit 1\n';
      await writeFile(join(binDir, 'initdb'), looks + tries, { mode: 0o755 });
      const options = {
        account: fixture.account,
        superuserPassword: 'known to both',
        dataDir: fixture.dataDir('c'),
      };
      const failure = createDataFolder({ ...options, binaries: { ...binaries, binDir } });
      await expect(failure).rejects.toMatchObject({
        code: 'POSTGRES_FAILED',
        message: expect.stringMatching(/kept$/),
        cause: expect.objectContaining({ stderr: 'known to both\nkept\n' }),
      });
    },
  );

  it('asks its followers for no less than its log was written with (I5)', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const [portA, portB] = [await freePort(), await freePort()];
    await fixture.initialize('a');
    await fixture.configure('a', portA, null);
    // A user's own wishes, after Lockstep's settings.
    await appendFile(
      join(fixture.dataDir('a'), 'postgresql.conf'),
      'max_connections = 321\nmax_prepared_transactions = 7\nmax_locks_per_transaction = 99\n',
    );
    const a = await fixture.start('a', portA);
    await a.promote(10_000);
    const clientA = await a.connect();
    await clientA.query('CHECKPOINT');
    const { rows } = await clientA.query<{ name: string; setting: string }>(
      `SELECT name, setting FROM pg_settings WHERE name IN ('max_connections', 'max_worker_processes', 'max_wal_senders',
         'max_prepared_transactions', 'max_locks_per_transaction')`,
    );
    const identity = await clientA.query<{ id: string }>(
      'SELECT system_identifier::text AS id FROM pg_control_system()',
    );
    expect(await readControlFile(fixture.dataDir('a'))).toMatchObject({
      state: 'other',
      systemIdentifier: identity.rows[0]?.id,
      followerMinimums: Object.fromEntries(rows.map(({ name, setting }) => [name, Number(setting)])),
    });

    await takeBaseBackup({
      source: fixture.address(portA),
      dataDir: fixture.dataDir('b'),
      account: fixture.account,
    });
    await writeFile(join(fixture.dataDir('b'), 'postgresql.conf'), '# no wishes\n');
    const b = await fixture.start('b', portB, portA);
    const clientB = await b.connect();
    expect((await clientB.query('SHOW max_connections')).rows).toEqual([{ max_connections: '321' }]);
    expect((await clientB.query('SHOW max_locks_per_transaction')).rows).toEqual([
      { max_locks_per_transaction: '99' },
    ]);
    await Promise.all([clientA.end(), clientB.end()]);
    await b.stop('fast');
    await a.stop('immediate');
    expect(await readControlFile(fixture.dataDir('b'))).toMatchObject({ state: 'shut down in recovery' });
    expect(await readControlFile(fixture.dataDir('a'))).toMatchObject({ state: 'other' });
  });

  it('has small log segments, and room for as much log as PostgreSQL has with its own', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const port = await freePort();
    await fixture.initialize('a');
    await fixture.configure('a', port, null);
    const server = await fixture.start('a', port);
    const client = await server.connect();
    const { rows } = await client.query<{ name: string; value: string }>(
      `SELECT name, current_setting(name) AS value FROM pg_settings
        WHERE name IN ('wal_segment_size', 'max_wal_size', 'min_wal_size')`,
    );
    await client.end();
    expect(Object.fromEntries(rows.map(({ name, value }) => [name, value]))).toEqual({
      wal_segment_size: '4MB',
      max_wal_size: '1GB',
      min_wal_size: '80MB',
    });
  });

  it('tells the end of its log through a handle that was opened before, and never from a torn control file', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const port = await freePort();
    await fixture.initialize('a');
    const server = await fixture.start('a', port);
    await server.promote(10_000);
    await using reader = await ControlFileReader.open(fixture.dataDir('a'));
    expect(await reader.read()).toMatchObject({ state: 'other' });
    await server.stop('fast');
    const ended = await reader.read();
    expect(ended).toMatchObject({ state: 'shut down' });
    expect(ended).toEqual(await readControlFile(fixture.dataDir('a')));

    const file = await open(join(fixture.dataDir('a'), 'global', 'pg_control'), 'r+');
    const whole = await file.read(Buffer.alloc(8), 0, 8, 32);
    await file.write(Buffer.alloc(8, 0xff), 0, 8, 32);
    expect(await reader.read()).toBeNull();
    await file.write(whole.buffer, 0, 8, 32);
    await file.close();
    expect(await reader.read()).toEqual(ended);
  });

  it('keeps a password with quotes and backslashes through all quoting', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const { account } = fixture;
    await fixture.initialize('a');
    const primaryConninfo = renderConnInfo({ host: '127.0.0.1', password: String.raw`it's \a "b" \\ '' #c` });
    const settings = { primary_conninfo: primaryConninfo, cluster_name: String.raw`o'\n` };
    await writeSettings(fixture.dataDir('a'), account, settings, { nodes: [], clients: [] });
    for (const [name, value] of Object.entries(settings)) {
      const { stdout } = await run(
        join(binaries.binDir, 'postgres'),
        ['-D', fixture.dataDir('a'), '-C', name],
        {
          cwd: '/',
          ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
        },
      );
      expect(stdout).toBe(`${value}\n`);
    }
  });
});

describe('a base backup', () => {
  const binaries = builds[0] ?? embedded;

  it('removes what it copied when it is aborted on the way, and when the password is wrong', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const port = await freePort();
    await fixture.initialize('a');
    const a = await fixture.start('a', port);
    await a.promote(10_000);
    const client = await a.connect();
    await client.query(`CREATE TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)`);
    const dataDir = fixture.dataDir('b');
    const abort = new AbortController();
    let copiedBytes = 0;
    const backup = takeBaseBackup({
      source: fixture.address(port),
      dataDir,
      account: fixture.account,
      signal: abort.signal,
      onProgress: ({ doneBytes, totalBytes }) => {
        copiedBytes = doneBytes;
        if (doneBytes > totalBytes / 4) abort.abort();
      },
    });
    await expect(backup).rejects.toThrow();
    expect(copiedBytes).toBeGreaterThan(1_000_000);
    await expect(access(dataDir)).rejects.toThrow();
    await until('its walsender is gone', async () => {
      const { rowCount } = await client.query('SELECT 1 FROM pg_stat_replication');
      return rowCount === 0;
    });

    const source = { ...fixture.address(port), password: 'wrong' };
    await expect(takeBaseBackup({ source, dataDir, account: fixture.account })).rejects.toMatchObject({
      code: '28P01',
    });
    await client.end();
  });

  it('refuses a folder that holds anything, and a disk that is too small', async () => {
    await using fixture = await ServerFixture.create(binaries);
    const dataDir = fixture.dataDir('b');
    await mkdir(dataDir, { recursive: true });
    await writeFile(join(dataDir, 'precious'), 'data');
    await expect(
      takeBaseBackup({ source: fixture.address(1), dataDir, account: fixture.account }),
    ).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await readFile(join(dataDir, 'precious'), 'utf8')).toBe('data');
    await expect(assertFreeSpace(fixture.root, 2 ** 60)).rejects.toThrow(
      /has \d+ MB free and 1099511627776 MB are needed/,
    );
  });
});
