import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { askLink } from '../../../src/cli/regions/ask-region.ts';
import { createToken, loadDefinition, writeRegions } from '../../../src/cli/regions/regions-folder.ts';
import type { RegionPlace, RegionsConfig } from '../../../src/cli/regions/regions-folder.ts';
import { compareSettled } from '../../../src/multi-leader/compare.ts';
import type { Comparison } from '../../../src/multi-leader/compare.ts';
import { openSession } from '../../../src/multi-leader/sessions.ts';
import { readShapes } from '../../../src/multi-leader/tables/shape.ts';
import type { PostgresServer } from '../../../src/postgres/server.ts';
import { createRandom } from '../../../src/testing/simulation/random.ts';
import { freePort, until } from '../../integration/fixture.ts';
import { killHard } from '../../integration/following.ts';
import { builds, LogicalServers } from '../../integration/logical-servers.ts';
import { Clock } from '../hosts/clock.ts';
import { compilePreload } from '../hosts/preload.ts';
import { REGIONS_SCHEMA, RegionWriter } from './load.ts';

type Fault = 'process-killed' | 'server-killed' | 'cut' | 'healed';

const NAMES = ['eu', 'us', 'ap'];
const PATIENCE_MS = 240_000;
/** Below `maxSkewMs`, so that a region waits for another one's clock, and is not held. */
const MAX_SKEW_MS = 400;
const DEFINITION = fileURLToPath(new URL('./definition.ts', import.meta.url));

export interface RegionsChaosOptions {
  /** For how long faults go on. */
  readonly seconds: number;
  readonly seed: number;
  readonly progress: (line: string) => void;
}

export interface RegionsChaosResult {
  readonly seed: number;
  readonly seconds: number;
  readonly faults: Readonly<Record<Fault, number>>;
  readonly writes: number;
  readonly refused: number;
  readonly rows: number;
  readonly conflicts: number;
  /** From the last fault's end until all regions were equal. */
  readonly settledInMs: number;
  readonly violations: readonly string[];
}

interface RunningRegion {
  readonly place: RegionPlace;
  readonly server: PostgresServer;
  readonly clock: Clock;
  readonly writer: RegionWriter;
  process: ChildProcess;
}

/**
 * Three regions that write the same keys while their processes and servers are killed and their links cut by chance, and their servers'
 * clocks differ.
 * In the end all must hold the same rows and the same log of conflicts, and every acknowledged count must be in the sums.
 */
export async function runRegionsChaos(options: RegionsChaosOptions): Promise<RegionsChaosResult> {
  const random = createRandom(options.seed);
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;
  const faults: Record<Fault, number> = { 'process-killed': 0, 'server-killed': 0, cut: 0, healed: 0 };
  const violations: string[] = [];
  await using regions = await ChaosRegions.start(options.seed);
  const cut = new Set<string>();
  const endsAt = performance.now() + options.seconds * 1_000;
  while (performance.now() < endsAt) {
    await delay(500 + random() * 2_500);
    const fault = pick<Fault>(['process-killed', 'server-killed', 'cut', 'healed', 'healed']);
    const pair = pick(['eu us', 'us ap', 'eu ap']);
    if (fault === 'cut' || fault === 'healed') {
      if (cut.has(pair) === (fault === 'cut')) continue;
      await regions.setCut(pair, fault === 'cut');
      if (fault === 'cut') cut.add(pair);
      else cut.delete(pair);
    } else {
      const name = pick(NAMES);
      options.progress(`${new Date().toISOString()} ${name}: ${fault}`);
      await regions.kill(name, fault);
    }
    faults[fault]++;
    options.progress(
      `${new Date().toISOString()} ${fault} ${JSON.stringify(faults)}, ${violations.length} violations`,
    );
  }
  await regions.stopWriting();
  for (const pair of cut) await regions.setCut(pair, false);
  const healedAt = performance.now();
  const rows = await regions.check(violations);
  const settledInMs = Math.round(performance.now() - healedAt);
  const conflicts = await regions.checkConflicts(violations);
  const { writes, refused } = regions.counts();
  const { seed, seconds } = options;
  return { seed, seconds, faults, writes, refused, rows, conflicts, settledInMs, violations };
}

