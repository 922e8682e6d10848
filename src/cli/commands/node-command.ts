import { setTimeout as delay } from 'node:timers/promises';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { findNode, readClusterConfig } from '../../leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import { voteDoesNotCount } from '../../leader-follower/members/core/vote-words.ts';
import type { NodeCommand } from '../../leader-follower/members/node-keeper.ts';
import type { RescueStatus } from '../../leader-follower/delayed/rescue.ts';
import type { NodeStatus } from '../../leader-follower/report/status.ts';
import { LockstepError } from '../../model/errors.ts';
import { parseNodeId } from '../../model/node.ts';
import { askAgent, askForNodes } from './agent-request.ts';
import { readRunFile } from '../dev/cluster-folder.ts';
import { lackingWithout } from './core/waiting-writes.ts';
import { fetchTopology, topologyWithLeader } from './local-cluster.ts';
import { print, readConfig } from './plan-commands.ts';
import { rescueStatus } from '../rescue/rescue-node.ts';
import { choosePorts, parsePort } from '../dev/ports.ts';
import { toPlainText } from '../screen/text-width.ts';
import { parseDelay } from './parse-delay.ts';
import { CONFIG, configPathOf, STATE, stateDirOf } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';

const CHANGE_TIMEOUT_MS = 10_000;
/** A removal waits until commits rest on others; a new node on this machine, for its copy. */
const REMOVE_TIMEOUT_MS = 30_000;
const FOLLOW_TIMEOUT_MS = 600_000;
const LIST_TIMEOUT_MS = 1_000;
const LOOK_MS = 100;

interface AddOptions extends ClusterPlace {
  readonly host?: string;
  readonly port?: number;
  readonly agentPort?: number;
  readonly priority: number;
  readonly vote: boolean;
  readonly delay?: string;
  readonly from?: string;
}

interface RecloneOptions extends ClusterPlace {
  readonly discardData: boolean;
  readonly force: boolean;
}

/** `node add`, `remove`, `list`, and who votes. They need agents only, not `lockstep dev`. */
export function addNodeCommands(program: Command): void {
  const node = program.command('node').description('nodes that come and go while the cluster runs');
  node
    .command('add')
    .description('one node more, which follows and may lead; it does not vote unless --vote is given')
    .argument('<name>', 'a new one: names are never given again')
    .option('--host <address>', 'where the other nodes and the app reach it')
    .option('--port <port>', "PostgreSQL's port there", parsePort)
    .option('--agent-port <port>', "the agent's port there", parsePort)
    .option('--priority <n>', 'failoverPriority: 0 never leads', parsePriority, 1)
    .option(
      '--delay <duration>',
      'stays so far behind on purpose (1h): to undo mistakes from, never to lead',
      parseDelay,
    )
    .option('--from <node>', "copies this follower, and follows it while that gets the leader's log")
    .option('--vote', 'give it a vote once it follows', false)
    .option(...STATE)
    .option(...CONFIG)
    .action((name: string, options: AddOptions) => addNode(name, options));
  node
    .command('grant-vote')
    .description('lets a node that follows vote on who leads')
    .argument('<name>', 'a node that does not vote')
    .option(...STATE)
    .option(...CONFIG)
    .action((name: string, options: ClusterPlace) => changeVote('grant-vote', name, options));
  node
    .command('revoke-vote')
    .description('takes the vote of a node away; it goes on as a follower')
    .argument('<name>', 'it may be dead')
    .option(...STATE)
    .option(...CONFIG)
    .action((name: string, options: ClusterPlace) => changeVote('revoke-vote', name, options));
  node
    .command('remove')
    .description('one node less; its PostgreSQL is stopped, and its data folder stays')
    .argument('<name>', 'it may be dead')
    .option(
      '--force',
      'also where no failover would be possible without it, or its rescue is open or not known',
      false,
    )
    .option(...STATE)
    .option(...CONFIG)
    .action((name: string, options: ClusterPlace & { force: boolean }) =>
      removeNode(name, options, options.force),
    );
  node
    .command('reclone')
    .description("copy the leader's data anew; the old data stays until the copy is whole")
    .argument('<name>', 'a node that follows, or should')
    .option('--discard-data', 'remove the old data first, where the disk has no room for both', false)
    .option('--force', 'also where synchronous commits wait meanwhile', false)
    .option(...STATE)
    .option(...CONFIG)
    .action((name: string, options: RecloneOptions) => recloneNode(name, options));
  node
    .command('list')
    .description('all nodes, and which of them vote')
    .option(...STATE)
    .option(...CONFIG)
    .option('--json', 'print one JSON document', false)
    .action(async (options: ClusterPlace & { json: boolean }) => {
      const seed = await readClusterConfig(configPathOf(options));
      const present = await askForNodes(seed);
      const nodes = present ?? seed.nodes;
      if (present === null) {
        process.stderr.write(
          'Nobody could be asked: this is what cluster.json says, and nodes may have come, gone or got votes since.\n',
        );
        process.exitCode = 1;
      }
      const obstacles = await Promise.all(nodes.map((node) => voteObstacle(seed, node)));
      const listed = nodes.map((node, index) => ({ ...node, voteObstacle: obstacles[index] ?? null }));
      print(options.json ? JSON.stringify(listed, null, 2) : listed.map(describeNode).join('\n'));
    });
}

