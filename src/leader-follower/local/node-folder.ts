import { chmod, chown, lstat, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readLockHolder, tryLockFolder } from '../../host/folder-lock.ts';
import type { FolderLock } from '../../host/folder-lock.ts';
import { LockstepError } from '../../model/errors.ts';
import type { NodeId } from '../../model/node.ts';
import { replaceFile } from '../../postgres/data-folder.ts';
import type { Clock } from '../../model/clock.ts';
import { nodeFolder } from '../config/config.ts';
import type { ClusterConfig } from '../config/config.ts';

/** An agent that was told to end stops its PostgreSQL in order first. */
const RELEASE_TIMEOUT_MS = 10_000;
const RETRY_MS = 100;

/**
 * Takes a node's folder for this process, before anything in it is read or written, and makes it where it is missing. It is
 * this user's alone: what belongs to PostgreSQL's user, where that is another, lies below it in `data`. Throws CONFIG_INVALID
 * when another agent has it and does not let go within 10 s, or somebody else could put links in it.
 */
export async function takeNodeFolder(stateDir: string, name: NodeId, clock: Clock): Promise<FolderLock> {
  const folder = nodeFolder(stateDir, name);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  for (const path of [dirname(folder), folder]) await ownFolder(path);
  const deadline = clock.nowMs() + RELEASE_TIMEOUT_MS;
  for (;;) {
    const lock = tryLockFolder(folder);
    if (lock !== null) return lock;
    if (clock.nowMs() > deadline) break;
    await clock.sleep(RETRY_MS);
  }
  const pid = readLockHolder(folder);
  throw new LockstepError(
    'CONFIG_INVALID',
    `Stop the agent of node ${name} that runs already${pid === null ? '' : ` (process ${pid})`}, or leave it be: it has the folder ${folder}. Nothing was changed.`,
    { details: { folder, pid } },
  );
}

/** Root's folders belonged to PostgreSQL's user in earlier releases, who may have put links there. */
async function ownFolder(path: string): Promise<void> {
  const user = process.geteuid?.();
  if (user !== 0) return;
  const [named, found] = [await lstat(path), await stat(path)];
  if (named.uid !== user && named.isSymbolicLink()) throw untrusted(path, 'is a link that another user made');
  if (found.uid === user) return;
  await chown(path, user, found.gid);
  await chmod(path, 0o755);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isSymbolicLink())
      throw untrusted(join(path, entry.name), "is a link made while the folder was not root's");
  }
}

function untrusted(path: string, what: string): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `Look at ${path} and remove it: it ${what}. Nothing was followed.`,
    {
      details: { path },
    },
  );
}

/**
 * Ties a node's folder to its cluster; `isNew` when it was never used before. Throws CONFIG_INVALID when it
 * belongs to another one.
 */
export async function claimFolder(
  stateDir: string,
  config: ClusterConfig,
  name: NodeId,
): Promise<{ readonly folder: string; readonly isNew: boolean }> {
  const folder = nodeFolder(stateDir, name);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const path = join(folder, 'node.json');
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text !== null) {
    const owner = parseOwner(path, text);
    if (owner.cluster === config.id && owner.node === name) return { folder, isNew: false };
    throw new LockstepError(
      'CONFIG_INVALID',
      `${folder} belongs to node ${owner.node} of another cluster (${owner.cluster}). Nothing was changed; name another folder with --state.`,
      { details: { folder } },
    );
  }
  await replaceFile(path, `${JSON.stringify({ cluster: config.id, node: name })}\n`, null);
  return { folder, isNew: true };
}

function parseOwner(path: string, text: string): { readonly cluster: string; readonly node: string } {
  try {
    return JSON.parse(text) as { cluster: string; node: string };
  } catch (error) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${path} does not say whose folder this is: it is damaged. Name another folder with --state, or restore that file.`,
      { cause: error, details: { path } },
    );
  }
}
