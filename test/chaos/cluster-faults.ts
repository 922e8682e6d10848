import type { ClusterFault, PlannedRound } from './core/cluster-faults.ts';
import type { Wake } from './core/cluster-history.ts';
import type { HostCluster } from './hosts/cluster.ts';
import type { Host, Part } from './hosts/host.ts';

/** What a fault is done to, chosen when it strikes. */
export interface Target {
  readonly cluster: HostCluster;
  readonly leader: Host;
  readonly follower: Host;
}

interface Fault {
  strike(target: Target): Promise<void>;
  /** Undoes what the cluster cannot undo by itself. Also called when the strike failed half way. */
  heal(target: Target): Promise<void>;
}

/** What disk.c and clock.c do. */
const PRELOADED: ReadonlySet<ClusterFault> = new Set([
  'hung-disk-leader',
  'hung-disk-follower',
  'slow-disk-leader',
  'clock-ahead-leader',
  'clock-behind-leader',
  'clock-ahead-follower',
]);

/** Null when the fault works here, else why not. */
export function whyNot(fault: ClusterFault, cluster: HostCluster): string | null {
  const isPreloaded = PRELOADED.has(fault);
  return isPreloaded && !cluster.canPreload ? 'there is no C compiler (gcc) to build it with' : null;
}

export async function chooseTarget(cluster: HostCluster, plan: PlannedRound): Promise<Target> {
  const { leader } = await cluster.status();
  if (leader === null) throw new Error('There is no leader to strike.');
  // Whose vote is taken must have one.
  const isPossible = (name: string): boolean => !plan.fault.startsWith('revoke-vote') || cluster.votes(name);
  const followers = cluster.hosts.filter(({ name }) => name !== leader && isPossible(name));
  const follower = followers[Math.floor(plan.follower * followers.length)];
  if (follower === undefined) throw new Error('There is no follower to strike.');
  return { cluster, leader: cluster.host(leader), follower };
}

export function faultOf(name: ClusterFault): Fault {
  return FAULTS[name];
}

/** The woken parts of a round; a wake is told when the signal is out. */
export function wakeOf(
  fault: ClusterFault,
  { leader }: Target,
  { suspendedAtMs, atMs }: Omit<Wake, 'node'>,
): Wake | null {
  const isSuspended = fault === 'stop-agent' || fault === 'stop-postgres' || fault === 'stop-leader-host';
  return isSuspended ? { node: leader.name, suspendedAtMs, atMs } : null;
}

const restart = async (host: Host): Promise<void> => {
  if (!host.isRunning) await host.start();
};

const suspend = (part: Part): Fault => ({
  strike: ({ leader }) => leader.signal(part, 'SIGSTOP'),
  // Only what was suspended: PostgreSQL that its watchdog froze meanwhile must not be let go from outside.
  heal: ({ leader }) => leader.signal(part, 'SIGCONT'),
});

const lose = (direction: 'sent' | 'received', whom: 'hosts' | 'all'): Fault => ({
  strike: ({ cluster: { network }, leader }) =>
    network.loseAll(leader.name, direction, network.othersOf(leader.name)[whom]),
  heal: ({ cluster }) => cluster.network.restore(),
});

const fill = (whose: 'leader' | 'follower'): Fault => ({
  async strike(target) {
    await target[whose].disk.fill();
    // Segments that exist already are written on; a full disk shows when the next one is due.
    await ask(target, target.leader, 'SELECT pg_switch_wal()').catch(() => undefined);
  },
  heal: async (target) => {
    await target[whose].disk.empty();
    await restart(target[whose]);
  },
});

const turn = (whose: 'leader' | 'follower', state: 'hung' | 'slow'): Fault => ({
  strike: (target) => target[whose].disk.turn(state),
  heal: async (target) => {
    await target[whose].disk.turnBack();
    await restart(target[whose]);
  },
});

const kill = (whose: 'leader' | 'follower'): Fault => ({
  strike: (target) => target[whose].kill(),
  heal: (target) => restart(target[whose]),
});

const unplug = (whose: 'leader' | 'follower'): Fault => ({
  strike: ({ cluster, [whose]: host }) => cluster.network.unplug(host.name),
  heal: ({ cluster, [whose]: host }) => cluster.network.plugIn(host.name),
});

/** Jumps, and jumps back. */
const jump = (whose: 'leader' | 'follower', hours: number): Fault => ({
  async strike(target) {
    await target[whose].clock.set(hours * 3_600);
    // PostgreSQL's delay goes by what the leader has stamped: it would wait for an hour.
    if (whose === 'leader' && hours > 0)
      for (const host of target.cluster.delayedHosts) await host.clock.set(hours * 3_600);
    const seen = await ask(target, target[whose], 'SELECT clock_timestamp() AS at');
    const jumpedHours = (Date.parse((seen as { at: string }).at) - Date.now()) / 3_600_000;
    if (Math.abs(jumpedHours - hours) > 0.1)
      throw new Error(
        `The clock of ${target[whose].name} is ${jumpedHours} hours wrong instead of ${hours}.`,
      );
  },
  async heal(target) {
    await target[whose].clock.set(0);
    for (const host of target.cluster.delayedHosts) {
      if (whose === 'leader') await untilReplayed(target, host);
      await host.clock.set(0);
    }
  },
});

const REPLAY_PATIENCE_MS = 60_000;