class ChaosRegions implements AsyncDisposable {
  readonly #folder: string;
  readonly #servers: LogicalServers[] = [];
  readonly #regions: RunningRegion[] = [];
  #preload: string | null = null;
  #config: RegionsConfig = { definition: DEFINITION, token: createToken(), regions: [] };

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start(seed: number): Promise<ChaosRegions> {
    const all = new ChaosRegions(await mkdtemp(join(tmpdir(), 'lockstep-regions-')));
    try {
      await all.#start(seed);
      return all;
    } catch (error) {
      await all[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(seed: number): Promise<void> {
    const random = createRandom(seed);
    const started: Pick<RunningRegion, 'place' | 'server' | 'clock'>[] = [];
    await chmod(this.#folder, 0o755);
    this.#preload = await compilePreload(this.#folder);
    for (const [index, name] of NAMES.entries()) {
      const build = builds[index % builds.length];
      if (build === undefined) throw new Error('there is no PostgreSQL');
      const servers = await LogicalServers.create(build);
      this.#servers.push(servers);
      const clock = new Clock(join(this.#folder, `clock-${name}`));
      await clock.create();
      await clock.set(((random() * 2 - 1) * MAX_SKEW_MS) / 2 / 1_000);
      const { url, client, server } = await this.#withClock(clock, () => servers.start(name));
      client.on('error', () => undefined);
      await client.query(REGIONS_SCHEMA);
      started.push({ place: { name, url, host: '127.0.0.1', apiPort: await freePort() }, server, clock });
    }
    this.#config = { ...this.#config, regions: started.map(({ place }) => place) };
    await writeRegions(this.#folder, this.#config);
    for (const [index, { place, server, clock }] of started.entries()) {
      const writer = new RegionWriter(place.url, index, createRandom(seed * 10 + index));
      this.#regions.push({ place, server, clock, writer, process: this.#spawn(place.name) });
    }
    // What is written before a region is ready is not sent: all answer first.
    for (const pair of ['eu us', 'us ap', 'eu ap']) await this.setCut(pair, false);
    for (const { writer } of this.#regions) writer.start();
  }

  #spawn(name: string): ChildProcess {
    const script = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url));
    const child = spawn(
      process.execPath,
      [script, 'regions', 'run', name, '--state', this.#folder, '--until-stdin-closes'],
      { stdio: ['pipe', 'ignore', 'pipe'] },
    );
    child.stdin?.on('error', () => undefined);
    child.stderr?.on('data', (chunk: Buffer) => process.stderr.write(`${name}: ${chunk.toString()}`));
    return child;
  }

  /** Lets what is started meanwhile go by a clock; without a C compiler all go by the machine's. */
  async #withClock<T>(clock: Clock, start: () => Promise<T>): Promise<T> {
    const wanted = this.#preload === null ? {} : { LD_PRELOAD: this.#preload, ...clock.environment };
    Object.assign(process.env, wanted);
    try {
      return await start();
    } finally {
      for (const name of Object.keys(wanted)) delete process.env[name];
    }
  }

  #at(name: string): RunningRegion {
    const found = this.#regions.find(({ place }) => place.name === name);
    if (found === undefined) throw new Error(`there is no region ${name}`);
    return found;
  }

  async setCut(pair: string, isCut: boolean): Promise<void> {
    const [a = '', b = ''] = pair.split(' ');
    for (const [to, from] of [
      [a, b],
      [b, a],
    ] as const) {
      await until(
        `${to} ${isCut ? 'cuts' : 'heals'} ${from}`,
        async () => {
          this.#revive(to);
          await askLink(this.#config, this.#at(to).place, from, isCut ? 'cut' : 'heal');
          return true;
        },
        PATIENCE_MS,
      );
    }
  }

  /** Who supervises a region's process starts it again when it ends, as where its server was down at its start. */
  #revive(name: string): void {
    const region = this.#at(name);
    if (region.process.exitCode !== null || region.process.signalCode !== null)
      region.process = this.#spawn(name);
  }

  async kill(name: string, fault: 'process-killed' | 'server-killed'): Promise<void> {
    const region = this.#at(name);
    if (fault === 'process-killed') await killHard(region.process);
    else {
      await region.server.stop('immediate');
      await this.#withClock(region.clock, () => region.server.startAlone());
    }
    this.#revive(name);
  }

  async stopWriting(): Promise<void> {
    await Promise.all(this.#regions.map(({ writer }) => writer.stop()));
  }

  counts(): { writes: number; refused: number } {
    const sum = (of: (writer: RegionWriter) => number): number =>
      this.#regions.reduce((total, { writer }) => total + of(writer), 0);
    return { writes: sum(({ writes }) => writes), refused: sum(({ refused }) => refused) };
  }

  /** Returns how many rows each region has. */
  async check(violations: string[]): Promise<number> {
    for (const name of NAMES) this.#revive(name);
    const definition = await loadDefinition(DEFINITION);
    const clients = await Promise.all(
      this.#regions.map(async ({ place }) => ({
        name: place.name,
        client: await openSession(place.url, 'compare'),
      })),
    );
    try {
      const [first] = clients;
      if (first === undefined) return 0;
      const shapes = await readShapes(first.client, definition);
      const compare = (): Promise<Comparison> =>
        compareSettled(clients, [...shapes.values()], { patienceMs: PATIENCE_MS, pause: () => delay(300) });
      await compare();
      // Once all has arrived it is decided about rows without their parent and about carts, which writes again.
      await untilDecided(clients).catch((error: unknown) => violations.push((error as Error).message));
      const comparison = await compare();
      if (!comparison.isEqual) violations.push(`regions differ: ${JSON.stringify(comparison.differences)}`);
      for (const { name, client } of clients) {
        const { rows } = await client.query<{ counted: string; told: string }>(
          `SELECT (SELECT sum(n) FROM public.counted)::text AS counted,
                  (SELECT coalesce(sum(by), 0) FROM public.history)::text AS told`,
        );
        if (rows[0]?.counted !== rows[0]?.told)
          violations.push(`${name}: the counters say ${rows[0]?.counted}, and the history ${rows[0]?.told}`);
      }
      violations.push(...(await this.#findLost(clients)), ...(await this.#findLostItems(clients)));
      return comparison.tables.reduce((sum, table) => sum + (table.rows['eu'] ?? 0), 0);
    } finally {
      await Promise.all(clients.map(({ client }) => client.end().catch(() => undefined)));
    }
  }

  /** Acknowledged writes that some region does not have. */
  async #findLost(
    clients: readonly { readonly name: string; readonly client: pg.Client }[],
  ): Promise<string[]> {
    const found = await Promise.all(
      clients.map(async ({ name, client }) => {
        const { rows } = await client.query<{ id: string; at: string; isApplied: boolean }>(
          `SELECT id, pg_xact_commit_timestamp(xmin)::text AS at,
             coalesce((pg_xact_commit_timestamp_origin(xmin)).roident, 0) <> 0 AS "isApplied" FROM public.history`,
        );
        return { name, rows: new Map(rows.map((row) => [row.id, row])) };
      }),
    );
    return this.#regions.flatMap(({ place, writer }) =>
      writer.acknowledged
        .filter((id) => found.some(({ rows }) => !rows.has(id)))
        .map(
          (id) =>
            `${id}, acknowledged in ${place.name}, is lost: ${JSON.stringify(found.map(({ name, rows }) => [name, rows.get(id) ?? null]))}`,
        ),
    );
  }

  /** Acknowledged items that are in no cart: a resolver unites carts, and nothing is ever taken out. */
  async #findLostItems(clients: readonly { readonly client: pg.Client }[]): Promise<string[]> {
    const { rows = [] } =
      (await clients[0]?.client.query<{ item: string }>('SELECT unnest(items) AS item FROM public.carts')) ??
      {};
    const found = new Set(rows.map(({ item }) => item));
    return this.#regions.flatMap(({ place, writer }) =>
      writer.inCarts
        .filter((item) => !found.has(item))
        .map((item) => `${item}, put into a cart in ${place.name}, is in none`),
    );
  }

