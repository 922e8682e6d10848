import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { describeDefinition } from '../definition.ts';
import type { RegionsDefinition } from '../definition.ts';
import { SCHEMA } from '../tables/statements.ts';

const METADATA_SQL = `
CREATE TABLE IF NOT EXISTS ${SCHEMA}.regions (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  own text NOT NULL,
  names text[] NOT NULL
);
ALTER TABLE ${SCHEMA}.regions ADD COLUMN IF NOT EXISTS definition text,
  ADD COLUMN IF NOT EXISTS is_founded boolean NOT NULL DEFAULT false,
  ADD COLUMN IF NOT EXISTS went_back boolean NOT NULL DEFAULT false,
  ADD COLUMN IF NOT EXISTS joining text,
  ADD COLUMN IF NOT EXISTS is_joining boolean NOT NULL DEFAULT false;
CREATE TABLE IF NOT EXISTS ${SCHEMA}.records (
  table_name text NOT NULL,
  key bytea NOT NULL,
  time_us bigint NOT NULL,
  region smallint NOT NULL,
  lsn pg_lsn NOT NULL,
  batch_us bigint NOT NULL,
  PRIMARY KEY (table_name, key)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.batch_records (
  table_name text NOT NULL,
  batch_us bigint NOT NULL,
  keys bytea[] NOT NULL,
  times_us bigint[] NOT NULL,
  regions smallint[] NOT NULL,
  lsns pg_lsn[] NOT NULL
) WITH (toast_tuple_target = 8160);
CREATE INDEX IF NOT EXISTS batch_records_time ON ${SCHEMA}.batch_records (table_name, batch_us);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.tombstones (
  table_name text NOT NULL,
  key bytea NOT NULL,
  time_us bigint NOT NULL,
  region smallint NOT NULL,
  lsn pg_lsn NOT NULL,
  PRIMARY KEY (table_name, key)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.parked (
  table_name text NOT NULL,
  key bytea NOT NULL,
  time_us bigint NOT NULL,
  region smallint NOT NULL,
  lsn pg_lsn NOT NULL,
  image text NOT NULL,
  PRIMARY KEY (table_name, key)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.bases (
  table_name text NOT NULL,
  key bytea NOT NULL,
  image text,
  PRIMARY KEY (table_name, key)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.operations (
  table_name text NOT NULL,
  key bytea NOT NULL,
  time_us bigint NOT NULL,
  region smallint NOT NULL,
  lsn pg_lsn NOT NULL,
  old_row text,
  new_row text,
  PRIMARY KEY (table_name, key, time_us, region, lsn)
);
CREATE INDEX IF NOT EXISTS operations_time ON ${SCHEMA}.operations (table_name, time_us);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.conflicts (
  table_name text NOT NULL,
  key text NOT NULL,
  kind text NOT NULL,
  decision text NOT NULL,
  earlier_us bigint,
  earlier_region smallint,
  later_us bigint NOT NULL,
  later_region smallint NOT NULL,
  later_lsn pg_lsn NOT NULL,
  before_row jsonb,
  seen_row jsonb,
  written_row jsonb,
  result_row jsonb,
  noticed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (table_name, key, later_us, later_region, later_lsn)
);
ALTER TABLE ${SCHEMA}.conflicts ADD COLUMN IF NOT EXISTS reason text;
CREATE TABLE IF NOT EXISTS ${SCHEMA}.open_conflicts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  table_name text NOT NULL,
  key bytea NOT NULL,
  base text,
  operations jsonb NOT NULL
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.removed_parents (
  table_name text NOT NULL,
  key bytea NOT NULL,
  time_us bigint NOT NULL,
  region smallint NOT NULL,
  lsn pg_lsn NOT NULL,
  image text,
  PRIMARY KEY (table_name, key)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.orphans (
  table_name text NOT NULL,
  column_name text NOT NULL,
  key bytea NOT NULL,
  times_noted int NOT NULL DEFAULT 1,
  PRIMARY KEY (table_name, column_name, key)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.shares (
  table_name text NOT NULL,
  key bytea NOT NULL,
  column_name text NOT NULL,
  region smallint NOT NULL,
  held bigint NOT NULL,
  PRIMARY KEY (table_name, key, column_name, region)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.writers (
  table_name text NOT NULL,
  key bytea NOT NULL,
  regions smallint[] NOT NULL,
  is_open boolean NOT NULL,
  decided text,
  PRIMARY KEY (table_name, key)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.carried_out (
  table_name text NOT NULL,
  key bytea NOT NULL,
  image text NOT NULL,
  regions smallint[] NOT NULL,
  PRIMARY KEY (table_name, key)
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.pending (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  table_name text NOT NULL,
  key bytea NOT NULL,
  settled text,
  decided text,
  writers smallint[] NOT NULL,
  time_us bigint NOT NULL,
  region smallint NOT NULL,
  lsn pg_lsn NOT NULL
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.own_position (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  lsn pg_lsn NOT NULL
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.promise_key (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  key bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS ${SCHEMA}.links (
  source text PRIMARY KEY,
  is_cut boolean NOT NULL DEFAULT false
);`;

/** What a region is among the others. */
export interface RegionPlace {
  readonly name: string;
  /** All of them, in the order that they were founded in. */
  readonly names: readonly string[];
  /** Those of them that have left for good. */
  readonly left?: readonly string[];
  readonly definition: RegionsDefinition;
  /** It joins the others, and is not open before it has what they have. */
  readonly isJoining?: boolean;
}

