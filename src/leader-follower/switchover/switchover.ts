import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import { parseTimeline } from '../../model/timeline.ts';
import { ControlFileReader } from '../../postgres/control-file.ts';
import { findNode, voters } from '../config/config.ts';
import type { NodeConfig } from '../config/config.ts';
import { TAKEOVER_TIMEOUT_MS } from '../patience.ts';
import { decideSuccessor, letGoFirst } from '../core/hand-over.ts';
import type { FinalPosition, SuccessorDecision } from '../core/hand-over.ts';
import { letTransactionsEnd, setHandingOver } from './transactions.ts';
import { supportersNeeded } from '../core/support.ts';
import type { ExecutorOptions } from '../agent-parts.ts';

export interface SwitchoverResult {
  readonly from: NodeId;
  readonly to: NodeId;
  /** From when the old leader stopped to write until the new one did. */
  readonly pausedMs: number;
}

/** How long a follower that lags may take to come close before writes are paused for it. */
const CATCH_UP_MS = 10_000;
/** Leaving a segment sends the rest of it to each follower; staying in it sends this part or more twice, while writes wait. */
const SEGMENT_LEFT_PAST_SHARE = 1 / 4;
const CHECKPOINT_LIMIT_MS = 60_000;
/** How long PostgreSQL may take to write its last checkpoint; then the switchover is called off. */
const STOP_LIMIT_MS = 1_500;
/** Once that is on disk nothing can be written any more; an archiver or a hung follower is not waited for. */
const LINGER_MS = 250;
const LOG_END_CHECK_MS = 2;
const LET_GO_TIMEOUT_MS = 1_000;
const PREPARE_TIMEOUT_MS = 2_000;
const ELSEWHERE_TIMEOUT_MS = 10_000;

/**
 * Hands the leadership to `to` in order, or to the furthest synchronous follower. Everything slow comes
 * before the pause: waiting until the successor is close, the checkpoints that keep the one at shutdown
 * short, and the successor's own preparation. Then PostgreSQL stops, which ships the rest of its log, and
 * the successor takes the register over once it has all of it. Should it lack anything, this node leads on
 * (`reclaim`, false when it may not). Throws LockstepError: `not-applied` when this node still leads.
 */
export async function switchOver(
  options: ExecutorOptions,
  to: NodeId | null,
  reclaim: () => Promise<boolean>,
): Promise<SwitchoverResult> {
  const { self, config, register, hold, peers, events, clock } = options;
  const chosen = await chooseSuccessor(options, to);
  // The rest of a segment that is left takes a while to arrive.
  if (await beginSegment(options)) await chooseSuccessor(options, chosen);
  const successor = findNode(config, chosen);
  events.add('switchover', `handing over to ${successor.name}`);
  const beganAtMs = clock.nowMs();
  await checkpoint(options);
  const checkedAtMs = clock.nowMs();
  // A renewal in the pause would move the version that the others are told.
  if (!(await hold.renewForLong())) throw notRenewed(self);
  const preparation = await peers.prepare(successor, PREPARE_TIMEOUT_MS);
  if (preparation?.kind !== 'ready') {
    throw refusal(successor.name, preparation?.reason ?? 'its agent did not answer');
  }
  const preparedAtMs = clock.nowMs();
  const startedAtMs = await endTransactions(options);
  const endedTransactionsAtMs = clock.nowMs();
  const stopping = stopWriting(options);
  const early = { version: register.known.version, nodes: whoLetsGoFirst(options, successor) };
  askToLetGo(options, early.version, early.nodes);
  const { final, ended } = await stopping;
  const stoppedAtMs = clock.nowMs();
  const still = final === null ? null : await hold.holdStill();
  if (final === null || still?.state == null) {
    throw await callOff(reclaim, successor.name, `${self} could not end its log in ${STOP_LIMIT_MS} ms`);
  }
  const { version, state } = still;
  const wire = { timeline: final.timeline, lsn: formatLsn(final.lsn) };
  const takingOver = peers.takeOver(
    successor,
    { from: self, version, state, final: wire },
    TAKEOVER_TIMEOUT_MS,
  );
  const hasLetGo = (node: NodeConfig): boolean => version === early.version && early.nodes.includes(node);
  askToLetGo(
    options,
    version,
    bystanders(options, successor).filter((node) => !hasLetGo(node)),
  );
  const reply = await takingOver;
  if (reply?.kind === 'refused') {
    throw await callOff(reclaim, successor.name, reply.reason);
  }
  if (reply?.kind !== 'leads') await waitElsewhere(options, successor);
  hold.drop();
  const endedAtMs = clock.nowMs();
  const pausedMs = Math.round(endedAtMs - startedAtMs);
  const parts = [
    `checkpoints ${Math.round(checkedAtMs - beganAtMs)} ms and preparation ${Math.round(preparedAtMs - checkedAtMs)} ms before`,
    `transactions ${Math.round(endedTransactionsAtMs - startedAtMs)} ms`,
    `stop ${Math.round(stoppedAtMs - endedTransactionsAtMs)} ms`,
    `takeover ${Math.round(endedAtMs - stoppedAtMs)} ms`,
  ];
  await ended;
  events.add('switchover', `${successor.name} leads; writes paused for ${pausedMs} ms (${parts.join(', ')})`);
  return { from: self, to: successor.name, pausedMs };
}