  /** Once everything is settled, all regions have logged the same. */
  async checkConflicts(violations: string[]): Promise<number> {
    const read = async ({ place }: RunningRegion): Promise<{ open: number; log: string; count: number }> => {
      const client = new pg.Client({ connectionString: place.url });
      await client.connect();
      try {
        const { rows } = await client.query(
          `SELECT (SELECT count(*)::int FROM lockstep_regions.operations) AS open, count(*)::int AS count,
             md5(coalesce(string_agg(concat_ws('/', table_name, key, kind, decision, later_us, later_region,
               before_row, seen_row, written_row, result_row), ' '
               ORDER BY table_name, key, later_us, later_region), '')) AS log FROM lockstep_regions.conflicts`,
        );
        return rows[0];
      } finally {
        await client.end();
      }
    };
    // A region may have settled, and logged, what another one has not read yet.
    const deadlineMs = performance.now() + PATIENCE_MS;
    for (;;) {
      const logs = await Promise.all(this.#regions.map(read));
      const isSettled = logs.every(({ open, log }) => open === 0 && log === logs[0]?.log);
      if (isSettled) return logs[0]?.count ?? 0;
      if (performance.now() > deadlineMs) {
        violations.push(`logs of conflicts differ, or never settle: ${JSON.stringify(logs)}`);
        return logs[0]?.count ?? 0;
      }
      await delay(300);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopWriting();
    await Promise.all(this.#regions.map(({ process: child }) => killHard(child)));
    await Promise.all(this.#servers.map((servers) => servers[Symbol.asyncDispose]()));
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function untilDecided(clients: readonly { readonly client: pg.Client }[]): Promise<void> {
  const sql = `SELECT (SELECT count(*)::int FROM public.items i WHERE NOT EXISTS (SELECT FROM public.orders WHERE id = i.order_id))
    + (SELECT count(*)::int FROM public.photos p WHERE NOT EXISTS (SELECT FROM public.albums WHERE id = p.album_id))
    + (SELECT count(*)::int FROM lockstep_regions.orphans) + (SELECT count(*)::int FROM lockstep_regions.open_conflicts)
    + (SELECT count(*)::int FROM lockstep_regions.operations) AS open`;
  await until(
    'nothing is left to decide in any region',
    async () => {
      const all = await Promise.all(clients.map(({ client }) => client.query<{ open: number }>(sql)));
      return all.every(({ rows }) => rows[0]?.open === 0);
    },
    PATIENCE_MS,
  );
}