/** In a cluster of `lockstep dev` it resolves when the node follows. Throws what the leader's agent throws. */
export async function addNode(name: string, options: AddOptions): Promise<void> {
  const config = await readConfig(options);
  parseNodeId(name);
  const isLocal = (await readRunFile(stateDirOf(options))) !== null;
  const place = isLocal ? await choosePlace(config, options) : givenPlace(name, options);
  const node = {
    name: parseNodeId(name),
    ...place,
    failoverPriority: options.priority,
    ...(options.delay === undefined ? {} : { delay: options.delay }),
    ...(options.from === undefined ? {} : { from: parseNodeId(options.from) }),
  };
  await changeNodes(config, { kind: 'add', node });
  if (isLocal) {
    print(`${name} was added at ${place.host}:${place.port}; "lockstep dev" starts it.`);
    await untilFollowing(config, name);
    if (options.vote) await changeVote('grant-vote', name, options);
    return;
  }
  print(describeAdded(name, place, options).join('\n'));
}

/** What is to do for a new node on servers of one's own. The app never asks a delayed one, and it is no spare for a voter. */
export function describeAdded(
  name: string,
  { host, port }: Pick<NodeConfig, 'host' | 'port'>,
  { vote, delay: behind }: Pick<AddOptions, 'vote' | 'delay'>,
): readonly string[] {
  const isDelayed = behind !== undefined;
  return [
    `${name} was added at ${host}:${port}. On that machine:`,
    `1. Install Lockstep, and PostgreSQL of the same major version.`,
    `2. Copy cluster.json there as it is (mode 0600).`,
    `3. Run: lockstep agent --config cluster.json --state <folder> --node ${name}`,
    `It copies the leader and follows it; "lockstep status" shows how far it is.`,
    isDelayed
      ? 'Then add it to cluster.json on every server, and to your monitoring; not to what the app connects to (DATABASE_URL, proxies): it shows the past.'
      : 'Then add it to cluster.json on every server, and to what names the servers of the app (DATABASE_URL, proxies, monitoring).',
    ...(vote || isDelayed
      ? []
      : ['It does not vote: where it takes a lost voter\'s place, run "lockstep node grant-vote" for it.']),
    ...(vote ? [`Then, here: lockstep node grant-vote ${name}`] : []),
  ];
}

type Place = Pick<NodeConfig, 'host' | 'port' | 'agentPort'>;

function givenPlace(name: string, { host, port, agentPort }: AddOptions): Place {
  if (host !== undefined && port !== undefined && agentPort !== undefined) return { host, port, agentPort };
  throw new LockstepError(
    'CONFIG_INVALID',
    `Say where ${name} will be: --host, --port and --agent-port. Only a cluster that "lockstep dev" runs chooses them itself.`,
  );
}

