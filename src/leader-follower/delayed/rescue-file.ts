import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../postgres/data-folder.ts';

/** Where a rescue stops, as text: the state outlives a crash of the agent in a file. */
export interface RescueTarget {
  /** What tells PostgreSQL where to end recovery. */
  readonly setting: {
    readonly name: 'recovery_target_lsn' | 'recovery_target_xid' | 'recovery_target_time';
    readonly value: string;
  };
  /** Recovery ends before the record that begins here; null where that could not be looked up. */
  readonly lsn: string | null;
  /** Of the transaction that begins to commit there; null for a time or a position. */
  readonly xid: number | null;
  readonly subxids: readonly number[];
  /** ISO time of that commit; null where none was looked for. */
  readonly at: string | null;
  /** Files of tables of which that transaction changed rows and deleted none. */
  readonly onlyUpdated: readonly number[];
}

/** What a delayed node is doing for a rescue. */
export type RescuePhase =
  /** Replay stands still: nothing that was not replayed yet is lost any more. */
  | 'held'
  /** It replays up to the target, and ends recovery there. */
  | 'rolling'
  /** Its past can be read. */
  | 'open'
  /** It goes back to the leader's history. */
  | 'closing';

export interface SavedRescue {
  readonly phase: RescuePhase;
  readonly target: RescueTarget | null;
  /** Of the role that reads. */
  readonly password: string;
  /** ISO time. */
  readonly since: string;
  /** What went wrong last, for people. */
  readonly problem: string | null;
}

const FILE = 'rescue.json';

/** Null while there is none. */
export async function readRescue(folder: string): Promise<SavedRescue | null> {
  const text = await readFile(join(folder, FILE), 'utf8').catch(() => null);
  return text === null ? null : (JSON.parse(text) as SavedRescue);
}

/** Null takes it away. */
export async function writeRescue(folder: string, rescue: SavedRescue | null): Promise<void> {
  const path = join(folder, FILE);
  if (rescue === null) await rm(path, { force: true });
  else await replaceFile(path, `${JSON.stringify(rescue)}\n`, null);
}

/** Where a rescue stops, for people, behind what is said of it; empty where that is nowhere yet. */
export function describeTarget(target: RescueTarget | null): string {
  if (target === null) return '';
  const at = target.lsn === null ? '' : ` (${target.lsn})`;
  if (target.xid !== null) return `, before transaction ${target.xid}${at}`;
  return target.lsn === null ? `, at ${target.at}` : `, before ${target.lsn}`;
}
