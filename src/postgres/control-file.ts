import { open, readFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { LockstepError } from '../model/errors.ts';
import type { Lsn } from '../model/lsn.ts';
import type { Settings } from './settings.ts';

/** What global/pg_control says of a data folder. */
export interface ControlFile {
  /**
   * `shut down`: the leader that ran here ended in order, and `checkpoint` is its log's last record.
   * `shut down in recovery`: a follower ended in order.
   */
  readonly state: 'shut down' | 'shut down in recovery' | 'other';
  /** Where the newest checkpoint's record begins, and the timeline it was written on. */
  readonly checkpoint: Lsn;
  readonly checkpointTimeline: number;
  /** Of a follower: up to where it has to replay again to be whole; 0 where that is nowhere. */
  readonly minRecoveryPoint: { readonly lsn: Lsn; readonly timeline: number };
  /** As text: it exceeds 2^53. */
  readonly systemIdentifier: string;
  /** The leader's settings, of which a hot standby must have at least as much to replay its log. */
  readonly followerMinimums: Readonly<Record<string, number>>;
}

/** Where the checksum of all before it lies, by pg_control_version: of PostgreSQL 15 to 17, and of 18. */
const CHECKSUM_OFFSETS: Readonly<Record<number, number>> = { 1300: 288, 1800: 292 };
/** All that is read; the file itself is padded to 8 KB. */
const READ_BYTES = 296;

/** Where the state lies, and DB_SHUTDOWNED and DB_SHUTDOWNED_IN_RECOVERY of the enumeration DBState. */
const STATE_OFFSET = 16;
const STATES: Readonly<Record<number, ControlFile['state']>> = { 1: 'shut down', 2: 'shut down in recovery' };

/** Where each setting lies, and PostgreSQL's default for it. */
const FOLLOWER_SETTINGS: readonly {
  readonly name: string;
  readonly offset: number;
  readonly preset: number;
}[] = [
  { name: 'max_connections', offset: 180, preset: 100 },
  { name: 'max_worker_processes', offset: 184, preset: 8 },
  { name: 'max_wal_senders', offset: 188, preset: 10 },
  { name: 'max_prepared_transactions', offset: 192, preset: 0 },
  { name: 'max_locks_per_transaction', offset: 196, preset: 64 },
];

/** A constant that PostgreSQL itself keeps in the file to recognise a foreign number format. */
const FLOAT_FORMAT = { offset: 208, value: 1_234_567 };

/**
 * Reads the control file; null when there is none. Throws POSTGRES_FAILED when its layout is not the one of
 * a supported version. Source: PostgreSQL's src/include/catalog/pg_control.h, and its documentation,
 * "Hot Standby", administrator's overview, for the settings.
 */
export async function readControlFile(dataDir: string): Promise<ControlFile | null> {
  const path = join(dataDir, 'global', 'pg_control');
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  return bytes === null ? null : parseControlFile(bytes, path);
}

/**
 * Reads the control file of a running PostgreSQL again and again, at the cost of one read each: it is written in place
 * (update_controlfile in src/common/controldata_utils.c), so that one handle serves.
 */
export class ControlFileReader implements AsyncDisposable {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #bytes = Buffer.alloc(READ_BYTES);

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  /** Rejects with the file system's own error when there is none. */
  static async open(dataDir: string): Promise<ControlFileReader> {
    const path = join(dataDir, 'global', 'pg_control');
    return new ControlFileReader(path, await open(path, 'r'));
  }

  /** Null when it was caught while it was written. Throws POSTGRES_FAILED as {@link readControlFile} does. */
  async read(): Promise<ControlFile | null> {
    await this.#handle.read(this.#bytes, 0, READ_BYTES, 0);
    const offset = CHECKSUM_OFFSETS[this.#bytes.readUInt32LE(8)];
    const isTorn =
      offset !== undefined && crc32c(this.#bytes.subarray(0, offset)) !== this.#bytes.readUInt32LE(offset);
    return isTorn ? null : parseControlFile(this.#bytes, this.#path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

function parseControlFile(bytes: Buffer, path: string): ControlFile {
  const isKnown =
    bytes.length > FLOAT_FORMAT.offset + 8 &&
    CHECKSUM_OFFSETS[bytes.readUInt32LE(8)] !== undefined &&
    bytes.readDoubleLE(FLOAT_FORMAT.offset) === FLOAT_FORMAT.value;
  if (!isKnown) {
    throw new LockstepError(
      'POSTGRES_FAILED',
      `${path} is damaged or of a PostgreSQL that is not supported; "lockstep node reclone <node>" copies this node anew.`,
      {
        details: { path },
      },
    );
  }
  const minimums: Record<string, number> = {};
  for (const { name, offset } of FOLLOWER_SETTINGS) minimums[name] = bytes.readInt32LE(offset);
  return {
    state: STATES[bytes.readInt32LE(STATE_OFFSET)] ?? 'other',
    checkpoint: bytes.readBigUInt64LE(32) as Lsn,
    checkpointTimeline: bytes.readUInt32LE(48),
    minRecoveryPoint: { lsn: bytes.readBigUInt64LE(136) as Lsn, timeline: bytes.readUInt32LE(144) },
    systemIdentifier: bytes.readBigUInt64LE(0).toString(),
    followerMinimums: minimums,
  };
}

/** CRC-32C (RFC 3720, appendix B.4), bit by bit: the input is short. */
function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0x82f63b78;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** A setting that is below what a follower must have to replay its log (I5). */
export interface LackingSetting {
  readonly name: string;
  readonly value: number;
  readonly least: number;
}

/** The settings that have such a minimum. */
export const FOLLOWER_SETTING_NAMES: readonly string[] = FOLLOWER_SETTINGS.map(({ name }) => name);

/** Which of these values are below what the data folder's log was written with. */
export function lackingSettings(
  values: Readonly<Record<string, number>>,
  control: ControlFile,
): readonly LackingSetting[] {
  return FOLLOWER_SETTING_NAMES.flatMap((name) => {
    const value = values[name];
    const least = control.followerMinimums[name] ?? 0;
    return value !== undefined && value < least ? [{ name, value, least }] : [];
  });
}

/** The settings, none of them below what the data folder's log was written with (I5). */
export function raiseTo(settings: Settings, control: ControlFile | null): Settings {
  if (control === null) return settings;
  const raised: Record<string, string | number | boolean> = { ...settings };
  for (const { name, preset } of FOLLOWER_SETTINGS) {
    const minimum = control.followerMinimums[name] ?? 0;
    if (minimum > Number(raised[name] ?? preset)) raised[name] = minimum;
  }
  return raised;
}
