import type { Lsn } from '../../model/lsn.ts';

/** How far one table's copy is. */
export interface TableStatus {
  readonly table: string;
  readonly state: 'waiting' | 'copying' | 'copied';
  readonly copiedBytes: number;
  /** The source's estimate of the table's size. */
  readonly totalBytes: number;
  readonly rows: number | null;
}

/** How far a follow is behind. */
export type FollowLag = Pick<FollowStatus, 'lagBytes' | 'lagMs' | 'caughtUpInSeconds'>;

/** What a running follow says of itself. */
export interface FollowStatus {
  readonly name: string;
  /** `waiting`: something is in the way, which `message` tells, and it is tried again. */
  readonly state: 'starting' | 'copying' | 'following' | 'waiting' | 'stopped';
  readonly message: string | null;
  readonly tables: readonly TableStatus[];
  /** Everything of the source before it is in the target. */
  readonly position: Lsn;
  /** How far the source's log went when it was last looked at; null before. */
  readonly sourceLsn: Lsn | null;
  /** Bytes of the source's log that are not in the target yet; null before they are known. */
  readonly lagBytes: number | null;
  /** Age of the newest applied commit while there is more to apply; 0 when caught up, null before it is known. */
  readonly lagMs: number | null;
  readonly transactionsPerSecond: number;
  readonly changesPerSecond: number;
  /** At the present rates; null when it does not get closer. */
  readonly caughtUpInSeconds: number | null;
  readonly transactions: number;
  readonly changes: number;
  readonly rows: number;
  /** Rows that an update or delete did not find. */
  readonly missingRows: number;
  readonly quarantined: number;
}
