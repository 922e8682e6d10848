import type { Change } from './change.ts';
import { laterVersion } from './version.ts';
import type { Version } from './version.ts';

/** What a batch notes in its own transaction. */
export interface BatchRecord {
  readonly table: string;
  readonly key: string;
  readonly version: Version;
}

/** What a batch of this highest version is stamped with. */
export interface BatchStamp {
  readonly highestUs: number;
  readonly stampUs: number;
}

/**
 * Its highest version, or a moment more where the batch before has the same one, as the parts of a large transaction have: versions
 * are found by the stamp, and it is to name those of one batch. More than the highest version is safe as
 * {@link BatchNotes.commitTimeUs} is.
 */
export function stampAfter(last: BatchStamp | null, highestUs: number): BatchStamp {
  return { highestUs, stampUs: last?.highestUs === highestUs ? last.stampUs + 1 : highestUs };
}

/** A version that a batch noted, and what the batch was stamped with. */
export interface BatchNote {
  readonly version: Version;
  readonly batchTimeUs: number;
}

/**
 * Of what was noted for a row: the version at which the batch left it that wrote what stands there, by that batch's stamp. The
 * simulation goes by it; the region's own condition is in SQL (`recordOf` in tables/statements.ts).
 */
export function noteOf(notes: readonly BatchNote[], committedUs: number | null): Version | null {
  const own = notes.filter(({ batchTimeUs }) => batchTimeUs === committedUs);
  return own.reduce<Version | null>((latest, { version }) => laterVersion(latest, version), null);
}

/** Gathers what a batch did, for the transaction that does it. */
export class BatchNotes {
  readonly #versions = new Map<string, Map<string, BatchRecord>>();
  readonly #tombstones = new Map<string, Map<string, BatchRecord>>();
  #highestUs: number;

  /** `highestUs`: of all that came in, also of what lost. */
  constructor(highestUs: number) {
    this.#highestUs = highestUs;
  }

  /** A row now stands at this version. */
  put({ table, key }: Pick<Change<unknown>, 'table' | 'key'>, version: Version): void {
    byKey(this.#versions, table).set(key, { table, key, version });
    this.#highestUs = Math.max(this.#highestUs, version.timeUs);
  }

  /** A version that counts in what the batch wrote, though no record holds it. */
  see(timeUs: number): void {
    this.#highestUs = Math.max(this.#highestUs, timeUs);
  }

  /** A row is gone at this version, whether it was here or not. */
  delete({ table, key, version }: Pick<Change<unknown>, 'table' | 'key' | 'version'>): void {
    this.#versions.get(table)?.delete(key);
    const tombstones = byKey(this.#tombstones, table);
    tombstones.set(key, { table, key, version: laterVersion(tombstones.get(key)?.version, version) });
  }

  /** One for each row that the batch wrote: a version for all of a batch would lose to, or win over, the wrong ones. */
  get records(): readonly BatchRecord[] {
    return [...this.#versions.values()].flatMap((records) => [...records.values()]);
  }

  get tombstones(): readonly BatchRecord[] {
    return [...this.#tombstones.values()].flatMap((records) => [...records.values()]);
  }

  /**
   * What the batch's own commit must be stamped with: no version in it is above, so that {@link isSurelyOlder} holds
   * of every row that it wrote.
   */
  get commitTimeUs(): number {
    return this.#highestUs;
  }
}

function byKey(tables: Map<string, Map<string, BatchRecord>>, table: string): Map<string, BatchRecord> {
  let records = tables.get(table);
  if (records === undefined) tables.set(table, (records = new Map()));
  return records;
}
