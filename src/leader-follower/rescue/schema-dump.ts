import { execFile } from 'node:child_process';
import { access, constants, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { findPostgres } from '../../postgres/binaries.ts';
import { SUPERUSER } from '../../postgres/settings.ts';
import type { ClusterConfig } from '../config/config.ts';
import { missingEntries, parseArchiveList, withoutPsqlCommands } from './core/dropped.ts';
import type { ArchiveEntry, NamedRelation } from './core/dropped.ts';
import type { TableShape } from './tables.ts';

const run = promisify(execFile);
const DUMP_TIMEOUT_MS = 300_000;
const MAX_SQL_BYTES = 256 * 1_048_576;

interface Place {
  readonly host: string;
  readonly port: number;
}

/** What was dropped with some tables, as statements that bring it back. */
export interface DroppedSchema {
  /** The objects, for people: `TABLE public orders app`. */
  readonly objects: readonly string[];
  /** Tables among them, which have rows to bring back. */
  readonly tables: readonly NamedRelation[];
  /** To be run before the rows come, and after. */
  readonly before: string;
  readonly after: string;
}

/**
 * Finds with pg_dump what hangs on these tables and is on the leader no more: the tables themselves, keys, indexes,
 * constraints, foreign keys of others, grants, sequences, defaults, triggers, views, publications. Null when nothing is
 * missing, or cannot be found for want of pg_dump. Throws CONFIG_INVALID where a table is missing and pg_dump is not installed.
 */
export async function readDroppedSchema(options: {
  readonly config: ClusterConfig;
  readonly database: string;
  readonly past: Place;
  readonly present: Place;
  readonly pastClient: pg.Client;
  readonly tables: readonly TableShape[];
  /** One of them is on the leader no more; else somebody has made it again, perhaps without all that hung on it. */
  readonly isGone: boolean;
}): Promise<DroppedSchema | null> {
  const { config, database, pastClient, tables } = options;
  const { binDir, major, version } = await findPostgres(config.postgres);
  if (!(await hasPrograms(binDir))) {
    if (!options.isGone) return null;
    throw new LockstepError(
      'CONFIG_INVALID',
      `The definition of a dropped table is brought back with pg_dump and pg_restore, which PostgreSQL ${version} in ${binDir} does not have: install the client programs of PostgreSQL ${major}, or create the table yourself and run this again for its rows. Nothing was changed.`,
    );
  }
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-rescue-'));
  try {
    const [past, present] = await Promise.all([
      dump(binDir, config, options.past, database, join(folder, 'past')),
      dump(binDir, config, options.present, database, join(folder, 'present')),
    ]);
    const { dependents, relations } = await readDependents(pastClient, tables);
    const missing = missingEntries(past, present, dependents, relations);
    if (missing.length === 0) return null;
    const list = join(folder, 'list');
    await writeFile(list, `${missing.map(({ line }) => line).join('\n')}\n`);
    const script = async (section: string): Promise<string> => {
      const { stdout } = await run(
        join(binDir, 'pg_restore'),
        [`--use-list=${list}`, `--section=${section}`, '--file=-', join(folder, 'past')],
        { timeout: DUMP_TIMEOUT_MS, maxBuffer: MAX_SQL_BYTES },
      );
      return withoutPsqlCommands(stdout);
    };
    return {
      objects: missing.map(({ label }) => label),
      tables: relations.filter(({ schema, name }) =>
        missing.some(({ label }) => label.startsWith(`TABLE ${schema} ${name} `)),
      ),
      before: await script('pre-data'),
      after: await script('post-data'),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function hasPrograms(binDir: string): Promise<boolean> {
  const found = await Promise.all(
    ['pg_dump', 'pg_restore'].map((name) =>
      access(join(binDir, name), constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.every(Boolean);
}

async function dump(
  binDir: string,
  config: ClusterConfig,
  { host, port }: Place,
  database: string,
  path: string,
): Promise<readonly ArchiveEntry[]> {
  await run(
    join(binDir, 'pg_dump'),
    [
      `--host=${host}`,
      `--port=${port}`,
      `--username=${SUPERUSER}`,
      `--dbname=${database}`,
      '--no-password',
      '--schema-only',
      '--format=custom',
      '--lock-wait-timeout=10s',
      `--file=${path}`,
    ],
    {
      timeout: DUMP_TIMEOUT_MS,
      env: { ...process.env, PGPASSWORD: config.secrets.superuser, PGREQUIREAUTH: 'scram-sha-256' },
    },
  ).catch((error: unknown) => {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1) ?? String(error);
    throw new LockstepError(
      'POSTGRES_FAILED',
      `pg_dump of ${host}:${port} failed: ${said} Nothing was changed.`,
      {
        cause: error,
      },
    );
  });
  const { stdout } = await run(join(binDir, 'pg_restore'), ['--list', path], { maxBuffer: MAX_SQL_BYTES });
  return parseArchiveList(stdout);
}

/**
 * Everything that DROP … CASCADE takes along: what depends on the tables, on that, and so on; and what something is an
 * inseparable part of, as a view is of its rule. Source: PostgreSQL documentation, "pg_depend".
 */
const DEPENDENTS_SQL = `
WITH RECURSIVE gone (class, object) AS (
  SELECT 'pg_class'::regclass::oid, unnest($1::oid[])
  UNION
  SELECT next.class, next.object FROM gone,
    LATERAL (SELECT classid, objid FROM pg_depend WHERE refclassid = gone.class AND refobjid = gone.object
             UNION
             SELECT refclassid, refobjid FROM pg_depend
              WHERE classid = gone.class AND objid = gone.object AND deptype = 'i'
                AND refclassid IN ('pg_class'::regclass, 'pg_constraint'::regclass)) AS next (class, object)
)
SELECT gone.class::int8::text || ' ' || gone.object::int8::text AS object, space.nspname AS schema, class.relname AS name
  FROM gone LEFT JOIN pg_class AS class ON gone.class = 'pg_class'::regclass AND class.oid = gone.object
  LEFT JOIN pg_namespace AS space ON space.oid = class.relnamespace`;

async function readDependents(
  client: pg.Client,
  tables: readonly TableShape[],
): Promise<{ readonly dependents: ReadonlySet<string>; readonly relations: readonly NamedRelation[] }> {
  const { rows } = await client.query<{ object: string; schema: string | null; name: string | null }>(
    DEPENDENTS_SQL,
    [tables.map(({ oid }) => oid)],
  );
  return {
    dependents: new Set(rows.map(({ object }) => object)),
    relations: rows.flatMap(({ schema, name }) =>
      schema === null || name === null ? [] : [{ schema, name }],
    ),
  };
}