function notRenewed(self: NodeId): LockstepError {
  return new LockstepError(
    'NOT_LEADER',
    `The switchover was not begun: ${self} could not renew its lease. See "lockstep status" and try again.`,
    { retryable: true },
  );
}

function bystanders({ self, config }: ExecutorOptions, successor: NodeConfig): readonly NodeConfig[] {
  return config.nodes.filter((node) => node.name !== self && node.name !== successor.name);
}

function whoLetsGoFirst(options: ExecutorOptions, successor: NodeConfig): readonly NodeConfig[] {
  const { config, self } = options;
  const needed = supportersNeeded(voters(config).length, findNode(config, self).voter);
  const others = bystanders(options, successor).map(({ name, voter }) => ({ name, isMember: voter }));
  return letGoFirst(others, successor.voter, needed).map((name) => findNode(config, name));
}

/** They only have to let go of this node; by the time somebody leads they are ready to follow. */
function askToLetGo({ peers }: ExecutorOptions, version: number, nodes: readonly NodeConfig[]): void {
  for (const node of nodes)
    void peers.fence(node, { version, isSuspicion: false, onlyLetGo: true }, LET_GO_TIMEOUT_MS);
}

/** Waits for a bounded time until one follower is close enough to take over at once. */
async function chooseSuccessor(options: ExecutorOptions, to: NodeId | null): Promise<NodeId> {
  const { self, hold, local, config, clock } = options;
  if (to !== null && findNode(config, to).isLeaving === true)
    throw new LockstepError('CONFIG_INVALID', `Name another node: ${to} is being removed.`);
  if (to !== null && options.merits.neverLead.includes(to)) {
    const isDelayed = findNode(config, to).delay !== undefined;
    const why = isDelayed ? 'it stays behind on purpose' : 'its failoverPriority is 0';
    throw new LockstepError('CONFIG_INVALID', `Name another node: ${to} never leads, ${why}.`);
  }
  const deadline = clock.nowMs() + CATCH_UP_MS;
  for (;;) {
    const seen = await local.probe();
    if (hold.ownLease.kind !== 'held' || seen === null || seen.isInRecovery) {
      throw new LockstepError('NOT_LEADER', `${self} does not lead; ask the leader for the switchover.`, {
        retryable: true,
      });
    }
    const decision = await weigh(options, to, seen);
    if (decision.kind === 'ready') return decision.to;
    if (decision.kind === 'impossible') {
      throw new LockstepError(
        'NO_LEADER',
        `The switchover was not begun: ${decision.reason} right now. See "lockstep status" and try again.`,
        { retryable: true, details: { to } },
      );
    }
    if (clock.nowMs() > deadline) {
      throw new LockstepError(
        'LAG_EXCEEDED',
        `The switchover was not begun: ${decision.reason}, and did not come close within ${CATCH_UP_MS / 1_000} s. Wait until "lockstep status" shows it close, or name another node.`,
        { retryable: true, details: { to } },
      );
    }
    await clock.sleep(50);
  }
}

async function weigh(
  { config, register, peers, merits }: ExecutorOptions,
  to: NodeId | null,
  seen: NonNullable<Awaited<ReturnType<ExecutorOptions['local']['probe']>>>,
): Promise<SuccessorDecision> {
  const members: readonly string[] = register.known.state?.sync.members ?? [];
  const followers = await Promise.all(
    seen.followers
      .filter(({ name }) =>
        config.nodes.some(
          (node) => node.name === name && node.isLeaving !== true && !merits.neverLead.includes(node.name),
        ),
      )
      .map(async (follower) => {
        const node = findNode(config, follower.name);
        const status = await peers.ask(node, 500);
        return {
          name: node.name,
          isStreaming: follower.isStreaming,
          isSynchronous: members.includes(follower.name),
          flushLsn: follower.flushLsn,
          replayedLsn: status?.replayedLsn == null ? null : parseLsn(status.replayedLsn),
        };
      }),
  );
  return decideSuccessor(followers, to, seen.receivedLsn);
}

/**
 * Leaves a log segment that is well filled, and returns whether it did. A follower asks a new leader for the segment from its
 * beginning, on the old timeline and again on the new one, and the first synchronous commit waits for that.
 */
