import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareRegion } from '../../src/multi-leader/setup/region-setup.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';
import { readTreeCpuMs, readTreeMemoryMb } from '../process-usage.ts';
import { meetsBar, renderBar } from '../result.ts';
import type { Bar, ProcessUse, Row } from '../result.ts';
import { median, medianRatio } from '../statistics.ts';
import { BenchServers } from './servers.ts';
import type { BenchServer } from './servers.ts';

export interface PartOptions {
  readonly only: string | null;
  readonly runs: number;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

const SECONDS = 5;
const CLIENTS = 4;
const ROWS = 100_000;
export const NAMES: readonly string[] = ['eu', 'us', 'ap'];
const SCHEMA = ['plain', 'merged']
  .map(
    (table) => `
  CREATE TABLE ${table} (id bigint PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, note text NOT NULL,
    updated_at timestamptz NOT NULL);
  CREATE SEQUENCE ${table}_keys START 1000000 CACHE 100;
  INSERT INTO ${table} SELECT g, g % 50000, 'paid', rpad(md5(g::text), 60, 'x'), '2026-01-01' FROM generate_series(1, ${ROWS}) g;`,
  )
  .join('\n');
const MERGING = 'ALTER TABLE merged REPLICA IDENTITY FULL';
const DEFINITION: RegionsDefinition = { tables: { merged: {} } };
/** What a server has that is no region's: the settings are the only difference. */
const WITHOUT = { wal_level: 'replica', track_commit_timestamp: 'off' };

const SCRIPTS = {
  inserts: (table: string) =>
    `INSERT INTO ${table} VALUES (nextval('${table}_keys'), 7, 'new', repeat('x', 60), now());`,
  updates: (table: string) =>
    `\\set id random(1, ${ROWS})
UPDATE ${table} SET status = 'shipped', customer_id = customer_id + 1, updated_at = now() WHERE id = :id;`,
  'updates-of-100': (table: string) =>
    `\\set id random(1, ${ROWS - 100})
UPDATE ${table} SET status = 'shipped', customer_id = customer_id + 1, updated_at = now() WHERE id BETWEEN :id AND :id + 99;`,
} as const;
type Kind = keyof typeof SCRIPTS;

const BARS: Readonly<Record<'plain' | 'merged', Readonly<Record<Kind, Bar>>>> = {
  plain: { inserts: { least: 0.97 }, updates: { least: 0.97 }, 'updates-of-100': { least: 0.95 } },
  merged: { inserts: { least: 0.9 }, updates: { least: 0.9 }, 'updates-of-100': { least: 0.9 } },
};
const KINDS = Object.keys(SCRIPTS) as Kind[];
const TABLES = ['plain', 'merged'] as const;

/** What local writers pay for the settings, before any link runs. */
export async function runSettingsCost(options: PartOptions): Promise<Row[]> {
  const wanted = wantedRows('settings', options.only);
  if (wanted.length === 0) return [];
  await using servers = await BenchServers.create();
  const [ours, theirs] = [await servers.start('eu'), await servers.start('without', WITHOUT)];
  await ours.client.query(`${SCHEMA}${MERGING}`);
  await theirs.client.query(SCHEMA);
  await prepareRegion(ours.client, { name: 'eu', names: NAMES, definition: DEFINITION });
  await using load = await LoadFolder.create();
  const rows: Row[] = [];
  for (const { metric, table, kind } of wanted) {
    const bar = BARS[table][kind];
    const row = await contest(load, { metric, table, kind, ours, theirs }, options);
    rows.push({ ...row, bar: renderBar(bar), met: row.ratio === null ? null : meetsBar(bar, row.ratio) });
  }
  return rows;
}

/** The same while three regions run, all on this machine: what is left of it for the writer, and who takes the rest. */
export async function runRunningCost(options: PartOptions, definition: string): Promise<Row[]> {
  const wanted = wantedRows('running', options.only);
  if (wanted.length === 0) return [];
  await using servers = await BenchServers.create();
  const regions: BenchServer[] = [];
  for (const name of NAMES) {
    const server = await servers.start(name);
    await server.client.query(`${SCHEMA}${MERGING}`);
    regions.push(server);
  }
  const theirs = await servers.start('without', WITHOUT);
  await theirs.client.query(SCHEMA);
  const pids = await servers.startRegions(regions, definition);
  const [ours] = regions;
  if (ours === undefined) return [];
  await using load = await LoadFolder.create();
  const watched: [string, number][] = [
    ...regions.map(({ name, pid }): [string, number] => [`server ${name}`, pid]),
    ...[...pids].map(([name, pid]): [string, number] => [`region ${name}`, pid]),
  ];
  const rows: Row[] = [];
  for (const { metric, table, kind } of wanted)
    rows.push(await contest(load, { metric, table, kind, ours, theirs, watched }, options));
  return rows;
}

interface Wanted {
  readonly metric: string;
  readonly table: 'plain' | 'merged';
  readonly kind: Kind;
}

function wantedRows(part: string, only: string | null): Wanted[] {
  return TABLES.flatMap((table) =>
    KINDS.map((kind) => ({ metric: `${part}/${table}/${kind}`, table, kind })),
  ).filter(({ metric }) => only === null || metric.startsWith(only));
}

interface Contest extends Wanted {
  readonly ours: BenchServer;
  readonly theirs: BenchServer;
  readonly watched?: readonly (readonly [string, number])[];
}

async function contest(
  load: LoadFolder,
  { metric, table, kind, ours, theirs, watched = [] }: Contest,
  { runs, signal, progress }: PartOptions,
): Promise<Row> {
  const script = SCRIPTS[kind](table);
  const rates: Record<'ours' | 'theirs', number[]> = { ours: [], theirs: [] };
  const cpu = new Map(watched.map(([name]) => [name, 0]));
  let operations = 0;
  for (const { client } of [ours, theirs]) await client.query(`VACUUM ANALYZE ${table}`);
  for (let run = 0; run < runs; run++) {
    const sides = [
      ['ours', ours],
      ['theirs', theirs],
    ] as const;
    // In turn, and neither always first.
    for (const [side, server] of run % 2 === 0 ? sides : sides.toReversed()) {
      signal.throwIfAborted();
      await server.client.query('CHECKPOINT');
      const before = side === 'ours' ? watched.map(([, pid]) => readTreeCpuMs(pid)) : [];
      const rate = await load.run(server, script);
      rates[side].push(rate);
      before.forEach((ms, index) => {
        const [name, pid] = watched[index] ?? ['', 0];
        cpu.set(name, (cpu.get(name) ?? 0) + readTreeCpuMs(pid) - ms);
      });
      if (side === 'ours') operations += rate * SECONDS;
      progress(`${metric}: ${side} ${Math.round(rate)} transactions a second`);
    }
  }
  const ratio = medianRatio(rates.ours, rates.theirs);
  const perOperation = kind === 'updates-of-100' ? 100 : 1;
  return {
    metric,
    unit: 'transactions/s',
    ours: Math.round(median(rates.ours)),
    peer: Math.round(median(rates.theirs)),
    peerName: 'the same server without the settings',
    ratio: ratio.median,
    spread: [ratio.low, ratio.high],
    bar: null,
    met: null,
    runs,
    processes: watched.map(([name, pid]): ProcessUse => {
      const ms = cpu.get(name) ?? 0;
      return {
        during: 'ours',
        process: name,
        cores: ms / 1_000 / (SECONDS * runs),
        cpuMicrosPerOperation: (ms * 1_000) / (operations * perOperation),
        memoryMb: readTreeMemoryMb(pid),
      };
    }),
    note: null,
  };
}

/** Runs PostgreSQL's own pgbench, of the machine's PostgreSQL. */
class LoadFolder implements AsyncDisposable {
  readonly #path: string;
  readonly #pgbench: string;

  private constructor(path: string, pgbench: string) {
    this.#path = path;
    this.#pgbench = pgbench;
  }

  static async create(): Promise<LoadFolder> {
    const { binDir } = await findPostgres('system');
    return new LoadFolder(await mkdtemp(join(tmpdir(), 'lockstep-bench-load-')), join(binDir, 'pgbench'));
  }

  async run({ url }: BenchServer, script: string): Promise<number> {
    const path = join(this.#path, 'script.sql');
    await writeFile(path, `${script}\n`);
    const words = ['-n', '-M', 'prepared', '-c', String(CLIENTS), '-T', String(SECONDS), '-f', path, url];
    const child = spawn(this.#pgbench, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    await once(child, 'close');
    const rate = /tps = ([\d.]+) \(without initial/.exec(said)?.[1];
    if (rate === undefined || child.exitCode !== 0) throw new Error(`pgbench failed: ${said}`);
    return Number(rate);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#path, { recursive: true, force: true });
  }
}
