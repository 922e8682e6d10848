import { constants } from 'node:fs';
import { chmod, chown, mkdir, open, readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lsn } from '../../model/lsn.ts';
import { parseTimeline, parseTimelineHistory } from '../../model/timeline.ts';
import type { Timeline, TimelineFork, TimelineHistory } from '../../model/timeline.ts';
import type { PostgresAccount } from '../account.ts';
import { replaceFile } from '../data-folder.ts';

const SEGMENT_NAME = /^[0-9A-F]{24}$/;
/** Never through a link. */
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;

/** One file of the log. */
export interface LogSegment {
  readonly name: string;
  readonly timeline: Timeline;
  readonly startLsn: Lsn;
}

/**
 * A folder of log segments and timeline histories under PostgreSQL's own names, from which `restore_command` takes
 * them and pg_waldump reads. The newest segment has its full size from the start, with zeros past what has come, so
 * that PostgreSQL takes it as it is and asks again for more. Source: PostgreSQL's src/include/access/xlog_internal.h.
 */
export class LogArchive {
  readonly folder: string;
  readonly #account: PostgresAccount | null;
  readonly segmentBytes: bigint;
  #file: { readonly name: string; readonly handle: FileHandle } | null = null;
  #written: Lsn = 0n as Lsn;

  constructor(folder: string, account: PostgresAccount | null, segmentBytes: number) {
    this.folder = folder;
    this.#account = account;
    this.segmentBytes = BigInt(segmentBytes);
  }

  /** The one that is in `folder` already; null when there is no segment to tell its size. */
  static async find(folder: string, account: PostgresAccount | null): Promise<LogArchive | null> {
    const names = await readdir(folder).catch(() => []);
    const sample = names.find((name) => SEGMENT_NAME.test(name));
    if (sample === undefined) return null;
    return new LogArchive(folder, account, (await stat(join(folder, sample))).size);
  }

