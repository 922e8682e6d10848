import type pg from 'pg';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { freePort, ServerFixture } from '../../test/integration/fixture.ts';
import type { ApplyLoad } from './loads.ts';

/** One of the two servers. */
export interface Side {
  readonly url: string;
  readonly client: pg.Client;
}

const PROMOTE_TIMEOUT_MS = 30_000;

/** A source and a target of the same build, plain PostgreSQL. */
export class ApplyServers implements AsyncDisposable {
  readonly #fixture: ServerFixture;
  readonly source: Side;
  readonly target: Side;
  readonly version: string;
  readonly major: number;
  readonly #loaded = new Set<string>();

  private constructor(fixture: ServerFixture, source: Side, target: Side) {
    this.#fixture = fixture;
    this.source = source;
    this.target = target;
    this.version = fixture.binaries.version;
    this.major = fixture.binaries.major;
  }

  static async start(postgres: string): Promise<ApplyServers> {
    const binaries = await reachableBinaries(await findPostgres(postgres), await resolveAccount());
    const fixture = await ServerFixture.create(binaries);
    try {
      const [source, target] = [await startSide(fixture, 'source'), await startSide(fixture, 'target')];
      return new ApplyServers(fixture, source, target);
    } catch (error) {
      await fixture[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Writes the load's backlog at the source, once, behind a slot that keeps it. */
  async prepare(load: ApplyLoad, transactions: number): Promise<void> {
    if (this.#loaded.has(load.name)) return;
    this.#loaded.add(load.name);
    const { source, target } = this;
    for (const { client } of [source, target])
      await client.query(`${load.schema}; CREATE TABLE ${marker(load)} (id int PRIMARY KEY)`);
    await source.client.query(load.fill);
    const tables = [...load.tables, marker(load)].join(', ');
    await source.client.query(
      `CREATE PUBLICATION ${slotName(load)} FOR TABLE ${tables} WITH (publish_via_partition_root = true)`,
    );
    await source.client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [baseSlot(load)]);
    await source.client.query('SET synchronous_commit = off');
    await source.client.query(load.backlog(transactions));
    await source.client.query(`SET synchronous_commit = on; INSERT INTO ${marker(load)} VALUES (1)`);
  }

  /** The target as the source was before the backlog, and a new slot at the backlog's beginning. */
  async reset(load: ApplyLoad): Promise<void> {
    const { source, target } = this;
    await target.client.query(`TRUNCATE ${[...load.tables, marker(load)].join(', ')}`);
    await target.client.query(load.fill);
    for (const table of load.tables) await target.client.query(`VACUUM ANALYZE ${table}`);
    await source.client.query('SELECT pg_copy_logical_replication_slot($1, $2)', [
      baseSlot(load),
      slotName(load),
    ]);
    for (const { client } of [source, target]) await client.query('CHECKPOINT');
  }

  /** Which tables have other rows at the target; null when none has. */
  async compare(load: ApplyLoad): Promise<string | null> {
    const found: string[] = [];
    for (const table of load.tables) {
      const sql = `SELECT count(*)::text AS count, coalesce(sum(hashtextextended(t::text, 0)), 0)::text AS sum FROM ${table} t`;
      const [here, there] = await Promise.all([this.source.client.query(sql), this.target.client.query(sql)]);
      const isSame = here.rows[0].count === there.rows[0].count && here.rows[0].sum === there.rows[0].sum;
      if (!isSame) found.push(table);
    }
    return found.length === 0 ? null : `other rows in ${found.join(', ')}`;
  }

  async isThrough(load: ApplyLoad): Promise<boolean> {
    return (await this.target.client.query(`SELECT FROM ${marker(load)}`)).rowCount === 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.source, this.target].map(({ client }) => client.end().catch(() => undefined)));
    await this.#fixture[Symbol.asyncDispose]();
  }
}

async function startSide(fixture: ServerFixture, name: string): Promise<Side> {
  await fixture.initialize(name);
  const port = await freePort();
  const server = await fixture.start(name, port);
  await server.promote(PROMOTE_TIMEOUT_MS);
  const client = await server.connect();
  const { user, password } = fixture.address(port);
  // A backlog is larger than a dead follower may usually keep.
  await client.query('ALTER SYSTEM SET max_slot_wal_keep_size = -1');
  await client.query('SELECT pg_reload_conf()');
  return { url: `postgresql://${user}:${password}@127.0.0.1:${port}/postgres`, client };
}

export function marker(load: ApplyLoad): string {
  return `marker_${load.name}`;
}

/** Of the follow and of the subscription alike. */
export function slotName(load: ApplyLoad): string {
  return `lockstep_follow_${load.name}`;
}

function baseSlot(load: ApplyLoad): string {
  return `base_${load.name}`;
}
