import type { AdminRescue, RescueDiff, RescuePicture } from '../../admin/rescue-source.ts';
import { takesMany } from '../../leader-follower/delayed/core/danger.ts';
import type { RescueList } from '../../leader-follower/delayed/rescue-log.ts';
import type { RescueStatus } from '../../leader-follower/delayed/rescue.ts';
import { labelOf } from '../../leader-follower/rescue/restore.ts';
import type { RescueSession } from '../../leader-follower/rescue/session.ts';
import type { ClusterPlace } from '../commands/cluster-place.ts';
import { fetchTopology } from '../commands/local-cluster.ts';
import { readConfig } from '../commands/plan-commands.ts';
import { askRescue, delayedNode, openSession, rescueStatus } from './rescue-node.ts';
import { renderPlan, renderRestored, renderStatus } from './rescue-text.ts';

const SHOWN_KEYS = 20;

/** The commands `rescue …`, for the dashboard's page. */
export function rescueActions(place: ClusterPlace): AdminRescue {
  const find = async (name: string | undefined): ReturnType<typeof findNode> => findNode(place, name);
  return {
    status: async (name) => {
      const { config, node } = await find(name);
      return pictureOf(await rescueStatus(config, node));
    },
    list: async (sinceMs, name) => {
      const { config, node } = await find(name);
      const { transactions } = await askRescue<RescueList>(config, node, { kind: 'list', sinceMs });
      return transactions.map((transaction) => ({ ...transaction, takesMany: takesMany(transaction) }));
    },
    open: async (xid, name) => {
      const { config, node } = await find(name);
      const before = { kind: 'xid', xid } as const;
      return pictureOf(await askRescue<RescueStatus>(config, node, { kind: 'open', before }));
    },
    close: async (name) => {
      const { config, node } = await find(name);
      return pictureOf(await askRescue<RescueStatus>(config, node, { kind: 'close' }));
    },
    diff: async (name) => {
      const { config, node } = await find(name);
      await using session = await openSession(config, node, undefined);
      const diffs: RescueDiff[] = [];
      for (const table of await session.differing()) diffs.push(await diffOf(session, table));
      return diffs;
    },
    restore: async ({ tables, keepsNewer, isTrial }, name) => {
      const { config, node } = await find(name);
      await using session = await openSession(config, node, undefined);
      const plan = await session.plan(tables, { where: null, keepsNewer });
      const { leader } = await fetchTopology(config);
      const text = isTrial ? renderPlan(plan, leader ?? '') : renderRestored(await session.restore(plan));
      return text.split('\n');
    },
  };
}

async function findNode(
  place: ClusterPlace,
  name: string | undefined,
): Promise<{
  readonly config: Awaited<ReturnType<typeof readConfig>>;
  readonly node: ReturnType<typeof delayedNode>;
}> {
  const config = await readConfig(place);
  return { config, node: delayedNode(config, name) };
}

function pictureOf(status: RescueStatus): RescuePicture {
  const { node, delayMs, phase, target } = status;
  return { node, delayMs, phase, text: renderStatus(status), xid: target?.xid ?? null };
}

async function diffOf(session: RescueSession, name: string): Promise<RescueDiff> {
  const comparison = await session.compare(name, null);
  const { table, presentTable, rows, counts, others } = comparison;
  return {
    table: labelOf(table),
    isDropped: presentTable === null,
    rows,
    missing: counts.missing,
    changed: counts.changed,
    touchedSince: counts.newer,
    others,
    keys: {
      missing: await session.keysOf(comparison, 'missing', SHOWN_KEYS),
      changed: await session.keysOf(comparison, 'changed', SHOWN_KEYS),
      touchedSince: await session.keysOf(comparison, 'newer', SHOWN_KEYS),
    },
  };
}
