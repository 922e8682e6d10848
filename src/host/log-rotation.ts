import { close, constants, ftruncateSync, read, readSync } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { openOwnFile } from './own-file.ts';

const readFile = promisify(read);
const closeFile = promisify(close);

/** When a log is put aside, and how many of those are kept: five files of 10 MB for each log. */
const LIMIT_BYTES = 10_000_000;
const KEPT = 4;
const LOOK_INTERVAL_MS = 1_000;
const CHUNK_BYTES = 1 << 20;
/** Of a log that grew to so many times its limit between two looks, only the end is kept. */
const MANY = 4;

export interface LogLimits {
  readonly limitBytes: number;
  readonly kept: number;
}

export interface LogRotationOptions {
  /** Default: 10 MB, and four older ones. */
  readonly limits?: LogLimits;
  /** How often it is looked at. Default: once a second. */
  readonly intervalMs?: number;
  /** Called each time before the log is put aside; what it throws only ends this look. */
  readonly beforeLook?: () => Promise<void>;
}

/**
 * Keeps a log bounded that another process writes to, which has it open for appending: its text is copied to `<path>.1`,
 * older ones move on by one, and the file is cut to nothing. The writer goes on at the new end. What it writes between the
 * last read and the cut is lost, which is some microseconds; a pipe through us instead would stop PostgreSQL while this
 * process is suspended. Ends with {@link LogRotation.close}.
 */
export class LogRotation {
  readonly #path: string;
  readonly #limits: LogLimits;
  readonly #beforeLook: () => Promise<void>;
  readonly #timer: NodeJS.Timeout;
  #isLooking = false;

  constructor(path: string, options: LogRotationOptions = {}) {
    this.#path = path;
    this.#limits = options.limits ?? { limitBytes: LIMIT_BYTES, kept: KEPT };
    this.#beforeLook = options.beforeLook ?? (() => Promise.resolve());
    this.#timer = setInterval(() => void this.#look(), options.intervalMs ?? LOOK_INTERVAL_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    // A disk that hangs must not gather looks.
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      await this.#beforeLook();
      await rotateLog(this.#path, this.#limits);
    } catch {
      // A full disk has no room for the copy: it is tried again, and the disk is somebody else's to tell of.
    } finally {
      this.#isLooking = false;
    }
  }
}

/** Puts the log aside if it is larger than the limit. Resolves to whether it was. */
export async function rotateLog(path: string, { limitBytes, kept }: LogLimits): Promise<boolean> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size <= limitBytes) return false;
  const partial = `${path}.next`;
  await rm(partial, { force: true });
  // The oldest goes first: its room may be all that there is.
  await rm(`${path}.${kept}`, { force: true });
  const log = openOwnFile(path, constants.O_RDWR);
  try {
    await moveText(log, partial, size > MANY * limitBytes ? size - limitBytes : 0);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  } finally {
    await closeFile(log);
  }
  for (let number = kept; number > 1; number--) {
    await rename(`${path}.${number - 1}`, `${path}.${number}`).catch(ignoreMissing);
  }
  await rename(partial, `${path}.1`);
  return true;
}

/** From `start` to its end, wherever that is by then; leaves the log empty. */
async function moveText(log: number, path: string, start: number): Promise<void> {
  const copy = await open(path, 'wx', 0o600);
  try {
    let position = start;
    for (
      let chunk = await readChunk(log, position);
      chunk.length > 0;
      chunk = await readChunk(log, position)
    ) {
      await copy.writeFile(chunk);
      position += chunk.length;
    }
    // What came meanwhile, without a turn of the loop in which more could come.
    const rest = readRest(log, position);
    ftruncateSync(log);
    await copy.writeFile(rest);
  } finally {
    await copy.close();
  }
}

async function readChunk(log: number, position: number): Promise<Buffer> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const { bytesRead } = await readFile(log, chunk, 0, chunk.length, position);
  return chunk.subarray(0, bytesRead);
}

function readRest(log: number, start: number): Buffer {
  const chunks: Buffer[] = [];
  for (let position = start; ;) {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    const bytesRead = readSync(log, chunk, 0, chunk.length, position);
    if (bytesRead === 0) return Buffer.concat(chunks);
    chunks.push(chunk.subarray(0, bytesRead));
    position += bytesRead;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
