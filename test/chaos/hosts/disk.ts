import { mkdir, rm, writeFile } from 'node:fs/promises';
import { open, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './command.ts';

/**
 * Holds a data folder twice (a copy replaces the old one when it is whole) and, of two hundred rounds, the logs put aside
 * and a segment for each timeline: those stay until wal_keep_size is past.
 */
const SIZE = '4g';
/** Left to the slower second step of filling: more than PostgreSQL, which goes on writing, takes before the first is done. */
const SPARED_BYTES = 64 * 1024 * 1024;

/** A host's disk: a small file system of its own, and syncs that can be made to hang. */
export class Disk {
  /** Where the node's folder goes. */
  readonly path: string;
  readonly #switches: string;
  readonly #ballast: string;

  constructor(path: string, switches: string) {
    this.path = path;
    this.#switches = switches;
    this.#ballast = join(path, 'ballast');
  }

  async mount(): Promise<void> {
    await mkdir(this.#switches, { recursive: true, mode: 0o755 });
    await mkdir(this.path, { recursive: true, mode: 0o755 });
    await runTool('mount', '-t', 'tmpfs', '-o', `size=${SIZE},mode=0755`, 'tmpfs', this.path);
  }

  /** For the processes that use this disk. */
  get environment(): Readonly<Record<string, string>> {
    return { LOCKSTEP_CHAOS_DISK: this.#switches };
  }

  /** Not a byte is left. */
  async fill(): Promise<void> {
    const { bavail, bsize } = await statfs(this.path);
    const bytes = bavail * bsize - SPARED_BYTES;
    if (bytes > 0) await runTool('fallocate', '-l', String(bytes), this.#ballast);
    const file = await open(this.#ballast, 'a');
    try {
      // What was freed or taken meanwhile, down to the last page: a write that does not fit as a whole writes what does.
      const piece = Buffer.alloc(1024 * 1024);
      for (;;) await file.write(piece);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      await file.close();
    }
  }

  async empty(): Promise<void> {
    await rm(this.#ballast, { force: true });
  }

  /** From now on no sync returns (`hung`), or each takes longer (`slow`). */
  async turn(state: 'hung' | 'slow'): Promise<void> {
    await writeFile(join(this.#switches, state), '');
  }

  async turnBack(): Promise<void> {
    for (const state of ['hung', 'slow']) await rm(join(this.#switches, state), { force: true });
  }
}
