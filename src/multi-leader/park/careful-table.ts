import type pg from 'pg';
import type { IncomingChange } from '../apply/incoming.ts';
import { decideRow } from '../core/row-rule.ts';
import type { MissingRow, PresentRow } from '../core/row-rule.ts';
import { compareVersions } from '../core/version.ts';
import { textImages } from '../merge/journal-store.ts';
import { encodeKeyRow, encodeKeys, encodeRows } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { statementsFor } from '../tables/statements.ts';
import { versionFrom } from '../tables/versions.ts';
import type { VersionRow } from '../tables/versions.ts';
import { Parking } from './parking.ts';

/** What is told of each change. */
export interface CarefulOutcome {
  did(change: IncomingChange): void;
  /** For the time being: a tombstone may be newer. */
  didInsert(change: IncomingChange): void;
  bury(change: IncomingChange): void;
  keepLocal(change: IncomingChange): void;
  /** It stands aside, because a later row holds one of its unique values. */
  park(change: IncomingChange): void;
}

type FoundRow = VersionRow & { readonly committedUs: string | null; readonly isApplied: boolean };

/**
 * Applies a batch's changes of one table one by one, in the order of their versions: for a table of which a unique value
 * is taken. The last write of a row wins as ever; of rows with the same value the later one stands.
 */
export async function applyCarefully(options: {
  readonly client: pg.Client;
  readonly shape: TableShape;
  readonly region: number;
  readonly changes: readonly IncomingChange[];
  readonly outcome: CarefulOutcome;
}): Promise<void> {
  const { client, shape, region, outcome } = options;
  const changes = options.changes.toSorted((a, b) => compareVersions(a.version, b.version));
  const parking = new Parking(client, region);
  const parked = await parking.versionsOf(
    shape,
    changes.map(({ key }) => key),
  );
  const puts = changes.filter(({ row }) => row !== null);
  const images = await textImages(
    client,
    shape,
    encodeRows(
      shape,
      puts.map(({ row }) => row ?? Buffer.alloc(0)),
    ),
  );
  for (const change of changes) {
    const row = await lockRow(client, shape, change.key);
    const here: PresentRow | MissingRow = row ?? {
      kind: 'missing',
      tombstone: parked.get(change.key) ?? null,
    };
    const decision = decideRow(change, here, region);
    if (decision.kind === 'keep') outcome.keepLocal(change);
    else if (decision.kind === 'put') {
      const image = images[puts.indexOf(change)] ?? [];
      const stands = await parking.place(shape, { key: change.key, image, version: change.version });
      if (!stands) outcome.park(change);
      else if (row === null) outcome.didInsert(change);
      else outcome.did(change);
    } else if (decision.kind === 'bury') outcome.bury(change);
    else {
      await client.query(statementsFor(shape).removeDecided, [
        encodeRows(shape, [encodeKeyRow(shape, change.key)]),
      ]);
      outcome.did(change);
    }
  }
}

/** The row as it stands, locked; null for none. */
export async function lockRow(client: pg.Client, shape: TableShape, key: string): Promise<PresentRow | null> {
  const sql = statementsFor(shape);
  const rows = encodeRows(shape, [encodeKeyRow(shape, key)]);
  await client.query(sql.lock, [rows]);
  const { rows: found } = await client.query<FoundRow>(sql.read, [rows, encodeKeys([key]), shape.name]);
  const [row] = found;
  return row === undefined
    ? null
    : {
        kind: 'present',
        committedUs: row.committedUs === null ? null : Number(row.committedUs),
        isApplied: row.isApplied,
        record: versionFrom(row),
      };
}
