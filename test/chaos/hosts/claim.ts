import { mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { runTool, tryTool } from './command.ts';

/** Below root's own /run, since predictable names in /tmp could be taken by others. */
const ROOT = '/run/lockstep-chaos';
/** The third number of the hosts' addresses. */
const LAST_NUMBER = 250;

/** A number that this run alone has: its names, its addresses and its folder come from it. */
export interface Claim extends AsyncDisposable {
  readonly number: number;
  readonly folder: string;
}

/** Names of bridge and namespaces begin with it. */
export function namePrefix(number: number): string {
  return `lsc${number}`;
}

/**
 * Removes what killed runs left, and claims a number. Who lives is told by an abstract socket: the kernel
 * frees it when its process ends, however that happened.
 */
export async function claimRun(onProgress: (line: string) => void): Promise<Claim> {
  await mkdir(ROOT, { recursive: true, mode: 0o755 });
  for (const number of await findNumbers()) {
    const lock = await tryLock(number);
    if (lock === null) continue;
    await removeRun(number);
    lock.close();
    onProgress(`Removed what a killed run left (number ${number}).`);
  }
  for (let number = 1; number <= LAST_NUMBER; number += 1) {
    const lock = await tryLock(number);
    if (lock === null) continue;
    const folder = join(ROOT, String(number));
    await mkdir(folder, { recursive: true, mode: 0o755 });
    return {
      number,
      folder,
      [Symbol.asyncDispose]: async () => {
        await removeRun(number);
        lock.close();
      },
    };
  }
  throw new Error(`All ${LAST_NUMBER} numbers are in use by other runs.`);
}

function tryLock(number: number): Promise<Server | null> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(null));
    server.listen(`\0lockstep-chaos-${number}`, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** Numbers with a folder, a namespace, a bridge or the end of a host's link. */
async function findNumbers(): Promise<Set<number>> {
  const names = [...(await listNamespaces()), ...(await listLinks())];
  const found = names.flatMap((name) => /^lsc(\d+)(?:-|n|$)/.exec(name)?.[1] ?? []);
  const folders = (await readdir(ROOT)).filter((name) => /^\d+$/.test(name));
  return new Set([...found, ...folders].map(Number));
}

async function listLinks(): Promise<string[]> {
  const text = await runTool('ip', '-o', 'link', 'show');
  return [...text.matchAll(/^\d+: ([^:@]+)/gm)].map(([, name]) => name ?? '');
}

async function listNamespaces(): Promise<string[]> {
  const text = await runTool('ip', 'netns', 'list');
  return text
    .split('\n')
    .map((line) => line.split(' ', 1)[0] ?? '')
    .filter(Boolean);
}

/** Processes first, suspended ones too; then what they used. */
async function removeRun(number: number): Promise<void> {
  const prefix = namePrefix(number);
  for (const namespace of (await listNamespaces()).filter((name) => name.startsWith(`${prefix}-`))) {
    await killNamespace(namespace);
    await tryTool('ip', 'netns', 'del', namespace);
  }
  // Ends of the hosts' links, too: the kernel takes its time to remove them together with a namespace.
  for (const link of await listLinks()) {
    if (link === prefix || link.startsWith(`${prefix}n`)) await tryTool('ip', 'link', 'del', link);
  }
  const folder = join(ROOT, String(number));
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  for (const [, path = ''] of mounts.matchAll(/^\S+ (\S+) /gm)) {
    if (path.startsWith(`${folder}/`)) await tryTool('umount', '-l', path);
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** SIGKILL for everything in a namespace, until nothing is left: a process may start another meanwhile. */
export async function killNamespace(namespace: string): Promise<void> {
  for (;;) {
    const pids = await listNamespacePids(namespace);
    if (pids.length === 0) return;
    signalAll(pids, 'SIGKILL');
  }
}

export async function listNamespacePids(namespace: string): Promise<number[]> {
  const text = await tryTool('ip', 'netns', 'pids', namespace);
  return text.split('\n').filter(Boolean).map(Number);
}

/** Processes that are gone are skipped. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
