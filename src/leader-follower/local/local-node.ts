import { createDelayedNode } from '../delayed/delayed-node.ts';
import type { DelayedNode } from '../delayed/delayed-node.ts';
import { join } from 'node:path';
import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import type { NodeId } from '../../model/node.ts';
import type { TimelineHistory } from '../../model/timeline.ts';
import { reachableBinaries } from '../../postgres/account.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import { findAgain } from '../../postgres/binaries.ts';
import type { PostgresBinaries } from '../../postgres/binaries.ts';
import {
  createDataFolder,
  readDataVersion,
  readSystemIdentifier,
  readTimelineHistory,
} from '../../postgres/data-folder.ts';
import type { Clock } from '../../model/clock.ts';
import type { Probe } from '../../postgres/probe.ts';
import { rewindDataFolder } from '../../postgres/copy/rewind.ts';
import { PostgresServer } from '../../postgres/server.ts';
import type { Settings } from '../../postgres/settings.ts';
import type { LogEnd } from '../rejoin/log-end.ts';
import { nodeFolder } from '../config/config.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import type { StallLook } from './core/stall.ts';
import { DataReplacement } from '../rejoin/data-replacement.ts';
import { LocalChanges } from './local-changes.ts';
import type { Activity } from './local-changes.ts';
import { LocalQueries } from './local-queries.ts';
import type { LocalNodeOptions } from './local-node-options.ts';
import { replicationAt, superuserAt } from './node-addresses.ts';
import { RoleSettings } from './role-settings.ts';
import { POSITION_TIMEOUT_MS } from '../patience.ts';
import { readLogEnd } from '../rejoin/timelines.ts';

const PROMOTE_TIMEOUT_MS = 60_000;
/** pg_rewind wants an orderly end; a large cache takes a while to be written. */
const REJOIN_STOP_TIMEOUT_MS = 60_000;

/**
 * This node's PostgreSQL with the settings that its role needs. Changes run one after the other, whoever
 * asks for them; probing does not wait for them.
 */
export class LocalNode {
  readonly #config: ClusterConfig;
  readonly #clock: Clock;
  #binaries: PostgresBinaries;
  readonly #account: PostgresAccount | null;
  readonly #folder: string;
  readonly #server: PostgresServer;
  readonly #replacement: DataReplacement;
  readonly #queries: LocalQueries;
  /** What changes here counts once it is written; see {@link applySettings}. */
  readonly role: RoleSettings;
  /** Whatever changes PostgreSQL here goes through it. */
  readonly changes: LocalChanges = new LocalChanges(this);
  #hasEndedByItself = false;
  /** Null on a node that is not delayed. */
  readonly delayed: DelayedNode | null;

