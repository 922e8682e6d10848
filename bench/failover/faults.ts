import { setTimeout as delay } from 'node:timers/promises';
import type { Strike } from './acknowledgement.ts';
import type { FailoverCluster, Part } from './cluster.ts';
import { nowMs } from './cluster.ts';
import { signalAll } from './signals.ts';

/** What is broken, and how it counts. */
export interface Fault {
  readonly name: string;
  /** For the reader of the result. */
  readonly words: string;
  /** `first-write`: from the fault to the first acknowledgement. `pause`: the longest time without one. */
  readonly measure: 'first-write' | 'pause';
  /** Seconds; null where a row has no bar. */
  readonly medianBar: number | null;
  readonly worstBar: number | null;
  /** For so long after the fault the clients are watched, whatever they see. */
  readonly watchMs: number;
  /** Whether nobody else may lead afterwards. */
  readonly isHarmless?: true;
  /** Whether each node needs a network namespace of its own. */
  readonly hasNetwork?: true;
  /** How many times faster than the peer at its defaults; absent where peers do not take part. */
  readonly timesFaster?: number;
  readonly strike: (cluster: FailoverCluster, leader: string) => Promise<Strike>;
  readonly heal: (cluster: FailoverCluster, leader: string) => Promise<void>;
}

const PAUSE_MS = 500;
/** More than the default lease, so that a leader that nobody stops would be replaced within it. */
const AGENT_WATCH_MS = 5_000;

async function timed(act: () => Promise<void> | void): Promise<Strike> {
  const atMs = nowMs();
  await act();
  return { atMs, doneAtMs: nowMs() };
}

/** The processes are looked up before, so that the fault itself takes no time. */
async function signalPart(
  cluster: FailoverCluster,
  node: string,
  part: Part,
  signal: NodeJS.Signals,
): Promise<Strike> {
  const pids = await cluster.pidsOf(node, part);
  if (pids.length === 0) throw new Error(`${part} of ${node} does not run.`);
  const strike = await timed(() => signalAll(pids, signal));
  // Those that were born meanwhile.
  const late = (await cluster.pidsOf(node, part)).filter((pid) => !pids.includes(pid));
  if (part === 'host' && late.length > 0) signalAll(late, signal);
  return strike;
}

const signalling =
  (part: Part, signal: NodeJS.Signals): Fault['strike'] =>
  (cluster, leader) =>
    signalPart(cluster, leader, part, signal);

const resume: Fault['heal'] = async (cluster, leader) =>
  signalAll(await cluster.pidsOf(leader, 'host'), 'SIGCONT');
const startAgain: Fault['heal'] = (cluster, leader) => cluster.start(leader);
const nothing = async (): Promise<void> => undefined;

export const FAULTS: readonly Fault[] = [
  {
    name: 'postgres-killed',
    words: 'SIGKILL for every process of the leader’s PostgreSQL; its agent lives',
    measure: 'first-write',
    medianBar: 0.5,
    worstBar: 1,
    watchMs: 500,
    timesFaster: 5,
    strike: signalling('postgres', 'SIGKILL'),
    heal: nothing,
  },
  {
    name: 'host-lost',
    words: 'SIGKILL for agent, watchdog and PostgreSQL of the leader',
    measure: 'first-write',
    medianBar: 1,
    worstBar: 2,
    watchMs: 500,
    timesFaster: 15,
    strike: signalling('host', 'SIGKILL'),
    heal: startAgain,
  },
  {
    name: 'host-cut-off',
    words: 'the network link of the leader’s host is taken down',
    measure: 'first-write',
    medianBar: 1.5,
    worstBar: 3,
    watchMs: 4_000,
    hasNetwork: true,
    strike: (cluster, leader) => timed(() => cluster.setLink(leader, 'down')),
    heal: (cluster, leader) => cluster.setLink(leader, 'up'),
  },
  {
    name: 'host-suspended',
    words: 'SIGSTOP for agent, watchdog and PostgreSQL of the leader; they go on later',
    measure: 'first-write',
    medianBar: 1.5,
    worstBar: 3,
    watchMs: 4_000,
    strike: signalling('host', 'SIGSTOP'),
    heal: resume,
  },
  {
    name: 'agent-suspended',
    words: 'SIGSTOP for the leader’s agent alone, for 5 s',
    measure: 'pause',
    medianBar: null,
    worstBar: 3,
    watchMs: AGENT_WATCH_MS,
    strike: signalling('agent', 'SIGSTOP'),
    heal: resume,
  },
  {
    name: 'agent-killed',
    words: 'SIGKILL for the leader’s agent alone',
    measure: 'pause',
    medianBar: null,
    worstBar: 3,
    watchMs: AGENT_WATCH_MS,
    strike: signalling('agent', 'SIGKILL'),
    heal: startAgain,
  },
  {
    name: 'switchover',
    words: 'planned; asked of the leader’s agent',
    measure: 'pause',
    medianBar: 0.2,
    worstBar: 0.5,
    watchMs: 1_500,
    timesFaster: 5,
    strike: (cluster, leader) => timed(() => cluster.switchover(leader)),
    heal: nothing,
  },
  {
    name: 'stopped-500ms',
    words: `SIGSTOP for everything on the leader’s host, for ${PAUSE_MS} ms`,
    measure: 'pause',
    medianBar: null,
    worstBar: null,
    watchMs: 4_000,
    isHarmless: true,
    strike: async (cluster, leader) => {
      const strike = await signalPart(cluster, leader, 'host', 'SIGSTOP');
      await delay(PAUSE_MS - (nowMs() - strike.atMs));
      await resume(cluster, leader);
      return strike;
    },
    heal: nothing,
  },
];