async function beginSegment({ local }: ExecutorOptions): Promise<boolean> {
  return local.withClient(async (client) => {
    const { rowCount } = await client.query(
      `SELECT pg_switch_wal() FROM pg_walfile_name_offset(pg_current_wal_insert_lsn())
        WHERE file_offset > pg_size_bytes(current_setting('wal_segment_size')) * $1::float8`,
      [SEGMENT_LEFT_PAST_SHARE],
    );
    return rowCount === 1;
  });
}

/** The first writes what has gathered, the second only what came meanwhile: so does the one at shutdown. */
async function checkpoint({ local }: ExecutorOptions): Promise<void> {
  await local.withClient(async (client) => {
    await client.query(`SET statement_timeout = ${CHECKPOINT_LIMIT_MS}`);
    await client.query('CHECKPOINT');
    await client.query('CHECKPOINT');
  });
}

/** Returns since when writes are held. Whatever goes wrong here, the switchover goes on, or new transactions write again. */
async function endTransactions({ self, local, config, events, clock }: ExecutorOptions): Promise<number> {
  try {
    const address = findNode(config, self);
    const { open, heldSinceMs } = await letTransactionsEnd(local, address, clock, config.switchoverWaitMs);
    if (open > 0)
      events.add(
        'switchover',
        `${open} transactions that did not end in ${config.switchoverWaitMs} ms are rolled back`,
      );
    return heldSinceMs;
  } catch (error) {
    await setHandingOver(local, false);
    throw error;
  }
}

interface StoppedWriting {
  /** Null when the log did not end in order. */
  readonly final: FinalPosition | null;
  /** PostgreSQL's processes are gone, by force once they can add nothing. Never rejects. */
  readonly ended: Promise<void>;
}

/**
 * Ends PostgreSQL in order, and resolves as soon as its log has ended: its last checkpoint comes when no session
 * is left, and none is accepted any more. From then on it only ships what is there.
 */
async function stopWriting({ local, events, clock }: ExecutorOptions): Promise<StoppedWriting> {
  const gone = new AbortController();
  const stopping = local
    .stop('fast', STOP_LIMIT_MS)
    .catch((error: unknown) => events.add('error', (error as Error).message))
    .finally(() => gone.abort());
  const final = await untilLogEnds(local, clock, gone.signal);
  const linger = async (): Promise<void> => {
    await clock.sleep(LINGER_MS, gone.signal);
    if (!gone.signal.aborted) {
      events.add('note', 'ended PostgreSQL without waiting for its archiver or a follower that hangs');
      local.kill('only its archiver or a follower that hangs keeps it');
    }
    await stopping;
  };
  return { final, ended: final === null ? stopping : linger() };
}

/** Null when PostgreSQL is gone without having ended its log in order. */
async function untilLogEnds(
  local: ExecutorOptions['local'],
  clock: Clock,
  gone: AbortSignal,
): Promise<FinalPosition | null> {
  await using reader = await ControlFileReader.open(local.dataDir);
  for (;;) {
    const isGone = gone.aborted;
    const control = await reader.read();
    if (control?.state === 'shut down') {
      return { timeline: parseTimeline(control.checkpointTimeline), lsn: control.checkpoint };
    }
    if (isGone) return null;
    await clock.sleep(LOG_END_CHECK_MS, gone);
  }
}

/** The successor did not answer in time: the register tells, and whoever is elected there leads. */
async function waitElsewhere({ hold, peers, clock }: ExecutorOptions, successor: NodeConfig): Promise<void> {
  await hold.release(successor.name);
  const deadline = clock.nowMs() + ELSEWHERE_TIMEOUT_MS;
  while (clock.nowMs() < deadline) {
    const status = await peers.ask(successor, 500);
    if (status?.role === 'leader') return;
    await clock.sleep(20);
  }
  throw new LockstepError(
    'NO_LEADER',
    `${successor.name} did not take over within ${ELSEWHERE_TIMEOUT_MS / 1_000} s; the others elect a leader now. See "lockstep status".`,
    { outcome: 'unknown' },
  );
}

async function callOff(reclaim: () => Promise<boolean>, to: NodeId, reason: string): Promise<LockstepError> {
  if (await reclaim()) return refusal(to, reason);
  return new LockstepError(
    'NO_LEADER',
    `The switchover to ${to} failed (${reason}), and this node may not lead on; a leader is elected now. See "lockstep status".`,
    { outcome: 'unknown', details: { to } },
  );
}

function refusal(to: NodeId, reason: string): LockstepError {
  return new LockstepError(
    'NO_LEADER',
    `The switchover to ${to} was called off, and this node leads on: ${reason}. See "lockstep status" and try again.`,
    { retryable: true, details: { to } },
  );
}
