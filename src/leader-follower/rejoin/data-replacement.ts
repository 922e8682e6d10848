import { open, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LockstepError } from '../../model/errors.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import { takeBaseBackup } from '../../postgres/copy/base-backup.ts';
import { isPresent } from '../../postgres/data-folder.ts';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import type { ClusterConfig } from '../config/config.ts';
import type { ServerAddress } from '../../postgres/replication-connection.ts';
import { removeTree } from '../../postgres/account.ts';

/** A source that sends nothing for this long is given up. Its checkpoint, before the first byte, may take long. */
const STALLED_AFTER_MS = 300_000;
const STALL_CHECK_MS = 1_000;

/** Exchanges a node's data folder as a whole; whatever breaks, one usable folder or a mark is left. */
export class DataReplacement {
  readonly #folder: string;
  readonly #account: PostgresAccount | null;
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;

  constructor(
    folder: string,
    options: {
      readonly config: ClusterConfig;
      readonly account: PostgresAccount | null;
      readonly clock: Clock;
    },
  ) {
    this.#folder = folder;
    this.#account = options.account;
    this.#clock = options.clock;
    this.#bytesPerSecond = options.config.copyMegabytesPerSecond * 1_048_576;
  }

  /** Whether the data folder is not usable: pg_rewind has begun and its result did not start yet. */
  isBroken(): Promise<boolean> {
    return isPresent(this.#brokenMarker);
  }

  async markBroken(): Promise<void> {
    await writeFile(this.#brokenMarker, 'pg_rewind did not finish\n');
    await syncFolder(this.#folder);
  }

  async markWhole(): Promise<void> {
    await rm(this.#brokenMarker, { force: true });
  }

  /**
   * Puts a copy of the source in the data folder's place. The old data stays until the copy is whole and
   * checked, so the disk must have room for both. Rejects with what is wrong and leaves the old data.
   */
  async copyFrom(options: {
    readonly source: ServerAddress;
    readonly signal: AbortSignal;
    readonly onProgress: (percent: number) => void;
    readonly stopServer: () => Promise<void>;
  }): Promise<void> {
    const copy = join(this.#folder, 'data.clone');
    await removeTree(copy, this.#account);
    const stalled = new AbortController();
    let movedAtMs = this.#clock.nowMs();
    const endWatch = every(this.#clock, STALL_CHECK_MS, () => {
      if (this.#clock.nowMs() - movedAtMs > STALLED_AFTER_MS) stalled.abort();
    });
    try {
      await takeBaseBackup({
        source: options.source,
        bytesPerSecond: this.#bytesPerSecond,
        dataDir: copy,
        account: this.#account,
        signal: AbortSignal.any([options.signal, stalled.signal]),
        onProgress: ({ doneBytes, totalBytes }) => {
          movedAtMs = this.#clock.nowMs();
          options.onProgress(totalBytes === 0 ? 0 : Math.min(99, Math.floor((doneBytes / totalBytes) * 100)));
        },
      });
    } catch (error) {
      throw copyFailure(error, stalled.signal.aborted, this.#data);
    } finally {
      endWatch();
    }
    await options.stopServer();
    await this.#swapIn(copy);
  }

  /** Marked before: a folder that is half removed must not start. */
  async discard(): Promise<void> {
    await this.markBroken();
    await removeTree(this.#data, this.#account);
  }

  /** Removes what an exchange left behind that was cut off after it had succeeded. */
  async removeLeftover(): Promise<void> {
    if ((await isPresent(this.#data)) && !(await this.isBroken())) await removeTree(this.#old, this.#account);
  }

  get #data(): string {
    return join(this.#folder, 'data');
  }

  get #old(): string {
    return join(this.#folder, 'data.old');
  }

  /** Outlives a crash of the agent: a half rewound folder must not start. */
  get #brokenMarker(): string {
    return join(this.#folder, 'data.broken');
  }

  /** By renaming: a folder that is half removed would look like a usable one after a crash. */
  async #swapIn(copy: string): Promise<void> {
    if (await isPresent(this.#data)) {
      await removeTree(this.#old, this.#account);
      await rename(this.#data, this.#old);
    }
    await rename(copy, this.#data);
    await this.markWhole();
    await syncFolder(this.#folder);
    await removeTree(this.#old, this.#account);
  }
}

/** What went wrong, for people. None of it must end the agent, which is also a voter: the copy is tried again. */
function copyFailure(error: unknown, isStalled: boolean, dataDir: string): LockstepError {
  const { code, message } = error as NodeJS.ErrnoException;
  const isFull = code === 'ENOSPC' || /bytes? free|MB free/.test(message);
  const what = isStalled
    ? `the source sent nothing for ${STALLED_AFTER_MS / 1_000} s`
    : code === 'ENOSPC'
      ? 'the disk is full'
      : message;
  const remedy = isFull
    ? ` The old data in ${dataDir} stays until a copy is whole, so there must be room for both. Free some space, or run "lockstep node reclone ${basename(dirname(dataDir))} --discard-data", which removes the old data first (this node's own commits that the leader lacks are in "lost" beside it).`
    : ' It is tried again.';
  return new LockstepError('POSTGRES_FAILED', `The copy of the leader's data failed: ${what}.${remedy}`, {
    retryable: true,
    cause: error,
  });
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
