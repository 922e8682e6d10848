import { execFile } from 'node:child_process';
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import { createSchema } from '../../../examples/shop/schema.ts';
import { connect } from '../../../src/index.ts';
import type { RescueList } from '../../../src/leader-follower/delayed/rescue-log.ts';
import { findPostgres } from '../../../src/postgres/binaries.ts';
import type { PostgresBinaries } from '../../../src/postgres/binaries.ts';
import { startTestCluster } from '../../../src/testing/index.ts';
import type { TestCluster } from '../../../src/testing/index.ts';
import { until } from '../../integration/fixture.ts';
import { onLeader } from '../../integration/numbered-writes.ts';
import { MISTAKES } from './mistakes.ts';
import type { Mistake } from './mistakes.ts';
import { BusyShop } from './shop-load.ts';

const run = promisify(execFile);
const MAIN = join(import.meta.dirname, '../../../src/cli/main.ts');
const BUFFER = { maxBuffer: 256 * 1_048_576 };

/** One mistake, and how it was undone. */
export interface Undone {
  readonly mistake: string;
  readonly rows: number;
  readonly stepsMs: Readonly<Record<string, number>>;
  /** From the first command until the rows were back. */
  readonly restoredMs: number;
  /** What is not as it was. */
  readonly broken: readonly string[];
  /** What these programs could not do by themselves. */
  readonly note: string | null;
}

export interface Night {
  readonly version: string;
  readonly source: string;
  readonly undone: readonly Undone[];
  readonly orders: number;
  readonly accounts: number;
  readonly lost: number;
}

interface Restored {
  readonly tables: readonly { readonly table: string; readonly kept: readonly string[] }[];
}

/** Each row of the tables that a mistake takes, by its text. */
type Rows = ReadonlyMap<string, ReadonlySet<string>>;

/** One mistake after the other, each undone by the documented commands, on one cluster. */
export async function runNight(
  mistakes: readonly Mistake[],
  postgres: string,
  tell: (line: string) => void,
): Promise<Night> {
  const binaries = await findPostgres(postgres);
  const hasDump = await access(join(binaries.binDir, 'pg_dump')).then(
    () => true,
    () => false,
  );
  await using cluster = await startTestCluster({ delayed: '30min', postgres, startDeadlineMs: 180_000 });
  await using shop = new BusyShop(cluster.url);
  tell(`PostgreSQL ${binaries.version}. Filling the shop.`);
  await shop.open();
  const desk = new Desk(cluster, binaries, hasDump);
  await desk.whenNamed();
  const undone: Undone[] = [];
  for (const mistake of mistakes) {
    const one = await desk.makeAndUndo(mistake);
    undone.push(one);
    tell(`${mistake.name}: ${JSON.stringify(one)}`);
  }
  await shop.close();
  const lost = await shop.lost();
  const { orders, accounts } = shop;
  const { version, source } = binaries;
  return { version, source, undone, orders: orders.length, accounts: accounts.length, lost };
}

/** Where the commands are typed. */
class Desk {
  readonly #cluster: TestCluster;
  readonly #binaries: PostgresBinaries;
  readonly #hasDump: boolean;

  constructor(cluster: TestCluster, binaries: PostgresBinaries, hasDump: boolean) {
    this.#cluster = cluster;
    this.#binaries = binaries;
    this.#hasDump = hasDump;
  }

