import { chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LockstepError } from '../../model/errors.ts';
import type { NodeId } from '../../model/node.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import { nodeFolder } from '../config/config.ts';
import type { ClusterConfig } from '../config/config.ts';

/**
 * Ties a node's folder to its cluster; `isNew` when it was never used before. Throws CONFIG_INVALID when it
 * belongs to another one.
 */
export async function claimFolder(
  stateDir: string,
  config: ClusterConfig,
  name: NodeId,
  account: PostgresAccount | null,
): Promise<{ readonly folder: string; readonly isNew: boolean }> {
  const folder = nodeFolder(stateDir, name);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const path = join(folder, 'node.json');
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text !== null) {
    const owner = JSON.parse(text) as { cluster: string; node: string };
    if (owner.cluster === config.id && owner.node === name) return { folder, isNew: false };
    throw new LockstepError(
      'CONFIG_INVALID',
      `${folder} belongs to node ${owner.node} of another cluster (${owner.cluster}). Nothing was changed; name another folder with --state.`,
      { details: { folder } },
    );
  }
  await writeFile(path, `${JSON.stringify({ cluster: config.id, node: name })}\n`, { mode: 0o600 });
  if (account !== null) await chown(folder, account.uid, account.gid);
  return { folder, isNew: true };
}
