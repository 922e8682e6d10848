import { open, readFile, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { checksum, encodeCopy, encodeFile, readCopies } from './acceptor-copies.ts';

/** What is found of an acceptor's state: in a `damaged` file neither copy is whole. */
export type FoundState =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'damaged' }
  | { readonly kind: 'whole'; readonly body: string };

/**
 * The file of an acceptor, written in place: its blocks are there already, so that a write waits for nothing but itself.
 * A new file would make the file system commit its journal, behind whatever PostgreSQL and others have in it, and needs
 * room. See acceptor-copies.ts for how a torn write is survived.
 */
export class AcceptorFile {
  readonly #path: string;
  #copyBytes: number | null = null;
  #sequence = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Changes nothing. */
  async read(): Promise<FoundState> {
    let bytes: Buffer;
    try {
      bytes = await readFile(this.#path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'nothing' };
      throw error;
    }
    const found = readCopies(bytes);
    this.#sequence = found?.sequence ?? 0;
    const body = found?.body ?? readFirstFormat(bytes.toString('utf8'));
    return body === null ? { kind: 'damaged' } : { kind: 'whole', body };
  }

  /**
   * Resolves when both copies of `body` are on disk, so that either of them tells everything that was answered.
   *
   * The first write, and each one after a failure, makes a new file: pages that a failed fsync dropped, or that a killed
   * process never wrote out, look in the old one as if they were on disk.
   */
  async write(body: string): Promise<void> {
    this.#sequence += 1;
    const copyBytes = this.#copyBytes;
    this.#copyBytes = null;
    const copy = copyBytes === null ? null : encodeCopy({ copyBytes, sequence: this.#sequence, body });
    if (copyBytes === null || copy === null) {
      this.#copyBytes = await this.#replace(body);
      return;
    }
    await withFile(this.#path, 'r+', async (file) => {
      for (const offset of [0, copyBytes]) {
        const { bytesWritten } = await file.write(copy, 0, copy.length, offset);
        if (bytesWritten < copy.length) throw new Error(`${this.#path} was written in part only`);
        await file.datasync();
      }
    });
    this.#copyBytes = copyBytes;
  }

  /** Temporary file, fsync, rename, fsync of the folder. */
  async #replace(body: string): Promise<number> {
    const { copyBytes, bytes } = encodeFile(this.#sequence, body);
    const temporary = `${this.#path}.next`;
    await rm(temporary, { force: true });
    await withFile(temporary, 'wx', async (file) => {
      await file.writeFile(bytes);
      await file.sync();
    });
    await rename(temporary, this.#path);
    await withFile(dirname(this.#path), 'r', (folder) => folder.sync());
    return copyBytes;
  }
}

/** One copy behind its checksum, as written before there were two. */
function readFirstFormat(text: string): string | null {
  const [sum = '', body = ''] = text.split('\n');
  return sum === checksum(body) ? body : null;
}

async function withFile(
  path: string,
  flags: string,
  task: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const file = await open(path, flags, 0o600);
  try {
    await task(file);
  } finally {
    await file.close();
  }
}
