import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { chown, mkdir, open, readdir, rm } from 'node:fs/promises';
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { join, normalize, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Transform } from 'node:stream';
import tar from 'tar-stream';
import { LockstepError } from '../../model/errors.ts';
import { createPrivateFolder } from '../account.ts';
import type { PostgresAccount } from '../account.ts';
import { assertEmptyFolder, assertFreeSpace } from '../data-folder.ts';
import { copyOut, dropConnection, openReplicationConnection } from '../replication-connection.ts';
import type { ServerAddress } from '../replication-connection.ts';
import { Throttle } from './throttle.ts';

export interface BaseBackupProgress {
  readonly doneBytes: number;
  /** The server's estimate. */
  readonly totalBytes: number;
}

interface ReceivedFile {
  readonly size: number;
  readonly sha256: string;
}

/** What a copy needs beside the data: the log written meanwhile. */
const SPARE_BYTES = 64 * 1_048_576;

/**
 * Copies a running server's data folder over the replication protocol into an empty or missing folder:
 * every file's SHA-256 and size is checked against the server's manifest, and all is on disk when this
 * resolves. Throws POSTGRES_FAILED (and removes the folder) when anything does not fit.
 * Source: PostgreSQL documentation, "Streaming Replication Protocol" (BASE_BACKUP) and "Backup Manifest Format".
 */
export async function takeBaseBackup(options: {
  readonly source: ServerAddress;
  readonly dataDir: string;
  readonly account: PostgresAccount | null;
  /** See {@link Throttle}; as fast as it goes when left out. */
  readonly bytesPerSecond?: number;
  readonly onProgress?: (progress: BaseBackupProgress) => void;
  readonly signal?: AbortSignal;
}): Promise<void> {
  const { source, dataDir, account } = options;
  options.signal?.throwIfAborted();
  await assertEmptyFolder(dataDir);
  // This user's until all is there: the account could otherwise put links in the way of what is written.
  await createPrivateFolder(dataDir, null);
  const client = await openReplicationConnection(source);
  // Not in order: a source that does not answer would not answer a farewell either.
  const abort = (): void => dropConnection(client);
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    const backup = new BackupReceiver({
      dataDir,
      account,
      onProgress: options.onProgress ?? (() => undefined),
      throttle: new Throttle(options.bytesPerSecond ?? Number.POSITIVE_INFINITY),
    });
    await copyOut(
      client,
      `BASE_BACKUP (LABEL 'lockstep', PROGRESS, CHECKPOINT 'fast', WAL, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256')`,
      backup,
    );
    await backup.finish();
    await syncTree(dataDir);
    if (account !== null) await chown(dataDir, account.uid, account.gid);
  } catch (error) {
    await rm(dataDir, { recursive: true, force: true });
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', abort);
    await client.end().catch(() => undefined);
  }
}

/** Takes the copy-out messages: 'n' new archive, 'm' manifest, 'd' data of either, 'p' progress. */
class BackupReceiver {
  readonly #dataDir: string;
  readonly #account: PostgresAccount | null;
  readonly #onProgress: (progress: BaseBackupProgress) => void;
  readonly #throttle: Throttle;
  readonly #files = new Map<string, ReceivedFile>();
  readonly #extract: tar.Extract;
  readonly #extracted: Promise<void>;
  readonly #manifest: Buffer[] = [];
  #target: 'archive' | 'manifest' = 'archive';
  #archives = 0;
  #totalBytes = 0;
  #failure: unknown = null;

  constructor(options: {
    readonly dataDir: string;
    readonly account: PostgresAccount | null;
    readonly onProgress: (progress: BaseBackupProgress) => void;
    readonly throttle: Throttle;
  }) {
    this.#dataDir = options.dataDir;
    this.#account = options.account;
    this.#onProgress = options.onProgress;
    this.#throttle = options.throttle;
    this.#extract = tar.extract();
    this.#extracted = this.#extractAll();
    this.#extracted.catch((error: unknown) => (this.#failure ??= error));
  }