/** Functions of tables' owners run with no more than their own rights: what `writerOf` names `inner`. */
const OTHERS_SQL = `
SELECT r.rolname AS owner FROM (
  SELECT n.nspowner AS owner FROM pg_catalog.pg_namespace n WHERE n.nspname = $1
  UNION SELECT c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1
  UNION SELECT p.proowner FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
   WHERE n.nspname = $1 AND NOT (p.prosecdef AND pg_catalog.starts_with(p.proname, 'write_as_'))
) o JOIN pg_catalog.pg_roles r ON r.oid = o.owner
WHERE r.rolname <> current_user AND NOT r.rolsuper ORDER BY 1`;

/**
 * What another role has made in a schema of ours, as triggers, views or functions, would run with our rights. Throws
 * CONFIG_INVALID for one.
 */
export async function checkOwner(client: pg.Client, schema: string = SCHEMA): Promise<void> {
  const { rows } = await client.query<{ owner: string }>(OTHERS_SQL, [schema]);
  const [row] = rows;
  if (row === undefined) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Log in to the region's database as "${row.owner}", to whom schema ${schema} or something in it belongs there, or drop the schema; what another role has made in it would run with this one's rights.`,
  );
}

/**
 * Creates what is missing. The order of the regions is part of every version, so that another one is refused, and so is
 * a schema that another role has made.
 */
export async function prepareMetadata(
  client: pg.Client,
  { name: own, names, definition, isJoining = false }: RegionPlace,
): Promise<void> {
  // Checked once it is there: nobody can make it in between.
  await client.query(`CREATE SCHEMA IF NOT EXISTS ${SCHEMA}`);
  await checkOwner(client);
  await client.query(METADATA_SQL);
  await client.query(
    `INSERT INTO ${SCHEMA}.regions (own, names, is_joining) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
    [own, names, isJoining],
  );
  // Who was started with the newcomer's name counts its promises from now on.
  await client.query(
    `UPDATE ${SCHEMA}.regions SET names = names || joining, joining = NULL WHERE names || joining = $1`,
    [names],
  );
  await client.query(`INSERT INTO ${SCHEMA}.promise_key (key) VALUES ($1) ON CONFLICT DO NOTHING`, [
    randomBytes(32),
  ]);
  const { rows } = await client.query<{ own: string; names: string[]; isJoining: boolean }>(
    `SELECT own, names, is_joining AS "isJoining" FROM ${SCHEMA}.regions`,
  );
  const [known] = rows;
  if (known?.isJoining === true && !isJoining) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Run "lockstep regions add ${known.own}" to its end first: region ${known.own} does not have yet what the others have.`,
    );
  }
  if (known?.own === own && known.names.join() === names.join()) {
    await client.query(`UPDATE ${SCHEMA}.regions SET definition = $1 WHERE definition IS DISTINCT FROM $1`, [
      describeDefinition(definition),
    ]);
    return;
  }
  throw new LockstepError(
    'CONFIG_INVALID',
    `This database is region ${known?.own} of ${known?.names.join(', ')}, and was asked to be ${own} of ${names.join(', ')}. Give the regions in the order that they were founded in; another one joins them by "lockstep regions add".`,
    { details: { known, own, names } },
  );
}

/** From now on a slot that is missing is one that was lost. */
export async function markFounded(client: pg.Client): Promise<void> {
  await client.query(`UPDATE ${SCHEMA}.regions SET is_founded = true WHERE NOT is_founded`);
}

/** What a region that was made ready says of itself. */
export interface RegionWords {
  /** By which its promises are known. */
  readonly promiseKey: Buffer;
  /** How it decides, as one text; null of one that has not said. */
  readonly definition: string | null;
  /** It has made a slot for each other region, once. */
  readonly isFounded: boolean;
  /** It has found that it was put back to an earlier state. */
  readonly wentBack: boolean;
}

export async function markWentBack(client: pg.Client): Promise<void> {
  await client.query(`UPDATE ${SCHEMA}.regions SET went_back = true WHERE NOT went_back`);
}

export async function readRegionWords(client: pg.Client): Promise<RegionWords> {
  await checkOwner(client);
  const { rows } = await client.query<RegionWords>(
    `SELECT p.key AS "promiseKey", r.definition, r.is_founded AS "isFounded",
       r.went_back AS "wentBack" FROM ${SCHEMA}.promise_key p, ${SCHEMA}.regions r`,
  );
  if (rows[0] !== undefined) return rows[0];
  throw new LockstepError('CONFIG_INVALID', 'The other region is not ready yet.', { retryable: true });
}

/** Whether somebody has cut the link from that region, and not healed it. */
export async function isCut(client: pg.Client, source: string): Promise<boolean> {
  const { rows } = await client.query<{ is_cut: boolean }>(
    `SELECT is_cut FROM ${SCHEMA}.links WHERE source = $1`,
    [source],
  );
  return rows[0]?.is_cut === true;
}

export async function setCut(client: pg.Client, source: string, isCut: boolean): Promise<void> {
  await client.query(
    `INSERT INTO ${SCHEMA}.links VALUES ($1, $2) ON CONFLICT (source) DO UPDATE SET is_cut = excluded.is_cut`,
    [source, isCut],
  );
}
