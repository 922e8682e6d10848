import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { readClusterConfig } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import type { PlanCommand } from '../../leader-follower/plan/core/plan.ts';
import type { VersionedPlan } from '../../leader-follower/plan/plan-register.ts';
import type { NodeStatus } from '../../leader-follower/report/status.ts';
import { askAgent, askAnyAgent, askForNodes } from './agent-request.ts';
import { CONFIG, configPathOf, STATE } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';

const COMMAND_TIMEOUT_MS = 10_000;
/** How long agents that answer may take to hear of a change; they look every 2 s at the latest. */
const HEAR_TIMEOUT_MS = 5_000;

/** `pause` and `resume`. They need agents only, not `lockstep dev`. */
export function addPlanCommands(program: Command): void {
  program
    .command('pause')
    .description('maintenance: nobody is elected, copied or rewound until "lockstep resume"')
    .option('--reason <text>', 'shown in "lockstep status"')
    .option(...STATE)
    .option(...CONFIG)
    .action(async (options: ClusterPlace & { reason?: string }) => {
      const config = await readConfig(options);
      const missed = await changePlan(config, { kind: 'pause', reason: options.reason ?? null });
      print(`Paused: no failover and no rejoin until "lockstep resume".${describeMissed(missed)}`);
    });
  program
    .command('resume')
    .description('ends "lockstep pause"')
    .option(...STATE)
    .option(...CONFIG)
    .action(async (options: ClusterPlace) => {
      const config = await readConfig(options);
      const missed = await changePlan(config, { kind: 'resume' });
      print(`Resumed: failover and rejoin work again.${describeMissed(missed)}`);
    });
}

/** Changes the plan, and resolves once every agent that answers goes by it: with the names of the others. */
export async function changePlan(config: ClusterConfig, command: PlanCommand): Promise<readonly string[]> {
  const { version } = await askAnyAgent<VersionedPlan>(config, {
    path: '/v1/plan',
    body: command,
    timeoutMs: COMMAND_TIMEOUT_MS,
  });
  const deadline = performance.now() + HEAR_TIMEOUT_MS;
  for (;;) {
    const versions = await Promise.all(
      config.nodes.map((node) =>
        askAgent<NodeStatus>(config, node, { path: '/v1/status', timeoutMs: 1_000 }).then(
          (status) => status.planVersion ?? 0,
          () => null,
        ),
      ),
    );
    const missed = config.nodes.filter((_, index) => (versions[index] ?? 0) < version);
    const mayStillHear = versions.some((heard) => heard !== null && heard < version);
    if (!mayStillHear || performance.now() > deadline) return missed.map((node) => node.name);
    await delay(50);
  }
}

export function describeMissed(names: readonly string[]): string {
  if (names.length === 0) return '';
  return ` ${names.join(', ')} did not answer and ${names.length === 1 ? 'hears' : 'hear'} of it when back.`;
}

/** cluster.json with the nodes that there are now, as far as an agent answers. */
export async function readConfig(place: ClusterPlace): Promise<ClusterConfig> {
  const seed = await readClusterConfig(configPathOf(place));
  const present = await askForNodes(seed);
  return present === null ? seed : { ...seed, nodes: present };
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
