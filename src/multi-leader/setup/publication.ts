import type pg from 'pg';
import { quoteIdentifier, quoteLiteral } from '../../logical/core/quote.ts';
import { LockstepError } from '../../model/errors.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';

export const PUBLICATION = 'lockstep_regions';

interface Found {
  /** Null where it is the session's role, or a superuser. */
  readonly owner: string | null;
  readonly leavesOut: boolean;
  /** Shared tables that are there and not published whole. */
  readonly partial: readonly string[];
  readonly hasOthers: boolean;
}

/** A filter, or a list of columns, publishes part of a table. */
const LOOK = `
SELECT (SELECT r.rolname FROM pg_roles r WHERE r.oid = p.pubowner AND NOT r.rolsuper AND r.rolname <> current_user) AS owner,
       p.puballtables OR NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate) AS "leavesOut",
       ARRAY(SELECT t.name FROM tables t WHERE NOT EXISTS (
         SELECT FROM pg_publication_rel l WHERE (l.prpubid, l.prrelid) = (p.oid, t.oid) AND l.prqual IS NULL AND l.prattrs IS NULL)) AS partial,
       EXISTS (SELECT FROM pg_publication_rel l WHERE l.prpubid = p.oid AND l.prrelid NOT IN (SELECT oid FROM tables)) AS "hasOthers"
FROM pg_publication p WHERE p.pubname = ${quoteLiteral(PUBLICATION)}`;

async function look(client: pg.Client, shapes: readonly TableShape[]): Promise<Found | null> {
  const { rows } = await client.query<Found>(
    `WITH tables AS (
       SELECT c.oid, n.nspname || '.' || c.relname AS name FROM unnest($1::text[], $2::text[]) AS u(schema, name)
       JOIN pg_namespace n ON n.nspname = u.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = u.name
       ORDER BY 2)${LOOK}`,
    [shapes.map(({ schema }) => schema), shapes.map(({ table }) => table)],
  );
  return rows[0] ?? null;
}

/** Why what is written here may not reach the others, for people; null while it does. */
export async function findPublicationTrouble(
  client: pg.Client,
  shapes: readonly TableShape[],
): Promise<string | null> {
  const found = await look(client, shapes);
  const after = 'and then compare the regions with "lockstep regions compare": what it left out was not sent';
  if (found === null)
    return `start this region's process again, ${after}: there is no publication ${PUBLICATION} any more`;
  if (found.owner !== null)
    return `run ALTER PUBLICATION ${PUBLICATION} OWNER TO the regions' own user, start this region's process again, ${after}: it belongs to "${found.owner}", who can take tables out of it`;
  if (found.leavesOut)
    return `run ALTER PUBLICATION ${PUBLICATION} SET (publish = 'insert, update, delete, truncate'), or drop one of all tables, start this region's process again, ${after}: it does not publish just what is written to shared tables`;
  if (found.partial.length === 0) return null;
  return `start this region's process again, ${after}: publication ${PUBLICATION} does not publish ${found.partial.join(', ')} whole`;
}

function isToSet({ owner, leavesOut, partial, hasOthers }: Found): boolean {
  return owner === null && !leavesOut && (partial.length > 0 || hasOthers);
}

/**
 * Before the slots: a change that was made before its publication cannot be decoded. Throws CONFIG_INVALID for one that
 * another role has made, or that leaves something out of the tables.
 */
export async function publish(client: pg.Client, shapes: readonly TableShape[]): Promise<void> {
  const found = await look(client, shapes);
  const tables = shapes.map(quoteShape).join(', ');
  const name = quoteIdentifier(PUBLICATION);
  if (found === null) {
    const { rows: version } = await client.query<{ server_version_num: string }>('SHOW server_version_num');
    const isPublishing = Number(version[0]?.server_version_num) >= 180_000;
    // From 18 on, a table of REPLICA IDENTITY FULL takes no updates while a column of it is not published.
    const options = isPublishing ? ' WITH (publish_generated_columns = stored)' : '';
    await client.query(`CREATE PUBLICATION ${name}${tables === '' ? '' : ` FOR TABLE ${tables}`}${options}`);
  } else if (tables !== '' && isToSet(found))
    // What is new is added, what is not shared any more goes, and so do filters.
    await client.query(`ALTER PUBLICATION ${name} SET TABLE ${tables}`);
  const trouble = await findPublicationTrouble(client, shapes);
  if (trouble === null) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `${trouble[0]?.toUpperCase()}${trouble.slice(1)}. Nothing was started.`,
  );
}
