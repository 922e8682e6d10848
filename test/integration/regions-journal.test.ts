import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Image } from '../../src/multi-leader/core/image.ts';
import type { Operation } from '../../src/multi-leader/core/merge.ts';
import {
  foldJournals,
  readJournals,
  writeBases,
  writeOperations,
} from '../../src/multi-leader/merge/journal-store.ts';
import { prepareMetadata } from '../../src/multi-leader/setup/metadata.ts';
import { readShapes } from '../../src/multi-leader/tables/shape.ts';
import type { TableShape } from '../../src/multi-leader/tables/shape.ts';
import { until } from './fixture.ts';
import { builds, LogicalServers } from './logical-servers.ts';

const KEY = Buffer.from([0, 0, 0, 4, 0, 0, 0, 1]).toString('latin1');
const FOLDED_US = 1_000;

const operation = (timeUs: number, old: Image | null, row: Image | null): Operation => ({
  version: { timeUs, region: 0, lsn: 1n },
  old,
  row,
});

describe.each(builds)('the journal of a row, on PostgreSQL $major', (build) => {
  let servers: LogicalServers;
  let shape: TableShape;
  let own: pg.Client;
  let folding: pg.Client;
  beforeAll(async () => {
    servers = await LogicalServers.create(build);
    const { client, url } = await servers.start('journal');
    await client.query(
      'CREATE TABLE rows (id int PRIMARY KEY, v text); ALTER TABLE rows REPLICA IDENTITY FULL',
    );
    const definition = { tables: { rows: {} } };
    await prepareMetadata(client, { name: 'eu', names: ['eu', 'us'], definition });
    shape = [...(await readShapes(client, definition)).values()][0] as TableShape;
    [own, folding] = [new pg.Client(url), new pg.Client(url)];
    await Promise.all([own.connect(), folding.connect()]);
  });
  afterAll(async () => {
    await Promise.all([own?.end(), folding?.end()]);
    await servers?.[Symbol.asyncDispose]();
  });

  const deleted = operation(1, ['1', 'old'], null);
  const made = operation(2_000, null, ['1', 'new']);
  const open = async (): Promise<void> => {
    await own.query('TRUNCATE lockstep_regions.bases, lockstep_regions.operations');
    await writeBases(own, shape, new Map([[KEY, ['1', 'old']]]));
    await writeOperations(own, shape, [{ key: KEY, operation: deleted }]);
  };
  const enter = async (): Promise<void> => {
    await writeBases(own, shape, new Map([[KEY, null]]));
    await writeOperations(own, shape, [{ key: KEY, operation: made }]);
  };
  const fold = (): Promise<void> => foldJournals(folding, shape, FOLDED_US, [{ key: KEY, base: null }]);
  /** The session has to wait for the other one. */
  const untilWaiting = (client: pg.Client, asking: pg.Client): Promise<unknown> =>
    until('one waits for the other', async () => {
      const { rows } = await asking.query<{ waits: boolean }>(
        `SELECT wait_event_type = 'Lock' AS waits FROM pg_stat_activity WHERE pid = $1`,
        [(client as unknown as { processID: number }).processID],
      );
      return rows[0]?.waits === true;
    });

  it('keeps its base when somebody makes the row while its delete is folded', async () => {
    await open();
    await own.query('BEGIN');
    await enter();
    await folding.query('BEGIN');
    const folded = fold();
    await untilWaiting(folding, own);
    await own.query('COMMIT');
    await folded;
    await folding.query('COMMIT');
    expect(await readJournals(own, shape, [KEY])).toEqual([{ isOpen: true, base: null, operations: [made] }]);
  });

  it('is opened anew by what is entered after it was folded', async () => {
    await open();
    await folding.query('BEGIN');
    await fold();
    await own.query('BEGIN');
    const entered = enter();
    await untilWaiting(own, folding);
    await folding.query('COMMIT');
    await entered;
    await own.query('COMMIT');
    expect(await readJournals(own, shape, [KEY])).toEqual([{ isOpen: true, base: null, operations: [made] }]);
  });

  it('is closed where nothing is left', async () => {
    await open();
    await fold();
    expect(await readJournals(own, shape, [KEY])).toEqual([{ isOpen: false, base: null, operations: [] }]);
  });
});
