import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { readClusterConfig } from '../../leader-follower/config/config.ts';
import { inspectQuorum } from '../../leaderless/inspect.ts';
import type { InspectedNode, InspectedQuorum } from '../../leaderless/inspect.ts';
import { LockstepError } from '../../model/errors.ts';
import { nodeDsn } from '../dev/cluster-folder.ts';
import { readLeaderlessConfig } from './folder.ts';

/** `lockstep leaderless …`: the independent servers of a local cluster. */
export function addLeaderlessCommands(
  program: Command,
  state: readonly [flags: string, description: string, fallback: string],
): void {
  const leaderless = program
    .command('leaderless')
    .description('the independent servers that quorum collections are kept on');
  leaderless
    .command('status')
    .description('which of them answer, whether they are a quorum, and what they keep for each other')
    .option(...state)
    .option('--json', 'print one JSON document', false)
    .action((options: { state: string; json: boolean }) => printLeaderlessStatus(options));
}

interface ListedNode extends InspectedNode {
  readonly host: string;
  readonly port: number;
  readonly dsn: string;
}

async function printLeaderlessStatus(options: {
  readonly state: string;
  readonly json: boolean;
}): Promise<void> {
  const stateDir = resolve(options.state);
  const config = await readLeaderlessConfig(stateDir);
  if (config === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The cluster in ${stateDir} has no independent servers. Start it with "npm start -- --leaderless" or "lockstep dev --leaderless".`,
    );
  }
  const cluster = await readClusterConfig(join(stateDir, 'cluster.json'));
  const addresses = config.nodes.map((node) => ({ ...node, dsn: nodeDsn(cluster, node) }));
  const found = await inspectQuorum(addresses.map(({ name, dsn }) => ({ name, url: dsn })));
  const nodes = found.nodes.map((node, index): ListedNode => {
    const { host = '', port = 0, dsn = '' } = addresses[index] ?? {};
    return { ...node, host, port, dsn };
  });
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ topology: 'leaderless', ...found, nodes }, null, 2)}\n`
      : renderLeaderless(found, nodes),
  );
}

function renderLeaderless(found: InspectedQuorum, nodes: readonly ListedNode[]): string {
  const lines = nodes.map((node) => {
    const kept = node.cells === null ? '' : `  ${node.cells} cells, ${node.slots} compare-and-set keys`;
    const hints = Object.entries(node.hints).map(([target, count]) => `  ${count} hints for ${target}`);
    const problem = node.problem === null ? '' : `  ${node.problem}`;
    return `${node.name}  ${node.state.padEnd(7)}  ${node.host}:${node.port}${kept}${hints.join('')}${problem}`;
  });
  return `${lines.join('\n')}\n${summaryOf(found)}\n`;
}

/** What callers can count on now. */
export function summaryOf(
  found: Pick<InspectedQuorum, 'isFounded' | 'hasQuorum' | 'acceptsWrites' | 'quorum' | 'nodes'>,
): string {
  const up = found.nodes.filter(({ state }) => state === 'up').length;
  const of = `${up} of ${found.nodes.length} servers are up`;
  if (!found.isFounded)
    return `${of}; not founded yet: the first app that opens the quorum does that, and needs all of them`;
  if (up === found.nodes.length) return `${of}: every level works`;
  if (found.hasQuorum) return `${of}: "quorum" and compare-and-set work, "all" does not`;
  if (found.acceptsWrites) return `${of}, ${found.quorum} are a quorum: only "one" and "accept" work`;
  return `${of}: nothing works`;
}