  /** The delayed node looks every few seconds which files are whose. */
  async whenNamed(): Promise<void> {
    const path = join(this.#cluster.folder, 'nodes', 'n4', 'tables.json');
    await until('the delayed node knows the tables by name', async () => {
      const known = JSON.parse(await readFile(path, 'utf8')) as readonly { readonly name: string }[];
      return MISTAKES.every(({ tables }) =>
        tables.every((table) => known.some(({ name }) => name === table.name)),
      );
    });
  }

  async makeAndUndo(mistake: Mistake): Promise<Undone> {
    const definitions = await this.#definitions();
    const { xid, before } = await this.#make(mistake);
    const beganAtMs = performance.now();
    const stepsMs: Record<string, number> = {};
    const step = async <T>(name: string, ...args: readonly string[]): Promise<T> => {
      const sinceMs = performance.now();
      const answer = await this.#rescue<T>(name, ...args);
      stepsMs[name] = performance.now() - sinceMs;
      return answer;
    };
    const broken: string[] = [];
    const note = this.#binaries.pgWaldump === null ? ['without a list: there is no pg_waldump'] : [];
    if (this.#binaries.pgWaldump !== null) {
      const { transactions } = await step<RescueList>('list', '--since', '5m');
      broken.push(
        ...unlisted(
          mistake,
          transactions.find((one) => one.xid === xid),
        ),
      );
    }
    await step('open', '--before', String(xid));
    const names = mistake.tables.map(({ name }) => name);
    await step('diff', ...names);
    if (mistake.drops && !this.#hasDump) {
      note.push('there is no pg_dump, so the table was created by hand, as the command says');
      broken.push(...(await this.#createByHand(names)));
    }
    const restored = await step<Restored>('restore', ...names, '--keep-newer', '--yes');
    const restoredMs = performance.now() - beganAtMs;
    broken.push(...missing(before, await this.#rows(mistake), restored));
    if ((!mistake.drops || this.#hasDump) && definitions !== (await this.#definitions()))
      broken.push('definitions differ');
    await step('close');
    await this.#whenFollowing();
    const rows = [...before.values()].reduce((sum, { size }) => sum + size, 0);
    return {
      mistake: mistake.name,
      rows,
      stepsMs,
      restoredMs,
      broken,
      note: note.length === 0 ? null : note.join('; '),
    };
  }

  async #rescue<T>(...args: readonly string[]): Promise<T> {
    const words = [MAIN, 'rescue', ...args, '--json', '--state', this.#cluster.folder];
    const { stdout } = await run(process.execPath, words, BUFFER);
    return JSON.parse(stdout) as T;
  }

  /** In one transaction with a look at every row that it is about to take, which nobody else may write until then. */
  async #make({ sql, tables }: Mistake): Promise<{ readonly xid: number; readonly before: Rows }> {
    return onLeader(this.#cluster, async (client) => {
      await client.query('BEGIN');
      await client.query(
        `LOCK TABLE ${tables.map(({ name }) => name).join(', ')} IN SHARE ROW EXCLUSIVE MODE`,
      );
      const before = await readRows(client, tables);
      const { rows } = await client.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
      await client.query(sql);
      await client.query('COMMIT');
      return { xid: Number(rows[0]?.xid), before };
    });
  }

  async #rows({ tables }: Mistake): Promise<Rows> {
    return onLeader(this.#cluster, (client) => readRows(client, tables));
  }

  /** What the command says is missing, and the app's own migration, which makes the table again. */
  async #createByHand(names: readonly string[]): Promise<readonly string[]> {
    const said = await this.#rescue('restore', ...names, '--yes').then(
      () => 'it did not refuse',
      (error: unknown) => (error as { stderr: string }).stderr.trim(),
    );
    const db = connect(this.#cluster.url);
    await createSchema(db);
    await db.end();
    return said.includes('or create the table yourself') ? [] : [`a restore without pg_dump: ${said}`];
  }

  /** As pg_dump writes them; null where it is not there. */
  async #definitions(): Promise<string | null> {
    if (!this.#hasDump) return null;
    const leader = await this.#cluster.leader();
    const dsn = this.#cluster.nodes.find(({ name }) => name === leader)?.dsn ?? '';
    const { stdout } = await run(join(this.#binaries.binDir, 'pg_dump'), ['--schema-only', dsn], BUFFER);
    return stdout
      .split('\n')
      .filter((line) => !/^\\(un)?restrict/.test(line))
      .join('\n');
  }

  async #whenFollowing(): Promise<void> {
    await until(
      'the delayed node follows again',
      async () => {
        const node = (await this.#cluster.status()).nodes.find(({ name }) => name === 'n4');
        return node?.role === 'follower' && node.state === 'running' && node.detail === null;
      },
      180_000,
    );
  }
}

async function readRows(client: pg.Client, tables: Mistake['tables']): Promise<Rows> {
  const found = new Map<string, ReadonlySet<string>>();
  for (const { name, where } of tables) {
    const { rows } = await client.query<{ row: string }>(
      `SELECT coalesce(to_jsonb(t) ->> 'id', to_jsonb(t) ->> 'order_id') || ' ' || md5(t::text) AS row FROM ${name} AS t WHERE ${where}`,
    );
    found.set(name, new Set(rows.map(({ row }) => row)));
  }
  return found;
}

function unlisted(
  { name, danger }: Mistake,
  listed: RescueList['transactions'][number] | undefined,
): readonly string[] {
  if (listed === undefined) return [`${name} is not listed`];
  const texts = listed.dangers.map(({ text }) => text);
  if (danger === null ? texts.length === 0 : texts.some((text) => danger.test(text))) return [];
  return [`listed as: ${texts.join(', ') || 'harmless'}`];
}

/** Every row is as it was, but for those that somebody wrote since, which the command has to name. */
function missing(before: Rows, after: Rows, { tables }: Restored): readonly string[] {
  return [...before].flatMap(([name, rows]) => {
    const present = after.get(name) ?? new Set();
    const kept = tables.find(({ table }) => table === name)?.kept ?? [];
    const gone = [...rows].filter((row) => !present.has(row) && !kept.includes(`(${row.split(' ')[0]})`));
    return gone.length === 0 ? [] : [`${gone.length} rows of ${name} are not as they were, e.g. ${gone[0]}`];
  });
}
