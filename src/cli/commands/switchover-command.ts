import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { findNode } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import { LockstepError } from '../../model/errors.ts';
import { askAgent } from './agent-request.ts';
import { fetchTopology } from './local-cluster.ts';
import { changePlan, describeMissed, print, readConfig } from './plan-commands.ts';
import { CONFIG, STATE } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';

/** Longer than an agent may take with all its own limits: catching up, checkpoints, the takeover. */
export const SWITCHOVER_TIMEOUT_MS = 180_000;

interface SwitchoverOptions extends ClusterPlace {
  readonly json: boolean;
  readonly at?: string;
  readonly to?: string;
  readonly cancel: boolean;
}

/** `switchover`: now, at a time, or not after all. It needs agents only, not `lockstep dev`. */
export function addSwitchoverCommand(program: Command): void {
  program
    .command('switchover')
    .description('hand the leadership over in order; nothing is lost')
    .argument('[node]', 'the new leader; the best follower when left out')
    .option('--to <node>', 'the same as the argument')
    .option('--at <time>', 'not now but at this time, e.g. 2030-01-31T03:00:00Z', parseTime)
    .option('--cancel', 'take the planned switchover back', false)
    .option(...STATE)
    .option(...CONFIG)
    .option('--json', 'print one JSON document', false)
    .action(async (node: string | undefined, options: SwitchoverOptions) => {
      const config = await readConfig(options);
      const to = node ?? options.to ?? null;
      if (to !== null) findNode(config, to);
      if (options.cancel) {
        const missed = await changePlan(config, { kind: 'cancel' });
        print(`The planned switchover is cancelled.${describeMissed(missed)}`);
      } else if (options.at !== undefined) {
        const missed = await changePlan(config, { kind: 'schedule', at: options.at, to });
        print(`Whoever leads at ${options.at} hands over then.${describeMissed(missed)}`);
      } else {
        const result = await handOver(config, to);
        const text = `${result.to} leads now (before: ${result.from}); writes paused for ${result.pausedMs} ms.`;
        print(options.json ? JSON.stringify(result) : text);
      }
    });
}

/** Asks whoever leads to hand over: `from`, where that is known. Throws NO_LEADER while nobody does, and what the leader's agent throws. */
export async function handOver(
  config: ClusterConfig,
  to: string | null,
  from: string | null = null,
): Promise<{ readonly from: string; readonly to: string; readonly pausedMs: number }> {
  const leader = from ?? (await fetchTopology(config)).leader;
  if (leader === null) {
    throw new LockstepError(
      'NO_LEADER',
      'There is no leader to hand over right now; see "lockstep status".',
      { retryable: true },
    );
  }
  return askAgent(config, findNode(config, leader), {
    path: '/v1/switchover',
    body: to === null ? {} : { to },
    timeoutMs: SWITCHOVER_TIMEOUT_MS,
  });
}

function parseTime(text: string): string {
  const atMs = Date.parse(text);
  if (Number.isNaN(atMs)) throw new InvalidArgumentError('Write the time as 2030-01-31T03:00:00Z.');
  return new Date(atMs).toISOString();
}
