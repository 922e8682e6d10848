import { setTimeout as delay } from 'node:timers/promises';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { compareSettled } from '../../multi-leader/compare.ts';
import type { Comparison } from '../../multi-leader/compare.ts';
import { openSession } from '../../multi-leader/sessions.ts';
import { readShapes } from '../../multi-leader/tables/shape.ts';
import { parsePort } from '../dev/ports.ts';
import { addRegion, giveUpRegion } from './add-command.ts';
import { askLink, askStatus } from './ask-region.ts';
import { readConflicts, renderConflicts } from './conflicts-command.ts';
import { runRegion } from './region-command.ts';
import { removeRegion } from './remove-command.ts';
import { renderReplay, replayConflicts } from './replay-command.ts';
import { findRegion, loadDefinition, presentRegions, readRegions } from './regions-folder.ts';
import type { RegionsConfig } from './regions-folder.ts';
import { renderComparison, renderRegions } from './render.ts';
import type { AnsweredRegion } from './render.ts';

type State = readonly [string, string, string];

interface Options {
  readonly state: string;
  readonly json: boolean;
}

interface AddWords extends Options {
  readonly url: string;
  readonly host: string;
  readonly apiPort: number;
  readonly from?: string;
  readonly patience: number;
  readonly giveUp: boolean;
}

/** `lockstep regions …` */
export function addRegionsCommands(program: Command, state: State): void {
  const regions = program
    .command('regions')
    .description('several regions, each with a leader of its own, that always agree in the end');
  const json = ['--json', 'print one JSON document', false] as const;
  regions
    .command('status')
    .description('every region and link: what arrives, how late, what lost')
    .option(...state)
    .option(...json)
    .action(async (options: Options) => {
      const answered = await askAll(await readRegions(options.state));
      print(options, { regions: answered }, () => renderRegions(answered));
    });
  regions
    .command('compare')
    .description('compare the shared tables of all regions row by row')
    .option(...state)
    .option('--patience <seconds>', 'how long to wait for what is under way', parseAmount, 10)
    .option(...json)
    .action(async (options: Options & { patience: number }) => {
      const comparison = await compareAll(await readRegions(options.state), options.patience * 1_000);
      print(options, comparison, () => renderComparison(comparison));
      if (!comparison.isEqual) process.exitCode = 1;
    });
  regions
    .command('conflicts')
    .description('writes whose writer had not seen the one before, and what came of them; the newest first')
    .option(...state)
    .option('--region <name>', 'whose log to read (default the first)')
    .option('--table <name>', 'only of this table')
    .option('--limit <n>', 'how many at most', parseAmount, 20)
    .option(...json)
    .action(async (options: Options & { region?: string; table?: string; limit: number }) => {
      const { state: folder, limit, region = null, table = null } = options;
      const conflicts = await readConflicts({ state: folder, limit, region, table });
      print(options, { conflicts }, () => renderConflicts(conflicts));
    });
  regions
    .command('test')
    .description('decide the logged conflicts again by a changed definition; nothing is written')
    .argument('[definition]', 'its file (default the one that the regions run with)')
    .option(...state)
    .option('--region <name>', 'whose log to read (default the first)')
    .option('--table <name>', 'only of this table')
    .option('--limit <n>', 'how many at most, the newest', parseAmount, 1_000)
    .option(...json)
    .action(
      async (
        definition: string | undefined,
        options: Options & { region?: string; table?: string; limit: number },
      ) => {
        const { state: folder, limit, region = null, table = null } = options;
        const where = { state: folder, limit, region, table };
        const replay = await replayConflicts({ ...where, definition: definition ?? null });
        print(options, replay, () => renderReplay(replay));
        if (replay.conflicts.some(({ isFault }) => isFault)) process.exitCode = 1;
      },
    );
  for (const verb of ['cut', 'heal'] as const) {
    regions
      .command(verb)
      .description(verb === 'cut' ? 'part two regions; both go on' : 'join two regions that were cut')
      .argument('<a>')
      .argument('<b>')
      .option(...state)
      .option(...json)
      .action(async (a: string, b: string, options: Options) => {
        const config = await readRegions(options.state);
        const [one, other] = [findRegion(config, a), findRegion(config, b)];
        await Promise.all([askLink(config, one, b, verb), askLink(config, other, a, verb)]);
        const said = verb === 'cut' ? `${a} and ${b} are cut apart.` : `${a} and ${b} are joined again.`;
        print(options, { regions: [a, b], state: verb === 'cut' ? 'cut' : 'joined' }, () => said);
      });
  }
  addJoinCommand(regions, state);
  regions
    .command('remove')
    .description('let a region leave for good, once the others have all that was written there')
    .argument('<region>')
    .option(...state)
    .option('--patience <seconds>', 'how long to wait for what is under way', Number, 30)
    .option(...json)
    .action(async (name: string, options: Options & { patience: number }) => {
      const others = await removeRegion(options.state, name, options.patience * 1_000);
      const said = `${name} has left: what is written there from now on reaches nobody. End its process first. Then copy regions.json beside ${others.join(', ')}, and start their processes again, one after the other.`;
      print(options, { left: name, regions: others }, () => said);
    });
  regions
    .command('run')
    .description("run one region's process: beside its leader, until a signal")
    .argument('<region>')
    .option(...state)
    .option('--until-stdin-closes', 'end when whoever started it is gone', false)
    .action((region: string, options: { state: string; untilStdinCloses: boolean }) =>
      runRegion({ ...options, region }),
    );
}

