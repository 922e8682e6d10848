import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { maxLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import type { Clock } from '../../model/clock.ts';
import type { Probe } from '../../postgres/probe.ts';
import type { ServerAddress } from '../../postgres/replication-connection.ts';
import { SUPERUSER } from '../../postgres/settings.ts';
import type { Settings } from '../../postgres/settings.ts';
import { delayMsOf } from '../config/config.ts';
import type { NodeConfig } from '../config/config.ts';
import type { LocalNodeOptions } from '../local/local-node-options.ts';
import { MAX_DELAY_MS } from './core/delay.ts';
import { LOG_FOLDER, LogKeeper } from './log-keeper.ts';
import { TableJournal } from './table-journal.ts';

/** The role that people read a rescued state with. */
export const RESCUE_ROLE = 'lockstep_rescue';

const PRUNE_INTERVAL_MS = 30_000;
/** A rewind reads back to the checkpoint before the fork. */
const KEPT_BYTES = 64n * 1_048_576n;
const ARRIVAL_TIMEOUT_MS = 15_000;

/** How this PostgreSQL takes its log: as ever, standing still, up to a target, or on a timeline of its own. */
export type Replay =
  | { readonly kind: 'delayed' }
  | { readonly kind: 'held' }
  | { readonly kind: 'until'; readonly setting: { readonly name: string; readonly value: string } }
  | { readonly kind: 'apart'; readonly setting: { readonly name: string; readonly value: string } };

export interface DelayedNodeOptions {
  readonly clock: Clock;
  readonly node: NodeConfig;
  readonly folder: string;
  readonly account: PostgresAccount | null;
  readonly systemIdentifier: () => Promise<string | null>;
  readonly probe: () => Promise<Probe | null>;
  readonly onProblem: (problem: string) => void;
}

/** Null for a node that is not delayed. `folder` is the node's. */
export function createDelayedNode(
  options: LocalNodeOptions,
  folder: string,
  server: Pick<DelayedNodeOptions, 'systemIdentifier' | 'probe'>,
): DelayedNode | null {
  const { node, account, onProblem, clock } = options;
  if (delayMsOf(node) === 0) return null;
  return new DelayedNode({ node, folder, account, onProblem, clock, ...server });
}

/** What a delayed node has and does that others have not; see docs/internals/delayed.md. */
export class DelayedNode {
  readonly delayMs: number;
  readonly keeper: LogKeeper;
  readonly tables: TableJournal;
  readonly #folder: string;
  readonly #clock: Clock;
  #startTimeline: number | null = null;
  #prunedAtMs: number;
  replay: Replay = { kind: 'delayed' };
  /** What people are told that this node is there for now; null when it just follows. */
  note: string | null = null;
  /** Called when the log goes on with another timeline: PostgreSQL is to be started anew. */
  onTimeline: () => void = () => undefined;

  constructor(options: DelayedNodeOptions) {
    this.delayMs = delayMsOf(options.node);
    this.#folder = options.folder;
    this.#clock = options.clock;
    this.#prunedAtMs = options.clock.nowMs();
    this.tables = new TableJournal(options.folder, options.clock);
    this.keeper = new LogKeeper({
      clock: options.clock,
      node: options.node.name,
      folder: options.folder,
      account: options.account,
      systemIdentifier: options.systemIdentifier,
      needed: async () => {
        const seen = await options.probe();
        return seen?.isInRecovery === true ? { timeline: seen.timeline, lsn: seen.replayedLsn } : null;
      },
      onTimeline: () => this.onTimeline(),
      onProblem: options.onProblem,
    });
  }

  get folder(): string {
    return this.#folder;
  }

  receiveFrom({ name }: NodeConfig, address: ServerAddress): void {
    this.keeper.follow(name, address);
  }

  /** Only they may connect; null for everybody. */
  get onlyRoles(): readonly string[] | null {
    return this.replay.kind === 'until' || this.replay.kind === 'apart' ? [SUPERUSER, RESCUE_ROLE] : null;
  }

  /** Over those that every node has. */
  settings(): Settings {
    const { replay } = this;
    const delayMs = { delayed: this.delayMs, held: MAX_DELAY_MS, until: 0, apart: 0 }[replay.kind];
    return {
      primary_conninfo: '',
      primary_slot_name: '',
      // From the data folder, where PostgreSQL runs it: no path of this machine ever reaches the shell.
      restore_command: `[ -f ../${LOG_FOLDER}/%f ] && cp ../${LOG_FOLDER}/%f "%p"`,
      wal_retrieve_retry_interval: '1s',
      recovery_min_apply_delay: `${delayMs}ms`,
      // By number: another history that lies about, of an earlier rescue, is none to go over to.
      recovery_target_timeline: this.#startTimeline === null ? 'latest' : String(this.#startTimeline),
      ...(replay.kind === 'until' || replay.kind === 'apart'
        ? {
            [replay.setting.name]: replay.setting.value,
            recovery_target_inclusive: false,
            // An open transaction's locks would otherwise stay, and whoever reads what it dropped would hang.
            recovery_target_action: 'promote',
            default_transaction_read_only: true,
            autovacuum: false,
            synchronous_standby_names: '',
          }
        : {}),
    };
  }

  /** To be awaited before PostgreSQL starts: its settings name the timeline that the archive is on by then. */
  async prepareStart(upstream: NodeId | null): Promise<void> {
    const deadline = this.#clock.nowMs() + ARRIVAL_TIMEOUT_MS;
    while (upstream !== null && this.keeper.streamingFrom !== upstream && this.#clock.nowMs() < deadline)
      await this.#clock.sleep(20);
    await this.keeper.isResumed;
    this.#startTimeline = this.keeper.timeline;
    if (this.#startTimeline !== null) await this.#removeForeignLog(this.#startTimeline);
  }

  /** What a rescue has left in pg_wal, which pg_rewind does not take away, would pass for this node's newest log. */
  async #removeForeignLog(newest: number): Promise<void> {
    const folder = join(this.#folder, 'data', 'pg_wal');
    for (const name of await readdir(folder).catch(() => [])) {
      const timeline = /^([0-9A-F]{8})(?:[0-9A-F]{16}(?:\.partial)?|\.history)$/.exec(name)?.[1];
      if (timeline !== undefined && Number.parseInt(timeline, 16) > newest)
        await rm(join(folder, name), { force: true });
    }
  }

  /** What a walreceiver would show. Where the log ends here is where replay is: what lies past it can be taken back. */
  amend(seen: Probe, following: NodeId | null): Probe {
    if (!seen.isInRecovery) return seen;
    const received = maxLsn(this.keeper.flushedLsn ?? seen.replayedLsn, seen.replayedLsn);
    return {
      ...seen,
      receivedLsn: received,
      replayAgeMs:
        received === seen.replayedLsn ? 0 : (this.keeper.ageOf(seen.replayedLsn) ?? seen.lastCommitAgeMs),
      isReceiving: following !== null && this.keeper.streamingFrom === following,
      silentForMs: null,
      hasReceiver: false,
      hasStreamed: true,
      isAtLogEnd: true,
    };
  }

  /** Now and then lets go of log that PostgreSQL would not begin before any more. `client` as superuser. */
  async pruneLog(withClient: <T>(task: (client: pg.Client) => Promise<T>) => Promise<T>): Promise<void> {
    if (this.replay.kind !== 'delayed' || this.#clock.nowMs() - this.#prunedAtMs < PRUNE_INTERVAL_MS) return;
    this.#prunedAtMs = this.#clock.nowMs();
    const redo = await withClient(async (client) => {
      const { rows } = await client.query<{ redo: string }>(
        `SELECT (redo_lsn - '0/0'::pg_lsn)::text AS redo FROM pg_control_checkpoint()`,
      );
      return BigInt(rows[0]?.redo ?? 0);
    });
    if (redo > KEPT_BYTES) await this.keeper.prune((redo - KEPT_BYTES) as Lsn);
  }

  /** A copy of another node's data is about to take this one's place. */
  async replaceData(): Promise<void> {
    this.#startTimeline = null;
    await this.keeper.reset();
  }

  async close(): Promise<void> {
    await this.keeper.close();
  }
}
