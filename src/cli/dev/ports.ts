import { lstat, mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { tryLockFolder } from '../../host/folder-lock.ts';
import type { FolderLock } from '../../host/folder-lock.ts';
import { codeOf, LockstepError } from '../../model/errors.ts';

/** Ports that this process has taken, until it ends. */
const taken = new Map<number, FolderLock>();

/**
 * Takes a port of the loopback address for what this process is about to start. False when somebody listens there, or
 * another process of this user has taken it and does not listen yet: two clusters that are started at once must not both
 * find it free.
 */
export async function takePort(port: number): Promise<boolean> {
  if (!(await canListen(port))) return false;
  if (taken.has(port)) return true;
  const lock = tryLockFolder(await portFolder(port));
  if (lock === null) return false;
  taken.set(port, lock);
  return true;
}

/** Whether a port of the loopback address is free right now. */
export function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** Throws CONFIG_INVALID when another user has put something in its place: everybody may write where it is. */
async function portFolder(port: number): Promise<string> {
  const user = process.geteuid?.() ?? 0;
  const root = join(tmpdir(), `lockstep-ports-${user}`);
  // Not the folder in it at once: where somebody put a link, that would be made behind it.
  await mkdir(root, { mode: 0o700 }).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
  const found = await lstat(root);
  if (found.isDirectory() && found.uid === user) {
    const folder = join(root, String(port));
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return folder;
  }
  throw new LockstepError('CONFIG_INVALID', `Remove ${root}: it is no folder of this user.`, {
    details: { root },
  });
}

/**
 * `count` free ports from `first` on, taken for this process. With `isExact` the ports must be just these: then a taken one
 * throws CONFIG_INVALID.
 */
export async function choosePorts(
  first: number,
  count: number,
  options: {
    readonly isExact: boolean;
    readonly flag: string;
    /** Free now, and not to be chosen. */
    readonly except?: readonly number[];
  },
): Promise<number[]> {
  const chosen: number[] = [];
  for (let port = first; chosen.length < count; port++) {
    if (port > 65_535) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `There are no ${count} free ports from ${first} on; choose others with ${options.flag}.`,
      );
    }
    if (options.except?.includes(port) !== true && (await takePort(port))) {
      chosen.push(port);
    } else if (options.isExact) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `Port ${port} is in use. Stop what listens there, or choose another with ${options.flag}.`,
        {
          details: { port },
        },
      );
    }
  }
  return chosen;
}

/** Of a command line. */
export function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('A port is a number from 1 to 65535.');
  return port;
}
