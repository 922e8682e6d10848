import { chmod, mkdtemp, rm, statfs, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Clock } from '../chaos/hosts/clock.ts';
import { runTool } from '../chaos/hosts/command.ts';
import { compilePreload } from '../chaos/hosts/preload.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const NAMES = ['eu', 'us', 'ap'];
const SCHEMA = `
CREATE TABLE notes (v text PRIMARY KEY, more text);
CREATE TABLE changed (id int PRIMARY KEY, v text);
`;
const ALL = `SELECT coalesce(string_agg(v, ' ' ORDER BY v), '') AS all FROM notes`;

class Notes {
  readonly servers: RegionServers;

  constructor(servers: RegionServers) {
    this.servers = servers;
  }

  write(name: string, v: string): Promise<unknown> {
    return this.servers.at(name).client.query('INSERT INTO notes (v) VALUES ($1)', [v]);
  }

  untilIn(names: readonly string[], wanted: string): Promise<true> {
    return until(`${names.join(', ')} have ${wanted}`, async () => {
      const found = await Promise.all(names.map((name) => this.servers.at(name).client.query(ALL)));
      return found.every(({ rows }) => rows[0]?.all === wanted);
    });
  }
}

describe('tables that differ between regions', () => {
  let notes: Notes;
  beforeAll(async () => {
    notes = new Notes(await RegionServers.start(NAMES, SCHEMA));
  });
  afterAll(async () => notes?.servers[Symbol.asyncDispose]());

  it('stop the links that bring their changes, with a sentence, until they are the same again', async () => {
    const { servers } = notes;
    const eu = servers.at('eu').client;
    await eu.query(`ALTER TABLE changed ADD COLUMN extra text DEFAULT 'x'`);
    await eu.query(`INSERT INTO changed VALUES (1, 'a', 'b')`);
    for (const to of ['us', 'ap'])
      await servers.untilLink('eu', to, ({ detail }) => detail?.includes('extra is missing here') === true);
    // The other links go on.
    await notes.write('us', 'us');
    await notes.untilIn(NAMES, 'us');
    for (const name of ['us', 'ap'])
      await servers.at(name).client.query(`ALTER TABLE changed ADD COLUMN extra text DEFAULT 'x'`);
    await until('all have the row', async () => {
      const found = await Promise.all(servers.regions.map(({ client }) => client.query('TABLE changed')));
      return found.every(({ rows }) => JSON.stringify(rows) === '[{"id":1,"v":"a","extra":"b"}]');
    });
    expect((await servers.compare()).differences).toEqual([]);
  });
});

describe('a clock that is an hour ahead', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-clocks-'));
  await chmod(folder, 0o755);
  const preload = await compilePreload(folder);
  const clocks = new Map<string, Clock>();
  let notes: Notes | null = null;
  afterAll(async () => {
    await notes?.servers[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it.skipIf(preload === null)(
    'holds what its region wrote, and nothing else, and loses none of it',
    async () => {
      const servers = await RegionServers.start(
        NAMES,
        SCHEMA,
        {},
        {
          around: async (name, _dataDir, start) => {
            const clock = new Clock(join(folder, name));
            await clock.create();
            clocks.set(name, clock);
            return withEnvironment({ LD_PRELOAD: preload ?? '', ...clock.environment }, start);
          },
        },
      );
      notes = new Notes(servers);
      await notes.write('eu', '1-eu');
      await notes.untilIn(NAMES, '1-eu');
      await clocks.get('eu')?.set(3_600);
      await notes.write('eu', '2-eu');
      for (const to of ['us', 'ap'])
        await servers.untilLink(
          'eu',
          to,
          ({ state, detail }) =>
            state === 'held' && /clock of region eu is 3[56]\d\d\.\d s ahead/.test(detail ?? ''),
        );
      await notes.write('us', '2-us');
      await notes.untilIn(['us', 'ap'], '1-eu 2-us');
      await notes.untilIn(['eu'], '1-eu 2-eu 2-us');
      // Time passes.
      for (const name of ['us', 'ap']) await clocks.get(name)?.set(3_601);
      await notes.untilIn(NAMES, '1-eu 2-eu 2-us');
      await servers.untilLink('eu', 'us', ({ state }) => state === 'streaming');
      expect((await servers.compare()).differences).toEqual([]);
    },
  );
});

const canMount = await runTool('mount', '--version').then(
  () => process.getuid?.() === 0,
  () => false,
);

describe.skipIf(!canMount)('a full disk', () => {
  const mounted: string[] = [];
  let notes: Notes | null = null;
  afterEach(async () => {
    await notes?.servers[Symbol.asyncDispose]();
    for (const path of mounted.splice(0)) {
      await runTool('umount', '-l', path);
      await rm(path, { recursive: true });
    }
  });

  it('stops its region alone, which loses nothing and goes on when there is room', async () => {
    const servers = await RegionServers.start(
      NAMES,
      SCHEMA,
      {},
      {
        around: async (name, dataDir, start) => {
          if (name === 'eu') {
            const path = await mkdtemp(join(tmpdir(), 'lockstep-small-disk-'));
            await runTool('mount', '-t', 'tmpfs', '-o', 'size=400m,mode=0755', 'tmpfs', path);
            mounted.push(path);
            await symlink(path, dirname(dataDir));
          }
          return start();
        },
      },
    );
    notes = new Notes(servers);
    await notes.write('eu', '1-eu');
    await notes.untilIn(NAMES, '1-eu');
    const { dataDir, server, client } = servers.at('eu');
    const ballast = join(dirname(dataDir), 'ballast');
    const { bavail, bsize } = await statfs(dirname(dataDir));
    await writeFile(ballast, Buffer.alloc(bavail * bsize - 1_000_000)).catch(() => undefined);
    // Until nothing can be written there any more.
    let written = 0;
    await until('the disk is full', async () => {
      const more = `INSERT INTO notes SELECT 'fill-' || g, repeat(md5(g::text), 100) FROM generate_series($1::int, $1 + 999) g`;
      try {
        await client.query(more, [written]);
      } catch {
        return true;
      }
      written += 1_000;
      return false;
    });
    await notes.write('us', '2-us');
    const without = `SELECT count(*)::int AS n FROM notes WHERE v LIKE '2-%'`;
    await until('ap has it', async () => (await servers.at('ap').client.query(without)).rows[0]?.n === 1);
    await rm(ballast);
    // A server that could not write its log has ended itself.
    await server.stop('immediate').catch(() => undefined);
    await server.startAlone();
    await servers.at('eu').region.stop();
    const again = await servers.startAnew('eu');
    await again.client.query(`INSERT INTO notes (v) VALUES ('2-eu')`);
    await until('all have both', async () => {
      const found = await Promise.all(servers.regions.map((one) => one.client.query(without)));
      return found.every(({ rows }) => rows[0]?.n === 2);
    });
    expect((await servers.compare()).differences).toEqual([]);
    const { rows } = await servers
      .at('us')
      .client.query(`SELECT count(*)::int AS n FROM notes WHERE v LIKE 'fill-%'`);
    expect(rows[0]?.n).toBeGreaterThanOrEqual(written);
  });
});

async function withEnvironment<T>(
  wanted: Readonly<Record<string, string>>,
  start: () => Promise<T>,
): Promise<T> {
  Object.assign(process.env, wanted);
  try {
    return await start();
  } finally {
    for (const name of Object.keys(wanted)) delete process.env[name];
  }
}
