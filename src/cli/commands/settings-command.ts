import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { VersionedPlan } from '../../leader-follower/plan/plan-register.ts';
import { askAnyAgent } from './agent-request.ts';
import { changePlan, describeMissed, print, readConfig } from './plan-commands.ts';
import { CONFIG, STATE } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';

/** `settings set`, `unset` and `show`: PostgreSQL settings of all nodes. They need agents only. */
export function addSettingsCommands(program: Command): void {
  const settings = program.command('settings').description('PostgreSQL settings of all nodes');
  settings
    .command('set')
    .description('write them to every node; "lockstep status" shows which of them wait for a restart')
    .argument('<name=value...>', 'for example work_mem=64MB', parseSetting)
    .option(...STATE)
    .option(...CONFIG)
    .action(async (given: Readonly<Record<string, string>>, options: ClusterPlace) => {
      const missed = await changePlan(await readConfig(options), { kind: 'set', settings: given });
      print(`${Object.keys(given).join(', ')} set on every node.${describeMissed(missed)}`);
    });
  settings
    .command('unset')
    .description('back to what each node has without')
    .argument('<name...>')
    .option(...STATE)
    .option(...CONFIG)
    .action(async (names: string[], options: ClusterPlace) => {
      const missed = await changePlan(await readConfig(options), { kind: 'unset', names });
      print(`${names.join(', ')} not set for the cluster any more.${describeMissed(missed)}`);
    });
  settings
    .command('show')
    .description('what is set for the cluster')
    .option(...STATE)
    .option(...CONFIG)
    .option('--json', 'print one JSON document', false)
    .action(async (options: ClusterPlace & { json: boolean }) => {
      const config = await readConfig(options);
      const { plan } = await askAnyAgent<VersionedPlan>(config, { path: '/v1/plan', timeoutMs: 10_000 });
      if (options.json) return print(JSON.stringify(plan.settings, null, 2));
      const lines = Object.entries(plan.settings).map(([name, value]) => `${name} = ${value}`);
      print(lines.length === 0 ? 'Nothing is set for the cluster.' : lines.join('\n'));
    });
}

function parseSetting(
  text: string,
  earlier: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> {
  const end = text.indexOf('=');
  if (end < 1) throw new InvalidArgumentError('Write each setting as name=value.');
  return { ...earlier, [text.slice(0, end).trim()]: text.slice(end + 1).trim() };
}