  /** Rows: the start position, then one a tablespace (oid, location, size in kB; the main one has no oid). */
  onRow(values: readonly (string | null)[]): void {
    if (values.length !== 3) return;
    const [oid, location, size] = values;
    if (oid !== null) {
      this.#failure ??= new LockstepError(
        'CONFIG_INVALID',
        `The leader has a tablespace at ${String(location)}; move its tables to the default tablespace, because followers on one machine would share that folder.`,
      );
    }
    this.#totalBytes += Number(size ?? 0) * 1_024;
  }

  async onData(chunk: Buffer): Promise<void> {
    if (this.#failure !== null) throw this.#failure as Error;
    switch (String.fromCharCode(chunk[0] ?? 0)) {
      case 'n':
        this.#archives++;
        this.#target = 'archive';
        await assertFreeSpace(this.#dataDir, this.#totalBytes + SPARE_BYTES);
        return;
      case 'm':
        this.#target = 'manifest';
        return;
      case 'p':
        this.#onProgress({ doneBytes: Number(chunk.readBigInt64BE(1)), totalBytes: this.#totalBytes });
        return;
      case 'd':
        await this.#throttle.take(chunk.length);
        if (this.#target === 'manifest') this.#manifest.push(chunk.subarray(1));
        else await this.#writeArchive(chunk.subarray(1));
        return;
      default:
        throw new LockstepError(
          'POSTGRES_FAILED',
          `The server sent a base backup message of unknown kind ${chunk[0]}.`,
        );
    }
  }

  /** Checks everything against the manifest. */
  async finish(): Promise<void> {
    if (this.#archives !== 1) throw damaged(`${this.#archives} archives came instead of one`);
    this.#extract.end(null);
    await this.#extracted;
    const text = Buffer.concat(this.#manifest).toString('utf8');
    verifyManifest(text, this.#files);
    const path = join(this.#dataDir, 'backup_manifest');
    await pipeline([text], createWriteStream(path, { mode: 0o600 }));
    await this.#own(path);
  }

  async #writeArchive(chunk: Buffer): Promise<void> {
    if (this.#extract.write(chunk)) return;
    await Promise.race([once(this.#extract, 'drain'), this.#extracted]);
  }

  async #extractAll(): Promise<void> {
    for await (const entry of this.#extract) {
      const { name, type } = entry.header;
      const path = join(this.#dataDir, normalize(name));
      if (path !== join(this.#dataDir, sep) && !path.startsWith(join(this.#dataDir, sep)))
        throw damaged(`the archive names ${name}, outside the data folder`);
      if (type === 'directory') {
        await mkdir(path, { recursive: true, mode: 0o700 });
        await this.#own(path);
        entry.resume();
      } else if (type === 'file') {
        const hash = createHash('sha256');
        await pipeline(entry, hashing(hash), createWriteStream(path, { mode: 0o600 }));
        await this.#own(path);
        this.#files.set(normalize(name), { size: entry.header.size ?? 0, sha256: hash.digest('hex') });
      } else {
        throw damaged(
          `the archive holds ${name} of type ${type}, which a data folder without tablespaces has not`,
        );
      }
    }
  }

  async #own(path: string): Promise<void> {
    if (this.#account !== null) await chown(path, this.#account.uid, this.#account.gid);
  }
}

function hashing(hash: Hash): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done): void {
      hash.update(chunk);
      done(null, chunk);
    },
  });
}

interface Manifest {
  readonly Files: readonly {
    readonly Path?: string;
    readonly 'Encoded-Path'?: string;
    readonly Size: number;
    readonly Checksum?: string;
  }[];
  readonly 'Manifest-Checksum': string;
}

/** Throws POSTGRES_FAILED unless the manifest is whole and every file it lists arrived as listed. */
export function verifyManifest(text: string, files: ReadonlyMap<string, ReceivedFile>): void {
  const manifest = parseManifest(text);
  // The checksum covers everything before the line that holds it.
  const covered = text.slice(0, text.lastIndexOf('"Manifest-Checksum"'));
  if (createHash('sha256').update(covered).digest('hex') !== manifest['Manifest-Checksum']) {
    throw damaged('the manifest does not fit its own checksum');
  }
  for (const listed of manifest.Files) {
    const path = listed.Path ?? Buffer.from(listed['Encoded-Path'] ?? '', 'hex').toString('utf8');
    const received = files.get(path);
    if (received === undefined) throw damaged(`${path} is missing`);
    if (received.size !== listed.Size)
      throw damaged(`${path} has ${received.size} bytes instead of ${listed.Size}`);
    if (listed.Checksum !== undefined && received.sha256 !== listed.Checksum) {
      throw damaged(`${path} does not fit its checksum`);
    }
  }
}

function parseManifest(text: string): Manifest {
  try {
    return JSON.parse(text) as Manifest;
  } catch {
    throw damaged('the manifest is cut off or garbled');
  }
}

function damaged(what: string): LockstepError {
  return new LockstepError(
    'POSTGRES_FAILED',
    `The base backup is damaged: ${what}. It was removed; it is taken again.`,
    {
      retryable: true,
    },
  );
}

/** How many fsyncs are under way at once: the file system commits them together. */
const SYNC_LANES = 16;

/** Makes every file and folder durable. */
async function syncTree(root: string): Promise<void> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = [root, ...entries.map((entry) => join(entry.parentPath, entry.name))];
  const lane = async (): Promise<void> => {
    for (let path = paths.pop(); path !== undefined; path = paths.pop()) await syncPath(path);
  };
  await Promise.all(Array.from({ length: SYNC_LANES }, lane));
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