/** On this machine, beside the others. */
async function choosePlace(config: ClusterConfig, { host, port, agentPort }: AddOptions): Promise<Place> {
  if (host !== undefined && host !== '127.0.0.1') {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"lockstep dev" runs all its nodes on 127.0.0.1, not on ${host}. Leave --host out.`,
    );
  }
  const [chosen = 0] = await choosePorts(port ?? 1 + Math.max(...config.nodes.map((node) => node.port)), 1, {
    isExact: port !== undefined,
    flag: '--port',
  });
  const firstAgentPort = 1 + Math.max(...config.nodes.map((node) => node.agentPort));
  const [chosenForAgent = 0] = await choosePorts(agentPort ?? firstAgentPort, 1, {
    isExact: agentPort !== undefined,
    flag: '--agent-port',
  });
  return { host: '127.0.0.1', port: chosen, agentPort: chosenForAgent };
}

async function changeVote(
  kind: 'grant-vote' | 'revoke-vote',
  name: string,
  place: ClusterPlace,
): Promise<void> {
  const config = await readConfig(place);
  await changeNodes(config, { kind, name });
  const nodes = (await askForNodes(config)) ?? [];
  const voters = nodes.filter((node) => node.voter).map((node) => node.name);
  print(
    [
      `${name} ${kind === 'grant-vote' ? 'votes now' : 'votes no more'}.`,
      `The voters are ${voters.join(', ')}: ${spare(voters.length)} of them may fail at a time.`,
    ].join(' '),
  );
}

function spare(voters: number): number {
  return Math.max(0, Math.ceil(voters / 2) - 1);
}

/** What is left without a voter, for people, where that is no failover any more; null where one stays possible. */
export function describeLastFailover(nodes: readonly NodeConfig[], name: string): string | null {
  const voters = nodes.filter((node) => node.voter);
  const left = voters.filter((node) => node.name !== name);
  if (left.length === voters.length || spare(voters.length) === 0 || spare(left.length) > 0) return null;
  const votes = left.length === 1 ? 'only one vote is' : `only ${left.length} votes are`;
  return `Give another node a vote first ("lockstep node grant-vote"), or pass --force: without ${name}, ${votes} left (${left.map((node) => node.name).join(', ')}), and no failover is possible.`;
}

/** Why a delayed node stays whose rescue is on, or did not answer whether it is (null); null where none is. */
export function describeOpenRescue(name: string, rescue: Pick<RescueStatus, 'phase'> | null): string | null {
  if (rescue === null)
    return `Start the agent of ${name}, or pass --force: it did not say whether a rescue is open there, and what that shows is gone with the node. Nothing was changed.`;
  if (rescue.phase === 'idle') return null;
  return `Close the rescue on ${name} first ("lockstep rescue close --node ${name}"), or pass --force: a rescue is ${rescue.phase} there, and what it shows is gone with the node. Nothing was changed.`;
}

/** Why a node is not removed without --force. Of a silent agent PostgreSQL may serve on, and people may read the past there. */
export async function whyStays(config: ClusterConfig, name: string): Promise<string | null> {
  const nodes = (await askForNodes(config)) ?? config.nodes;
  const node = nodes.find((candidate) => candidate.name === name);
  const obstacle =
    node?.delay === undefined
      ? null
      : describeOpenRescue(name, await rescueStatus(config, node).catch(() => null));
  return obstacle ?? describeLastFailover(nodes, name);
}

async function removeNode(name: string, place: ClusterPlace, isForced: boolean): Promise<void> {
  const config = await readConfig(place);
  const why = `who could take ${name} out of the list. Nothing was changed.`;
  const { leader } = await topologyWithLeader(config, why);
  // The leader would say so itself, but only after people were sent for another vote or --force, which do not help.
  if (leader === name) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${name} leads. Hand the leadership over first ("lockstep switchover"), then remove it. Nothing was changed.`,
    );
  }
  const obstacle = isForced ? null : await whyStays(config, name);
  if (obstacle !== null) throw new LockstepError('CONFIG_INVALID', obstacle);
  if (config.nodes.find((node) => node.name === name)?.voter === true)
    await changeNodes(config, { kind: 'revoke-vote', name, isToBeRemoved: true });
  if (config.nodes.find((node) => node.name === name)?.isLeaving !== true)
    await changeNodes(config, { kind: 'remove', name });
  const deadline = performance.now() + REMOVE_TIMEOUT_MS;
  for (;;) {
    const nodes = await askForNodes(config);
    if (nodes !== null && nodes.every((node) => node.name !== name)) break;
    if (performance.now() > deadline) {
      throw new LockstepError(
        'LAG_EXCEEDED',
        `${name} is marked to be removed, and will be once somebody else leads and enough other followers have what commits rest on there. See "lockstep status"; nothing more is to do.`,
        { outcome: 'applied' },
      );
    }
    await delay(LOOK_MS);
  }
  print(`${name} was removed. Its data folder stays where it is, and its name is not given again.`);
}