function addJoinCommand(regions: Command, state: State): void {
  regions
    .command('add')
    .description('let an empty region join, while the others go on writing')
    .argument('<region>', 'its name')
    .addOption(
      new Option('--url <url>', 'its PostgreSQL, with the tables of the others and no rows')
        .env('LOCKSTEP_URL')
        .makeOptionMandatory(),
    )
    .option('--host <host>', 'where its process will answer', '127.0.0.1')
    .option('--api-port <port>', 'the port of that', parsePort, 7451)
    .option(...state)
    .option('--from <name>', 'whose rows are copied (default the first)')
    .option('--patience <seconds>', 'how long to wait for what is under way', parseAmount, 120)
    .option('--give-up', 'undo what an interrupted one has left behind', false)
    .option('--json', 'print one JSON document', false)
    .action(async (name: string, options: AddWords) => {
      const { state: folder, url, host, apiPort, from = null, patience, giveUp } = options;
      const place = { name, url, host, apiPort };
      if (giveUp) {
        await giveUpRegion(folder, place);
        print(options, { givenUp: name }, () => `${name} does not join; nothing of it is left behind.`);
        return;
      }
      const others = await addRegion({ state: folder, place, from, patienceMs: patience * 1_000 });
      const said = `${name} has all that the others have. Copy regions.json beside all of them, start ${name} with "lockstep regions run ${name}", and start the processes of ${others.join(', ')} again, one after the other: until then they forget nothing, and do not get what is written in ${name}.`;
      print(options, { joined: name, regions: others }, () => said);
    });
}

const MOST = 1_000_000;

function parseAmount(text: string): number {
  const amount = Number(text);
  if (/^\d+$/.test(text) && amount >= 1 && amount <= MOST) return amount;
  throw new InvalidArgumentError(`It is a whole number from 1 to ${MOST}.`);
}

function print(options: Options, document: unknown, render: () => string): void {
  process.stdout.write(options.json ? `${JSON.stringify(document, null, 2)}\n` : `${render()}\n`);
}

async function askAll(config: RegionsConfig): Promise<AnsweredRegion[]> {
  return Promise.all(
    presentRegions(config).map(async (region) => ({
      name: region.name,
      status: await askStatus(config, region),
    })),
  );
}

/** Asks the databases themselves, as they are. */
async function compareAll(config: RegionsConfig, patienceMs: number): Promise<Comparison> {
  const definition = await loadDefinition(config.definition);
  const regions = await Promise.all(
    presentRegions(config).map(async ({ name, url }) => ({
      name,
      client: await openSession(url, 'compare'),
    })),
  );
  try {
    const [first] = regions;
    const shapes = first === undefined ? new Map() : await readShapes(first.client, definition);
    return await compareSettled(regions, [...shapes.values()], { patienceMs, pause: () => delay(300) });
  } finally {
    await Promise.all(regions.map(({ client }) => client.end().catch(() => undefined)));
  }
}
