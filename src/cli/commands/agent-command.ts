import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { Agent } from '../../leader-follower/agent.ts';
import { machineClock } from '../../clock/machine-clock.ts';
import { findNode, readClusterConfig } from '../../leader-follower/config/config.ts';
import { RemovedError } from '../../leader-follower/members/membership.ts';
import { Witness } from '../../leader-follower/witness.ts';
import { takeNodeFolder } from '../../leader-follower/local/node-folder.ts';
import { Systemd } from '../../host/systemd.ts';
import type { Topology } from '../../model/topology.ts';
import { parseNodeId } from '../../model/node.ts';
import { CONFIG, configPathOf, DEFAULT_STATE_DIR } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';
import { withOwnNode } from './own-node.ts';

/** `agent`: what stands beside each PostgreSQL. */
export function addAgentCommand(program: Command): void {
  program
    .command('agent')
    .description('run the agent beside one PostgreSQL')
    .requiredOption('--node <name>', 'which node this is')
    .option('--state <folder>', 'where this machine keeps its node', DEFAULT_STATE_DIR)
    .addOption(new Option('--data <folder>', 'the same as --state').hideHelp())
    .option(...CONFIG)
    .option('--until-stdin-closes', 'end also when standard input closes: whoever started it is gone', false)
    .action(
      ({ data, ...options }: ClusterPlace & { node: string; untilStdinCloses: boolean; data?: string }) => {
        const place = data === undefined ? options : { ...options, state: data };
        return runAgent({ ...place, config: configPathOf(place), data: resolve(place.state) });
      },
    );
}

/**
 * `lockstep agent`: runs one node's agent until a signal. With `untilStdinCloses` also until standard input closes: who
 * started it is gone then. Not by default: a service manager, nohup and cron put it at /dev/null, which closes at once.
 */
async function runAgent(options: {
  readonly config: string;
  readonly data: string;
  readonly node: string;
  readonly untilStdinCloses: boolean;
}): Promise<void> {
  const systemd = new Systemd({
    environment: process.env,
    onProblem: (problem) => process.stderr.write(`${problem}\n`),
  });
  // Before anything is opened; the kernel lets it go when this process ends.
  await takeNodeFolder(options.data, parseNodeId(options.node), machineClock);
  await warnOfReaders(options.config);
  const config = await withOwnNode(await readClusterConfig(options.config), options);
  const open = findNode(config, options.node).witness ? Witness.open : Agent.open;
  const agent = await open({ config, node: options.node, stateDir: options.data, clock: machineClock });
  let isReady = false;
  agent.subscribe((change) => {
    if ('event' in change) {
      const { at, kind, message } = change.event;
      process.stdout.write(
        `${JSON.stringify({ at: new Date(at).toISOString(), node: options.node, kind, message })}\n`,
      );
    } else {
      systemd.status(describeNode(options.node, change.topology));
      // The first picture: it answers the others, and takes part. How far its data is, the status says.
      if (!isReady) void systemd.ready();
      isReady = true;
    }
  });
  // Who reads its log may end before it.
  process.stdout.on('error', () => undefined);
  let closing: Promise<void> | null = null;
  const close = (): void => {
    closing ??= Promise.all([systemd.stopping(), agent.close()]).then(() =>
      process.exit(process.exitCode ?? 0),
    );
  };
  process.on('SIGTERM', close);
  process.on('SIGINT', close);
  process.on('SIGHUP', () => {
    // Node.js forgets that nohup had it ignored; whoever closes the terminal of an agent without nohup ends it.
    if (process.stdout.isTTY || process.stderr.isTTY) close();
  });
  if (options.untilStdinCloses) process.stdin.on('end', close).on('error', close).resume();
  try {
    await agent.run();
  } catch (error) {
    const { toPlainText } = await import('../screen/text-width.ts');
    process.stderr.write(`${toPlainText((error as Error).message)}\n`);
    process.exitCode = error instanceof RemovedError ? 0 : 1;
    close();
  }
  await closing;
}

/** One line, as `systemctl status` shows it; without what changes all the time. */
function describeNode(name: string, { nodes, leader, term }: Topology): string {
  const node = nodes.find((candidate) => candidate.name === name);
  const where = leader === null ? 'nobody leads' : leader === name ? 'it leads' : `${leader} leads`;
  const doing = node === undefined ? 'is no node yet' : `is ${node.detail ?? node.state}`;
  return `${name} ${doing}; ${where}, term ${term}`;
}

/** It holds every password of the cluster. */
async function warnOfReaders(path: string): Promise<void> {
  const { mode } = await stat(path).catch(() => ({ mode: 0 }));
  if ((mode & 0o077) === 0) return;
  process.stderr.write(
    `Run chmod 600 on ${path}: other users of this machine may read the passwords in it.\n`,
  );
}