async function recloneNode(name: string, options: RecloneOptions): Promise<void> {
  const config = await readConfig(options);
  const node = findNode(config, name);
  const lacking = lackingWithout(name, await fetchTopology(config));
  if (lacking !== null) {
    const waits = `synchronous commits wait until ${name} has its copy: the policy wants ${lacking.required} followers that acknowledge, and ${lacking.others} are left`;
    if (!options.force)
      throw new LockstepError(
        'CONFIG_INVALID',
        `Start another follower first, or pass --force: ${waits}. Nothing was changed.`,
      );
    process.stderr.write(`From now on ${waits}.\n`);
  }
  const ask = (): Promise<NodeStatus> =>
    askAgent<NodeStatus>(config, node, { path: '/v1/status', timeoutMs: CHANGE_TIMEOUT_MS });
  const { copies: before = { done: 0, failed: 0 } } = await ask();
  const body = { isDiscarding: options.discardData };
  await askAgent(config, node, { path: '/v1/reclone', body, timeoutMs: CHANGE_TIMEOUT_MS });
  let told = '';
  for (;;) {
    const { copies: now = before, detail, state } = await ask();
    if (now.failed > before.failed) {
      throw new LockstepError(
        'POSTGRES_FAILED',
        `See the log of ${name}'s agent for the reason: the copy failed. ${options.discardData ? 'It is tried again.' : 'The node has its old data, and goes on with it.'}`,
        { outcome: options.discardData ? 'unknown' : 'not-applied' },
      );
    }
    if (now.done > before.done) break;
    const text = toPlainText(`${name}: ${detail ?? state}`);
    if (text !== told) process.stderr.write(`${text}\n`);
    told = text;
    await delay(LOOK_MS);
  }
  await untilFollowing(config, name);
}

/** Asks whoever leads. Throws what the leader's agent throws, and NO_LEADER while nobody leads. */
export async function changeNodes(config: ClusterConfig, command: NodeCommand): Promise<void> {
  const { leader } = await fetchTopology(config);
  if (leader === null) {
    throw new LockstepError(
      'NO_LEADER',
      'Nobody leads right now, who could change the nodes; see "lockstep status", and try again.',
      { retryable: true },
    );
  }
  await askAgent(config, findNode(config, leader), {
    path: '/v1/nodes',
    body: command,
    timeoutMs: CHANGE_TIMEOUT_MS,
  });
}

/** Tells how a new node comes up, until it follows. */
async function untilFollowing(config: ClusterConfig, name: string): Promise<void> {
  const deadline = performance.now() + FOLLOW_TIMEOUT_MS;
  let told = '';
  for (;;) {
    const topology = await fetchTopology(config).catch(() => null);
    const node = topology?.nodes.find((candidate) => candidate.name === name);
    if (
      node?.state === 'running' &&
      node.role === 'follower' &&
      (node.kind === 'delayed' || node.timeline === topology?.timeline)
    )
      break;
    const text = node === undefined ? '' : toPlainText(`${name}: ${node.detail ?? node.state}`);
    if (text !== told && text !== '') process.stderr.write(`${text}\n`);
    told = text;
    if (performance.now() > deadline) {
      throw new LockstepError(
        'LAG_EXCEEDED',
        `${name} does not follow yet. See "lockstep status", and its logs.`,
        { outcome: 'applied' },
      );
    }
    await delay(LOOK_MS);
  }
  print(`${name} follows.`);
}

/** Of a voter that answers. */
async function voteObstacle(config: ClusterConfig, node: NodeConfig): Promise<string | null> {
  if (!node.voter) return null;
  const asked = askAgent<NodeStatus>(config, node, { path: '/v1/status', timeoutMs: LIST_TIMEOUT_MS });
  return asked.then((status) => status.voteObstacle ?? null).catch(() => null);
}

function describeNode(node: NodeConfig & { readonly voteObstacle: string | null }): string {
  const parts = [
    `${node.name}  ${node.witness ? `${node.host}, agent ${node.agentPort}` : `${node.host}:${node.port}, agent ${node.agentPort}`}`,
    node.witness
      ? 'witness'
      : node.delay === undefined
        ? `priority ${node.failoverPriority}`
        : `${node.delay} behind`,
    ...(node.from === undefined ? [] : [`follows ${node.from}`]),
    node.voter ? 'votes' : 'does not vote',
    ...(node.voteObstacle === null ? [] : [voteDoesNotCount(node.name, node.voteObstacle)]),
    ...(node.isLeaving === true ? ['leaving'] : []),
  ];
  return parts.join('  ');
}

function parsePriority(text: string): number {
  const priority = Number(text);
  if (!Number.isInteger(priority) || priority < 0 || priority > 1_000)
    throw new InvalidArgumentError('A priority is a number from 0 to 1000.');
  return priority;
}