/** Everything that the leader has written by now. */
async function untilReplayed(target: Target, host: Host): Promise<void> {
  const position = await ask(
    target,
    target.leader,
    'SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END AS at',
  );
  const { at } = position as { at: string };
  const deadlineMs = performance.now() + REPLAY_PATIENCE_MS;
  while (performance.now() < deadlineMs) {
    const seen = await ask(target, host, `SELECT pg_last_wal_replay_lsn() >= '${at}' AS is_there`).catch(
      () => null,
    );
    if ((seen as { is_there: boolean } | null)?.is_there === true) return;
    await target.cluster.pause(200);
  }
  throw new Error(`${host.name} has not replayed ${at} within ${REPLAY_PATIENCE_MS} ms.`);
}

/** About when a leader that was asked for a change of votes sends it to the acceptors. */
const CHANGE_SENT_AFTER_MS = 680;
const VOTE_PATIENCE_MS = 60_000;

/** What becomes of it is open: the leader goes in the middle of it. */
function revokeSoon({ cluster, leader, follower }: Target): Promise<unknown> {
  return cluster.changeVote('revoke-vote', leader.name, follower.name).catch(() => null);
}

/** Whoever leads is asked until it is told that the follower votes. */
async function giveVoteBack({ cluster, follower }: Target): Promise<void> {
  const deadlineMs = performance.now() + VOTE_PATIENCE_MS;
  let last: unknown = 'nobody led';
  while (performance.now() < deadlineMs) {
    const topology = await cluster.status().catch(() => null);
    const leader = topology?.leader ?? null;
    const isKnown = leader !== null && topology?.nodes.every(({ state }) => state === 'running');
    if (isKnown && topology?.nodes.find(({ name }) => name === follower.name)?.voter !== false) return;
    if (leader !== null)
      last = await cluster.changeVote('grant-vote', leader, follower.name).catch((error: unknown) => error);
    await cluster.pause(100);
  }
  throw new Error(`${follower.name} got no vote within ${VOTE_PATIENCE_MS} ms: ${String(last)}`);
}

const nothing = async (): Promise<void> => undefined;

const FAULTS: Readonly<Record<ClusterFault, Fault>> = {
  'cut-leader': unplug('leader'),
  'cut-follower': unplug('follower'),
  // The hardest for two leaders at once: clients still reach the one that lost its cluster.
  'split-leader': {
    async strike(target) {
      await lose('sent', 'hosts').strike(target);
      await lose('received', 'hosts').strike(target);
    },
    heal: ({ cluster }) => cluster.network.restore(),
  },
  'mute-leader': lose('sent', 'all'),
  'deaf-leader': lose('received', 'all'),
  'kill-leader-host': kill('leader'),
  'kill-follower-host': kill('follower'),
  'kill-agent': {
    strike: ({ leader }) => leader.signal('agent', 'SIGKILL'),
    heal: ({ leader }) => restart(leader),
  },
  'kill-postmaster': { strike: ({ leader }) => leader.killPostmaster(), heal: nothing },
  'kill-backend': { strike: ({ leader }) => leader.killBackend(), heal: nothing },
  'stop-agent': suspend('agent'),
  'stop-postgres': suspend('postgres'),
  'stop-leader-host': suspend('host'),
  'full-disk-leader': fill('leader'),
  'full-disk-follower': fill('follower'),
  'hung-disk-leader': turn('leader', 'hung'),
  'hung-disk-follower': turn('follower', 'hung'),
  'slow-disk-leader': turn('leader', 'slow'),
  'clock-ahead-leader': jump('leader', 1),
  'clock-behind-leader': jump('leader', -1),
  'clock-ahead-follower': jump('follower', 1),
  switchover: {
    async strike({ cluster, leader }) {
      const refusal = await cluster.switchover(leader.name);
      if (refusal !== null) throw new Error(`The switchover was refused: ${refusal}`);
    },
    heal: nothing,
  },
  'switchover-then-kill': {
    async strike({ cluster, leader }) {
      // Not awaited: the host goes in the middle of it, and takes the answer with it.
      const answer = cluster.switchover(leader.name).catch(() => null);
      await cluster.pause(30);
      await leader.kill();
      await answer;
    },
    heal: ({ leader }) => restart(leader),
  },
  'revoke-vote': {
    async strike({ cluster, leader, follower }) {
      const refusal = await cluster.changeVote('revoke-vote', leader.name, follower.name);
      if (refusal !== null) throw new Error(`The vote was not revoked: ${refusal}`);
    },
    heal: giveVoteBack,
  },
  'revoke-vote-then-split': {
    async strike(target) {
      const answer = revokeSoon(target);
      await target.cluster.pause(CHANGE_SENT_AFTER_MS);
      await lose('sent', 'hosts').strike(target);
      await lose('received', 'hosts').strike(target);
      await answer;
    },
    async heal(target) {
      await target.cluster.network.restore();
      await giveVoteBack(target);
    },
  },
  'revoke-vote-then-kill': {
    async strike(target) {
      const answer = revokeSoon(target);
      await target.cluster.pause(CHANGE_SENT_AFTER_MS);
      await target.leader.kill();
      await answer;
    },
    async heal(target) {
      await restart(target.leader);
      await giveVoteBack(target);
    },
  },
  'restart-agent': { strike: ({ leader }) => leader.stop(), heal: ({ leader }) => restart(leader) },
};

function ask({ cluster }: Target, host: Host, statement: string): Promise<unknown> {
  return host.ask(cluster.superuserDsn(host.name), statement);
}
