import { join, resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { readClusterConfig } from '../../leader-follower/config/config.ts';
import { inspectQuorum } from '../../leaderless/inspect.ts';
import type { InspectedNode, InspectedQuorum } from '../../leaderless/inspect.ts';
import { quorum } from '../../leaderless/index.ts';
import { addressIn } from '../../leaderless/core/address.ts';
import { replaceNode } from '../../leaderless/members/replace.ts';
import { LockstepError } from '../../model/errors.ts';
import { nodeDsn } from '../dev/cluster-folder.ts';
import { hideArguments } from '../follow/ends.ts';
import { toPlainText } from '../screen/text-width.ts';
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
  leaderless
    .command('repair')
    .description('bring every server what it lacks of what the others have, now')
    .option(...state)
    .option('--json', 'print one JSON document', false)
    .action((options: { state: string; json: boolean }) => repairLeaderless(options));
  const node = leaderless.command('node').description('the servers that are members');
  node
    .command('replace')
    .argument('<name>', 'the server that goes, as status names it')
    .description(
      'replace a server by an empty one while clients work; without --with it is emptied itself, and refilled',
    )
    .addOption(
      new Option(
        '--with <url>',
        'connection string of the server that comes instead; it holds no other quorum',
      ).env('LOCKSTEP_WITH'),
    )
    .option('--deadline <seconds>', 'give up after so long; running it again goes on', parseSeconds, 600)
    .option(...state)
    .option('--json', 'print one JSON document', false)
    .action((name: string, options: { state: string; json: boolean; with?: string; deadline: number }) =>
      replaceLeaderlessNode(name, options),
    );
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds > 0) return seconds;
  throw new InvalidArgumentError('pass a number of seconds above 0');
}

interface ListedNode extends InspectedNode, Address {
  readonly name: string;
}

interface Address {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly dsn: string;
}

/** Throws CONFIG_INVALID when the local cluster has no independent servers. */
async function readAddresses(state: string): Promise<readonly Address[]> {
  const stateDir = resolve(state);
  const config = await readLeaderlessConfig(stateDir);
  if (config === null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The cluster in ${stateDir} has no independent servers. Start it with "npm start -- --leaderless" or "lockstep dev --leaderless".`,
    );
  }
  const cluster = await readClusterConfig(join(stateDir, 'cluster.json'));
  return config.nodes.map((node) => ({ ...node, dsn: nodeDsn(cluster, node) }));
}

async function repairLeaderless(options: { readonly state: string; readonly json: boolean }): Promise<void> {
  const addresses = await readAddresses(options.state);
  const opened = await quorum({ nodes: addresses.map(({ name, dsn }) => ({ name, url: dsn })) });
  try {
    const repaired = await opened.repair();
    const { nodes } = opened.status();
    const away = nodes.filter(({ state }) => state !== 'up').map(({ name, problem }) => ({ name, problem }));
    process.stdout.write(
      options.json ? `${JSON.stringify({ ...repaired, away }, null, 2)}\n` : renderRepaired(repaired, away),
    );
  } finally {
    await opened.close();
  }
}

/** A problem may be told in the words of a server. */
export function renderRepaired(
  { compared, brought }: { readonly compared: number; readonly brought: number },
  away: readonly { readonly name: string; readonly problem: string | null }[],
): string {
  const lines = [
    `${compared} changes compared, ${brought} cells brought`,
    ...away.map(({ name, problem }) => `${name} was left out: ${problem ?? 'it does not answer'}`),
  ];
  return `${lines.map(toPlainText).join('\n')}\n`;
}

/** Throws CONFIG_INVALID, without the URL, for that may hold a password. */
function newMember(url: string): { readonly name: string; readonly url: string } {
  if (/^postgres(ql)?:\/\//.test(url) && URL.canParse(url)) return { name: addressIn(url), url };
  throw new LockstepError(
    'CONFIG_INVALID',
    'Name the new server with --with postgresql://user:password@host:port/database or in LOCKSTEP_WITH; characters such as @ and / in a password are written as %40 and %2F. Nothing was changed.',
  );
}

async function replaceLeaderlessNode(
  name: string,
  options: {
    readonly state: string;
    readonly json: boolean;
    readonly with?: string;
    readonly deadline: number;
  },
): Promise<void> {
  hideArguments('leaderless node replace');
  const by = options.with === undefined ? {} : { by: newMember(options.with) };
  const addresses = await readAddresses(options.state);
  const { members } = await replaceNode({
    nodes: addresses.map(({ name: each, dsn }) => ({ name: each, url: dsn })),
    leaving: name,
    ...by,
    deadlineMs: options.deadline * 1_000,
    onStep: (what) => {
      if (!options.json) process.stderr.write(`${toPlainText(what)}\n`);
    },
  });
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ members }, null, 2)}\n`
      : `${name} was ${options.with === undefined ? 'refilled' : 'replaced'}; ${members.length} members\n`,
  );
}

async function printLeaderlessStatus(options: {
  readonly state: string;
  readonly json: boolean;
}): Promise<void> {
  const addresses = await readAddresses(options.state);
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

/** A problem may be told in the words of a server. */
export function renderLeaderless(found: InspectedQuorum, nodes: readonly Omit<ListedNode, 'dsn'>[]): string {
  const lines = nodes.map((node) => {
    const kept = node.cells === null ? '' : `  ${node.cells} cells, ${node.slots} compare-and-set keys`;
    const hints = Object.entries(node.hints).map(([target, count]) => `  ${count} hints for ${target}`);
    const problem = node.problem === null ? '' : `  ${node.problem}`;
    return `${node.name}  ${node.state.padEnd(7)}  ${node.host}:${node.port}${kept}${hints.join('')}${problem}`;
  });
  return `${lines.map(toPlainText).join('\n')}\n${summaryOf(found)}\n`;
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
