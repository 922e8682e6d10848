import { randomBytes } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { escapeIdentifier, escapeLiteral } from 'pg';
import { codeOf, LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { isPresent } from '../../postgres/data-folder.ts';
import type { Probe } from '../../postgres/probe.ts';
import { RESCUE_ROLE } from './delayed-node.ts';
import { PastFork, rejoin } from './past-fork.ts';
import type { RescueBefore } from './rescue-command.ts';
import { RescueLog } from './rescue-log.ts';
import type { RescueOptions } from './rescue-log.ts';
import { describeTarget, readRescue, writeRescue } from './rescue-file.ts';
import { connectAsSuperuser } from './superuser.ts';
import type { RescuePhase, RescueTarget, SavedRescue } from './rescue-file.ts';

const ROLL_CHECK_MS = 100;
/** Rolling forward reads at the disk's pace; without any progress for so long it is given up. */
const ROLL_STALLED_MS = 120_000;
/** PostgreSQL reads a segment of the log from a copy of its own. */
const NEEDED_BYTES = 16 * 1_048_576;

/** What `GET /v1/rescue` answers. */
export interface RescueStatus {
  readonly node: string;
  readonly delayMs: number;
  readonly phase: RescuePhase | 'idle';
  readonly target: RescueTarget | null;
  readonly replayedLsn: string | null;
  readonly receivedLsn: string | null;
  readonly problem: string | null;
  /** How to read the past; null unless it is open. */
  readonly reader: {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly password: string;
  } | null;
}

/**
 * Brings a delayed node's past before people's eyes and back. While it is at it, the agent decides nothing for this
 * PostgreSQL. Each step is written down before it is taken, so that an agent that is killed goes on with it.
 */
export class Rescue {
  readonly #options: RescueOptions;
  readonly log: RescueLog;
  readonly #fork: PastFork;
  #saved: SavedRescue | null = null;
  #isLoaded = false;
  #work: Promise<void> | null = null;
  #isCancelled = false;

  constructor(options: RescueOptions) {
    this.#options = options;
    this.log = new RescueLog(options);
    this.#fork = new PastFork(options);
  }

  /** PostgreSQL here is this class's to start and stop. */
  get isActive(): boolean {
    return this.#saved !== null || this.#fork.isActive;
  }

  /** What PostgreSQL here has is people's to look at, or on the way there or back. */
  get isOn(): boolean {
    return this.#saved !== null;
  }

  /** To be called once, before the first round. */
  async load(): Promise<void> {
    this.#saved = await readRescue(this.#options.delayed.folder);
    if (this.#saved === null) await this.#fork.look();
    this.#isLoaded = true;
    this.#tell();
  }

  async status(): Promise<RescueStatus> {
    const { node, delayed, local } = this.#options;
    const seen = await local.probe();
    const saved = this.#saved;
    const { name, host, port } = node;
    return {
      node: name,
      delayMs: delayed.delayMs,
      phase: saved?.phase ?? 'idle',
      target: saved?.target ?? null,
      replayedLsn: seen === null ? null : formatLsn(seen.replayedLsn),
      receivedLsn: delayed.keeper.flushedLsn === null ? null : formatLsn(delayed.keeper.flushedLsn),
      problem: saved?.problem ?? null,
      reader: saved?.phase === 'open' ? { host, port, user: RESCUE_ROLE, password: saved.password } : null,
    };
  }

  /** The log has gone over to another timeline, by which PostgreSQL is to read on. Not during a rescue. */
  async changeTimeline(): Promise<void> {
    const { local, events } = this.#options;
    if (this.isActive || !local.server.isRunning) return;
    await local.stop('fast');
    await this.#fork.look();
    if (this.#fork.isActive) return;
    await local.restart();
    events.add('started', 'PostgreSQL reads on in the new timeline of the log');
  }

  /**
   * Stands still at once, and then rolls forward to just before the mistake; resolves when that has begun. Throws
   * CONFIG_INVALID with everything as it was when there is no such point, or it has been passed.
   */
  async open(before: RescueBefore): Promise<void> {
    const { events, node } = this.#options;
    const saved = this.#saved;
    if (saved !== null && saved.phase !== 'held') {
      throw invalid(
        `A rescue is ${saved.phase} on ${node.name} already${describeTarget(saved.target)}. End it with "lockstep rescue close" first.`,
      );
    }
    let target: RescueTarget;
    try {
      await this.#hold();
      target = await this.log.find(before);
    } catch (error) {
      if (saved === null) await this.#letGo();
      const obstacle = await this.#fullDisk(error);
      if (obstacle === null) throw error;
      const message = `${obstacle}. Nothing was changed.`;
      throw new LockstepError('POSTGRES_FAILED', message, { retryable: true, cause: error });
    }
    events.add('rescue', `holds its delay, and rolls forward${describeTarget(target)}`);
    await this.#save({ phase: 'rolling', target, problem: null });
    this.#begin(() => this.#roll(target));
  }

  /**
   * Back to the leader's history, and to the delay. Resolves when this node follows on, or is about to be copied anew.
   * Throws CONFIG_INVALID when no rescue is open, NO_LEADER while there is nothing to go back to.
   */
  async close(): Promise<void> {
    const { node, leader } = this.#options;
    const saved = this.#saved;
    if (saved === null) throw invalid(`No rescue is open on ${node.name}; nothing was changed.`);
    if (saved.phase === 'closing') throw invalid(`The rescue on ${node.name} is being closed already.`);
    if (leader() === null && saved.phase !== 'held') {
      throw new LockstepError(
        'NO_LEADER',
        'Nobody leads right now whom this node could go back to; the rescue stays open. See "lockstep status", and try again.',
        { retryable: true },
      );
    }
    this.#isCancelled = true;
    await this.#work;
    this.#isCancelled = false;
    if (this.#saved?.phase === 'held') return this.#letGo();
    await this.#save({ phase: 'closing', problem: null });
    this.#begin(() => this.#goBack());
    await this.#work;
  }

  /** What a delayed node does besides, each round; nothing waits for it. */
  keep(): void {
    const { config, local, delayed, leader } = this.#options;
    const upstream = leader();
    if (upstream !== null) delayed.tables.keep((database) => connectAsSuperuser(config, upstream, database));
    if (local.server.isRunning)
      void delayed.pruneLog((task) => local.withClient(task)).catch(() => undefined);
  }

  /** One round while a rescue is on: PostgreSQL runs the way the phase asks for. */
  async step(): Promise<void> {
    const { local, delayed, leader } = this.#options;
    const saved = this.#saved;
    if (saved === null && this.#fork.isActive) return this.#fork.leave();
    if (saved === null || this.#work !== null || !this.#isLoaded) return;
    const upstream = leader();
    if (upstream !== null) local.receiveLogFrom(upstream);
    if (local.server.isRunning) return;
    switch (saved.phase) {
      case 'held':
        delayed.replay = { kind: 'held' };
        return local.start();
      case 'rolling': {
        const { target } = saved;
        if (target === null) return;
        // PostgreSQL takes the file away when it has ended recovery.
        const isBefore =
          (await isPresent(`${local.dataDir}/recovery.signal`)) ||
          (await isPresent(`${local.dataDir}/standby.signal`));
        if (isBefore) return this.#begin(() => this.#roll(target));
        return target === null ? undefined : this.#startApart(target);
      }
      case 'open':
        return saved.target === null ? undefined : this.#startApart(saved.target);
      case 'closing':
        // What became of it is not known: a new copy is right in any case.
        await local.discardData();
        return this.#end('is copied anew');
      default:
        saved.phase satisfies never;
    }
  }

  async settled(): Promise<void> {
    this.#isCancelled = true;
    await this.#work;
  }

  #begin(task: () => Promise<void>): void {
    this.#work = task()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => (this.#work = null));
  }

  async #hold(): Promise<void> {
    const { local, delayed } = this.#options;
    if (this.#saved === null) {
      this.#saved = {
        phase: 'held',
        target: null,
        password: randomBytes(18).toString('base64url'),
        since: new Date().toISOString(),
        problem: null,
      };
    }
    delayed.replay = { kind: 'held' };
    await this.#save({ phase: 'held' });
    if (!local.server.isRunning) return;
    await local.withClient((client) => client.query('SELECT pg_wal_replay_pause()'));
    await this.#useReplay('held');
  }

  /** Nothing was replayed that would not have been: the delay simply goes on. */
  async #letGo(): Promise<void> {
    const { local } = this.#options;
    try {
      await this.#useReplay('delayed');
      if (local.server.isRunning)
        await local.withClient((client) => client.query('SELECT pg_wal_replay_resume()'));
    } catch (error) {
      // It is still told to be on hold, and so has to be: a PostgreSQL that hangs would go on with its delay later.
      await this.#useReplay('held').catch(() => undefined);
      throw error;
    }
    await this.#end('goes on with its delay');
  }

  async #useReplay(kind: 'delayed' | 'held'): Promise<void> {
    const { local, delayed } = this.#options;
    delayed.replay = { kind };
    await local.changes.run(null, null, () => local.applySettings());
    local.server.reload();
  }

  async #roll(target: RescueTarget): Promise<void> {
    const { local, delayed, events } = this.#options;
    await local.changes.run('rejoining', 'rescue: rolling forward', async () => {
      await local.server.stop('fast');
      await delayed.prepareStart(null);
      delayed.replay = { kind: 'until', setting: target.setting };
      await local.applySettings();
      await local.server.startUntilTarget();
      await this.#untilApart(
        target.lsn ?? (delayed.keeper.flushedLsn && formatLsn(delayed.keeper.flushedLsn)),
      );
      await this.#openToReaders(target);
    });
    events.add('rescue', `can be read as it was${describeTarget(target)}`);
  }

  async #untilApart(target: string | null): Promise<void> {
    const { local, clock } = this.#options;
    let last: Lsn | null = null;
    let movedAtMs = clock.nowMs();
    for (;;) {
      if (this.#isCancelled) throw new Error('it was called off');
      if (!local.server.isRunning)
        throw new Error(`PostgreSQL ended; its words are in ${local.folder}/postgres.log`);
      const seen: Probe | null = await local.probe();
      if (seen?.isInRecovery === false) return;
      if (seen !== null && seen.replayedLsn !== last) {
        last = seen.replayedLsn;
        movedAtMs = clock.nowMs();
        local.changes.activity = {
          state: 'rejoining',
          detail: `rescue: rolling forward, ${formatLsn(last)} of ${target ?? 'the log'}`,
        };
      }
      if (clock.nowMs() - movedAtMs > ROLL_STALLED_MS) {
        throw new Error(`it has not come any further than ${last === null ? 'its start' : formatLsn(last)}`);
      }
      await clock.sleep(ROLL_CHECK_MS);
    }
  }

  #startApart(target: RescueTarget): void {
    const { local, delayed } = this.#options;
    this.#begin(() =>
      local.changes.run('rejoining', 'rescue: opening again', async () => {
        delayed.replay = { kind: 'apart', setting: target.setting };
        await local.applySettings();
        await local.server.startAlone();
        await this.#openToReaders(target);
      }),
    );
  }

  /** A role that may read everything, and write nothing whatever it sets. */
  async #openToReaders({ setting }: RescueTarget): Promise<void> {
    const { local, delayed } = this.#options;
    const password = this.#saved?.password ?? '';
    const role = escapeIdentifier(RESCUE_ROLE);
    await local.withClient(async (client) => {
      await client.query('SET default_transaction_read_only = off');
      const { rowCount } = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [RESCUE_ROLE]);
      if (rowCount === 0)
        await client.query(`CREATE ROLE ${role} LOGIN IN ROLE pg_read_all_data, pg_monitor`);
      await client.query(`ALTER ROLE ${role} PASSWORD ${escapeLiteral(password)}`);
    });
    delayed.replay = { kind: 'apart', setting };
    await local.applySettings();
    local.server.reload();
    await this.#save({ phase: 'open', problem: null });
  }

  async #goBack(): Promise<void> {
    const { local, delayed, leader, events } = this.#options;
    const upstream = leader();
    delayed.replay = { kind: 'delayed' };
    const failure = await rejoin({ local, delayed }, upstream);
    if (failure !== null) {
      events.add('rescue', `leaves its rescue by a new copy: ${failure}`);
      return this.#end('is copied anew');
    }
    await this.#end(`was rewound to ${upstream?.name}`);
  }

  /** What was not replayed is still not replayed: it stays held until people decide. */
  async #fail(reason: unknown): Promise<void> {
    const message = (await this.#fullDisk(reason)) ?? (reason as Error).message.replace(/\.$/, '');
    const { local, delayed, events } = this.#options;
    const phase = this.#saved?.phase;
    await local.server.stop('fast').catch(() => undefined);
    if (phase === 'rolling' && !(await this.#hasEndedRecovery())) {
      delayed.replay = { kind: 'held' };
      const problem = `Rolling forward failed: ${message}. Nothing was changed; the delay stays on hold until "lockstep rescue close".`;
      // Where it cannot be written, an agent that starts again rolls forward again.
      await this.#save({ phase: 'held', problem }).catch(() => undefined);
      events.add('error', problem);
      return;
    }
    await this.#save({ problem: message }).catch(() => undefined);
    events.add('error', `the rescue failed: ${message}`);
  }

  /** Says so when the disk is why something failed; else null. */
  async #fullDisk(cause: unknown): Promise<string | null> {
    const { folder } = this.#options.local;
    const { bavail, bsize } = await statfs(folder);
    const freeBytes = bavail * bsize;
    if (codeOf(cause) !== 'ENOSPC' && freeBytes >= NEEDED_BYTES) return null;
    return `Free some space on the disk of ${folder}, which has ${Math.floor(freeBytes / 1_048_576)} MB left, and open again`;
  }

  async #hasEndedRecovery(): Promise<boolean> {
    const { dataDir } = this.#options.local;
    return (
      !(await isPresent(`${dataDir}/recovery.signal`)) && !(await isPresent(`${dataDir}/standby.signal`))
    );
  }

  async #end(message: string): Promise<void> {
    const { delayed, events } = this.#options;
    delayed.replay = { kind: 'delayed' };
    this.#saved = null;
    await writeRescue(delayed.folder, null);
    this.#tell();
    events.add('rescue', `the rescue is closed: ${this.#options.node.name} ${message}`);
  }

  async #save(change: Partial<SavedRescue>): Promise<void> {
    if (this.#saved === null) return;
    this.#saved = { ...this.#saved, ...change };
    await writeRescue(this.#options.delayed.folder, this.#saved);
    this.#tell();
  }

  #tell(): void {
    const { delayed } = this.#options;
    const saved = this.#saved;
    if (saved === null) delayed.note = null;
    else if (saved.phase === 'open') delayed.note = `rescue: open${describeTarget(saved.target)}`;
    else if (saved.phase === 'held') delayed.note = 'rescue: its delay is on hold';
    else delayed.note = `rescue: ${saved.phase}`;
  }
}

function invalid(message: string): LockstepError {
  return new LockstepError('CONFIG_INVALID', message);
}
