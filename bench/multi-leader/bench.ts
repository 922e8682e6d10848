import { fileURLToPath } from 'node:url';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { describeMachine } from '../machine.ts';
import type { BenchResult } from '../result.ts';
import { runApply } from './apply.ts';
import { runLag } from './lag.ts';
import { runRunningCost, runSettingsCost } from './local-writes.ts';
import type { PartOptions } from './local-writes.ts';

const DEFINITION = fileURLToPath(new URL('./definition.ts', import.meta.url));

/** What regions cost who writes in them, how fast they apply, and how late they are. */
export async function runMultiLeaderBench(options: PartOptions): Promise<BenchResult> {
  const when = new Date().toISOString();
  const rows = [
    ...(await runSettingsCost(options)),
    ...(await runRunningCost(options, DEFINITION)),
    ...(await runApply(options)),
    ...(await runLag(options)),
  ];
  if (rows.length === 0) throw new Error(`No metric starts with "${options.only}".`);
  const { version } = await findPostgres('embedded');
  return { when, machine: describeMachine(version), rows };
}