  constructor(options: LocalNodeOptions) {
    this.#config = options.config;
    this.#clock = options.clock;
    this.#binaries = options.binaries;
    this.#account = options.account;
    this.#folder = nodeFolder(options.stateDir, options.node.name);
    this.#replacement = new DataReplacement(this.#folder, options);
    this.#server = new PostgresServer({
      binaries: options.binaries,
      account: options.account,
      dataDir: this.dataDir,
      logPath: join(this.#folder, 'postgres.log'),
      host: options.node.host,
      port: options.node.port,
      superuserPassword: options.config.secrets.superuser,
      onUnexpectedExit: (reason, wasKilled) => {
        this.#hasEndedByItself = !wasKilled;
        this.changes.ended(reason);
        options.onUnexpectedExit(reason);
      },
      onFrozen: options.onFrozen,
      kernelWatchdog: options.kernelWatchdog,
      onProblem: options.onProblem,
    });
    this.#queries = new LocalQueries(this.#server, options.clock);
    this.delayed = createDelayedNode(options, this.#folder, {
      systemIdentifier: () => this.systemIdentifier(),
      probe: () => this.#queries.probe(),
    });
    this.role = new RoleSettings({ ...options, folder: this.#folder, delayed: this.delayed });
  }

  get folder(): string {
    return this.#folder;
  }

  get dataDir(): string {
    return join(this.#folder, 'data');
  }

  get server(): PostgresServer {
    return this.#server;
  }

  get activity(): Activity {
    return this.changes.activity;
  }

  /** PostgreSQL crashed or was stopped from outside, and has not been started since. */
  get hasEndedByItself(): boolean {
    return this.#hasEndedByItself && !this.#server.isRunning;
  }

  get following(): NodeId | null {
    return this.role.isUnwritten ? null : this.role.following;
  }

  /** To be asked once a round; see LocalQueries. */
  stalledForMs(look: StallLook): number {
    return this.#queries.stalledForMs(look);
  }

  get canRewind(): boolean {
    return this.#binaries.pgRewind !== null;
  }

  /** The identifier of the data folder, null without a usable one. Throws CONFIG_INVALID for another major. */
  async systemIdentifier(): Promise<string | null> {
    if (await this.#replacement.isBroken()) return null;
    const major = await readDataVersion(this.dataDir);
    if (major !== null && major !== this.#binaries.major) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `${this.dataDir} was made by PostgreSQL ${major}, and ${this.#binaries.version} is used now. Install that version and name it ("postgres" in cluster.json, or --postgres): majors are not changed in place, and this data was left as it is.`,
      );
    }
    return readSystemIdentifier(this.dataDir);
  }

  /** Null when PostgreSQL does not run or does not answer. */
  async probe(): Promise<Probe | null> {
    const seen = await this.#queries.probe();
    return seen === null || this.delayed === null ? seen : this.delayed.amend(seen, this.role.following);
  }

  /** Runs statements as superuser on the local server; see LocalQueries. */
  withClient<T>(task: (client: pg.Client) => Promise<T>, database?: string, timeoutMs?: number): Promise<T> {
    return this.#queries.withClient(task, database, timeoutMs);
  }

  async history(seen: Probe): Promise<TimelineHistory> {
    return readTimelineHistory(this.dataDir, seen.timeline);
  }

  create(): Promise<void> {
    return this.changes.run('starting', 'creating the data folder', async () => {
      await createDataFolder({
        binaries: this.#binaries,
        account: this.#account,
        dataDir: this.dataDir,
        superuserPassword: this.#config.secrets.superuser,
      });
    });
  }

  /** Starts PostgreSQL as a follower of nobody. */
  start(): Promise<void> {
    return this.changes.run('starting', 'starting', () => this.#startAlone());
  }

  /**
   * Ends PostgreSQL in order and starts it as a follower of nobody, with the programs of the same major that are
   * installed now. Throws CONFIG_INVALID, with PostgreSQL as it was, when there are none.
   */
  restart(): Promise<void> {
    return this.changes.run('starting', 'restarting', async () => {
      const found = await findAgain(this.#config.postgres, this.#binaries);
      this.#binaries = await reachableBinaries(found, this.#account);
      await this.#server.stop('fast');
      this.#server.useBinaries(this.#binaries);
      await this.#startAlone();
    });
  }

  /** Streams from `leader`; to be {@link settle}d once it is on the leader's timeline. */
  follow(leader: NodeConfig): Promise<void> {
    this.receiveLogFrom(leader);
    return this.changes.run(null, null, async () => {
      this.role.following = leader.name;
      this.role.isUnwritten = true;
      this.role.isArriving = true;
      this.#server.setDeadlines(null);
      await this.role.write(leader);
      this.#server.reload();
    });
  }

  /** What made the arrival at the leader's timeline fast costs a little at each commit, and ends here. */
  async settle(): Promise<void> {
    if (!this.role.isArriving) return;
    return this.changes.run(null, null, async () => {
      if (this.role.following === null) return;
      this.role.isArriving = false;
      await this.applySettings();
      this.#server.reload();
    });
  }

  /** Tells PostgreSQL to stop receiving; it may still do so for a moment. */
  letGo(): Promise<void> {
    return this.changes.run(null, null, () => this.#letGo());
  }

  /** Stops receiving, and resolves when the walreceiver is gone. */
  detach(): Promise<void> {
    return this.changes.run(null, null, () => this.#detach());
  }

  /**
   * Cuts this node off from any leader and tells where its log ends (I2): nothing that a leader writes
   * from here on arrives. Null when PostgreSQL does not run here or leads.
   */
  fencedPosition(): Promise<LogEnd | null> {
    // It is never counted on, and where its log ends is not for an election to know.
    if (this.delayed !== null) return Promise.resolve(null);
    return this.changes.run(null, null, async () => {
      if (!this.#server.isRunning) return null;
      await this.#detach();
      return readLogEnd(() => this.probe(), this.dataDir, this.#clock, POSITION_TIMEOUT_MS);
    });
  }

  /** Sets the names that commits will wait for after a promotion; meanwhile it follows on. */
  prepareToLead(standbyNames: string): Promise<void> {
    return this.changes.run(null, null, async () => {
      if (this.role.following === null) return;
      this.role.standbyNames = standbyNames;
      this.role.isArriving = false;
      await this.applySettings();
      this.#server.reload();
    });
  }

  /** Leaves recovery; commits wait for `standbyNames` (synchronous_standby_names) from the first one on. */
  promote(standbyNames: string): Promise<void> {
    return this.changes.run('starting', 'promoting', async () => {
      const isPrepared = this.role.lead(standbyNames);
      if (!isPrepared) {
        await this.role.write(null);
        this.#server.reload();
      }
      await this.#server.promote(PROMOTE_TIMEOUT_MS, () => this.#queries.isInRecovery());
    });
  }

  /** Changes the names that PostgreSQL waits for; effective for new waits within milliseconds. */
  setStandbyNames(standbyNames: string): Promise<void> {
    return this.changes.run(null, null, async () => {
      this.role.standbyNames = standbyNames;
      await this.role.write(null);
      this.#server.reload();
    });
  }

  stop(mode: 'fast' | 'immediate', timeoutMs?: number): Promise<void> {
    return this.changes.run('stopped', null, async () => {
      this.role.isHandingOver = false;
      await this.#server.stop(mode, timeoutMs);
      this.role.following = null;
    });
  }

  /** Ends PostgreSQL at once, from outside of any change that is under way, and does not wait for it. */
  kill(reason: string): void {
    this.#server.kill(reason);
  }

  /** See PostgresServer.endByForce. */
  endByForce(): Promise<void> {
    return this.#server.endByForce();
  }

  /** Replaces whatever data this node has by a copy of the leader's; the old is kept until the copy is whole. */
  clone(source: NodeConfig, signal: AbortSignal): Promise<void> {
    return this.changes.run('rejoining', 'cloning', async () => {
      await this.#replacement.copyFrom({
        source: superuserAt(this.#config, source),
        signal,
        onProgress: (percent) =>
          (this.changes.activity = { state: 'rejoining', detail: `cloning ${percent}%` }),
        stopServer: async () => {
          await this.#server.stop('fast', REJOIN_STOP_TIMEOUT_MS);
          await this.delayed?.replaceData();
        },
      });
    });
  }

  /** Undoes what this node has and the leader has not, and follows it. Returns the reason when it must be cloned instead. */
  rewind(source: NodeConfig): Promise<string | null> {
    this.receiveLogFrom(source);
    return this.changes.run('rejoining', 'rewinding', async () => {
      await this.#server.stop('fast', REJOIN_STOP_TIMEOUT_MS);
      await this.#replacement.markBroken();
      const result = await rewindDataFolder({
        binaries: this.#binaries,
        account: this.#account,
        dataDir: this.dataDir,
        source: superuserAt(this.#config, source),
      });
      if (result.kind === 'failed') return result.reason;
      // The folder is consistent only after it replayed what the source wrote meanwhile, so it starts
      // attached; it may, because the decision to rewind was a decision to follow this leader.
      this.role.following = source.name;
      this.#hasEndedByItself = false;
      await this.delayed?.prepareStart(source.name);
      await this.role.write(source);
      const failure = await this.#server.startAsFollower().then(
        () => null,
        (error: unknown) => (error as Error).message,
      );
      if (failure === null) await this.#replacement.markWhole();
      return failure;
    });
  }

  /** Takes the settings that all nodes have; those that PostgreSQL takes without a restart, at once. */
  useClusterSettings(settings: Settings): Promise<void> {
    this.role.clusterSettings = settings;
    return this.nodesChanged();
  }

  /** The nodes of the cluster changed: PostgreSQL lets those in that came. */
  nodesChanged(): Promise<void> {
    return this.changes.run(null, null, async () => {
      if (!this.#server.isRunning) return;
      await this.applySettings();
      this.#server.reload();
    });
  }

  /** Of a delayed node. */
  receiveLogFrom(node: NodeConfig): void {
    this.delayed?.receiveFrom(node, replicationAt(this.#config, node));
  }

  get programs(): { readonly binaries: PostgresBinaries; readonly account: PostgresAccount | null } {
    return { binaries: this.#binaries, account: this.#account };
  }

  applySettings(): Promise<void> {
    return this.role.write(this.role.followedNode);
  }

  /** Whatever the data is, it is not to be started: a copy of the leader's takes its place, which may need its room. */
  discardData(isRemoved = false): Promise<void> {
    return this.changes.run('rejoining', 'discarding its data', async () => {
      await this.#server.stop('fast');
      await (isRemoved ? this.#replacement.discard() : this.#replacement.markBroken());
      this.role.following = null;
    });
  }

  /** Ends PostgreSQL for good, in order. */
  async close(): Promise<void> {
    await this.changes.untilDone();
    await this.delayed?.close();
    this.#queries.close();
    await this.#server.stop('fast');
  }

  async #startAlone(): Promise<void> {
    this.role.reset();
    await this.#replacement.removeLeftover();
    await this.delayed?.prepareStart(null);
    this.#hasEndedByItself = false;
    await this.role.write(null);
    await this.#server.startAsFollower();
  }

  async #letGo(): Promise<void> {
    if (this.role.following === null && !this.role.isUnwritten) return;
    this.role.isArriving = false;
    await this.role.write(null);
    // Not before: where that fails, it still receives from there, and must be detached again.
    this.role.following = null;
    this.#server.reload();
  }

  async #detach(): Promise<void> {
    await this.#letGo();
    const deadline = this.#clock.nowMs() + POSITION_TIMEOUT_MS;
    while (this.#clock.nowMs() < deadline) {
      const seen = await this.probe();
      if (seen !== null && !seen.hasReceiver) return;
      await this.#clock.sleep(5);
    }
  }
}
