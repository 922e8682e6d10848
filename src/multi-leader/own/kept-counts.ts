import type pg from 'pg';
import { SCHEMA } from '../tables/statements.ts';

/** What a region keeps beside its rows; part of `lockstep regions status --json`. */
export interface KeptCounts {
  /** Rows that were applied, and whose version is still kept. */
  readonly records: number;
  readonly tombstones: number;
  /** Changes of merging rows that are not settled. */
  readonly operations: number;
  /** Rows that stand aside, because a later row of another key holds one of their unique values. */
  readonly parked: number;
  /** Rows that came without the parent that a foreign key names, and wait for it or for what is decided. */
  readonly orphans: number;
  /** Rows whose conflicts a resolver has not been asked about yet. */
  readonly unresolved: number;
  /** Logged, since they were pruned last. */
  readonly conflicts: number;
}

const NONE: KeptCounts = {
  records: 0,
  tombstones: 0,
  operations: 0,
  parked: 0,
  orphans: 0,
  unresolved: 0,
  conflicts: 0,
};

export async function countKept(client: pg.Client): Promise<KeptCounts> {
  const { rows } = await client.query<KeptCounts>(
    `SELECT (SELECT count(*) FROM ${SCHEMA}.records)::int
              + (SELECT coalesce(sum(cardinality(keys)), 0) FROM ${SCHEMA}.batch_records)::int AS records,
            (SELECT count(*)::int FROM ${SCHEMA}.tombstones) AS tombstones,
            (SELECT count(*)::int FROM ${SCHEMA}.operations) AS operations,
            (SELECT count(*)::int FROM ${SCHEMA}.parked) AS parked,
            (SELECT count(*)::int FROM ${SCHEMA}.orphans) AS orphans,
            (SELECT count(*)::int FROM ${SCHEMA}.open_conflicts) AS unresolved,
            (SELECT count(*)::int FROM ${SCHEMA}.conflicts) AS conflicts`,
  );
  return rows[0] ?? NONE;
}