  /** PostgreSQL's user may read it and nothing else: what this process writes to stays what it made itself. */
  async create(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    await chmod(this.folder, this.#account === null ? 0o700 : 0o750);
    if (this.#account !== null) await chown(this.folder, process.getuid?.() ?? 0, this.#account.gid);
  }

  /** The beginning of the segment that holds `lsn`. */
  segmentStart(lsn: Lsn): Lsn {
    return (lsn - (lsn % this.segmentBytes)) as Lsn;
  }

  nameOf(timeline: Timeline, lsn: Lsn): string {
    const perFile = 0x1_0000_0000n / this.segmentBytes;
    const number = lsn / this.segmentBytes;
    return [BigInt(timeline), number / perFile, number % perFile].map(hex).join('');
  }

  /** All segments, by position, then by timeline. */
  async segments(): Promise<readonly LogSegment[]> {
    const names = await readdir(this.folder).catch(() => []);
    const perFile = 0x1_0000_0000n / this.segmentBytes;
    return names
      .filter((name) => SEGMENT_NAME.test(name))
      .map((name) => ({
        name,
        timeline: parseTimeline(Number.parseInt(name.slice(0, 8), 16)),
        startLsn: ((BigInt(`0x${name.slice(8, 16)}`) * perFile + BigInt(`0x${name.slice(16)}`)) *
          this.segmentBytes) as Lsn,
      }))
      .toSorted((a, b) =>
        a.startLsn === b.startLsn ? a.timeline - b.timeline : a.startLsn < b.startLsn ? -1 : 1,
      );
  }

  /** When anything last came into a segment, in milliseconds since the epoch; null when it is not there. */
  async writtenAt(segment: LogSegment): Promise<number | null> {
    return stat(join(this.folder, segment.name)).then(
      ({ mtimeMs }) => mtimeMs,
      () => null,
    );
  }

  async write(timeline: Timeline, lsn: Lsn, bytes: Buffer): Promise<void> {
    let at = lsn;
    let rest = bytes;
    while (rest.length > 0) {
      const offset = Number(at % this.segmentBytes);
      const part = rest.subarray(0, Math.min(rest.length, Number(this.segmentBytes) - offset));
      const handle = await this.#openFor(timeline, at);
      await handle.write(part, 0, part.length, offset);
      at = (at + BigInt(part.length)) as Lsn;
      rest = rest.subarray(part.length);
    }
    this.#written = at;
  }

  /** Makes everything durable, and tells up to where. */
  async flush(): Promise<Lsn> {
    const written = this.#written;
    await this.#file?.handle.datasync();
    return written;
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    this.#written = 0n as Lsn;
    await file?.handle.datasync().catch(() => undefined);
    await file?.handle.close();
  }

  async saveHistory(timeline: Timeline, text: string): Promise<void> {
    if (timeline === 1) return;
    const path = join(this.folder, historyName(timeline));
    if ((await readFile(path, 'utf8').catch(() => null)) === text) return;
    await replaceFile(path, text, null);
    const handle = await open(path, O_RDWR | O_NOFOLLOW);
    await this.#admitAccount(handle);
    await handle.close();
  }

  async #admitAccount(file: FileHandle): Promise<void> {
    if (this.#account === null) return;
    await file.chown(process.getuid?.() ?? 0, this.#account.gid);
    await file.chmod(0o640);
  }

  /** Null when it is not known. */
  async history(timeline: Timeline): Promise<TimelineHistory | null> {
    if (timeline === 1) return { timeline, ancestors: [] };
    const text = await readFile(join(this.folder, historyName(timeline)), 'utf8').catch(() => null);
    return text === null ? null : parseTimelineHistory(timeline, text);
  }

  /**
   * Takes away what is no part of a history that leaves the one here at `fork`: whole segments, and in the last shared
   * one what lies past the fork. `timelines` are those that the history has.
   */
  async cut(fork: TimelineFork, timelines: ReadonlySet<Timeline>): Promise<void> {
    await this.close();
    for (const segment of await this.segments()) {
      const isForeign = !timelines.has(segment.timeline);
      const isPast = segment.timeline === fork.timeline && segment.startLsn >= fork.forkedAt;
      if (isForeign || isPast) await rm(join(this.folder, segment.name), { force: true });
      else if (segment.timeline === fork.timeline && segment.startLsn === this.segmentStart(fork.forkedAt))
        await this.#blankFrom(segment, Number(fork.forkedAt - segment.startLsn));
    }
    for (const name of await readdir(this.folder)) {
      const timeline = /^([0-9A-F]{8})\.history$/.exec(name)?.[1];
      if (timeline !== undefined && !timelines.has(parseTimeline(Number.parseInt(timeline, 16))))
        await rm(join(this.folder, name), { force: true });
    }
  }

  /** Removes the segments that end at or before `lsn`. */
  async prune(lsn: Lsn): Promise<void> {
    for (const segment of await this.segments()) {
      if (segment.startLsn + this.segmentBytes > lsn) return;
      await rm(join(this.folder, segment.name), { force: true });
    }
  }

  /** Removes everything. */
  async clear(): Promise<void> {
    await this.close();
    await rm(this.folder, { recursive: true, force: true });
    await this.create();
  }

  async #openFor(timeline: Timeline, lsn: Lsn): Promise<FileHandle> {
    const name = this.nameOf(timeline, lsn);
    if (this.#file?.name === name) return this.#file.handle;
    await this.#file?.handle.datasync();
    await this.#file?.handle.close();
    const path = join(this.folder, name);
    const handle = await open(path, O_RDWR | O_NOFOLLOW).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      const created = await open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      await this.#admitAccount(created);
      await created.truncate(Number(this.segmentBytes));
      await syncFolder(this.folder);
      return created;
    });
    this.#file = { name, handle };
    return handle;
  }

  async #blankFrom(segment: LogSegment, offset: number): Promise<void> {
    const path = join(this.folder, segment.name);
    const { atime, mtime } = await stat(path);
    const handle = await open(path, O_RDWR | O_NOFOLLOW);
    try {
      await handle.truncate(offset);
      await handle.truncate(Number(this.segmentBytes));
      await handle.sync();
    } finally {
      await handle.close();
    }
    // When its log came is told by its time.
    await utimes(path, atime, mtime);
  }
}

function historyName(timeline: Timeline): string {
  return `${hex(BigInt(timeline))}.history`;
}

function hex(value: bigint): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
