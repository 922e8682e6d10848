import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, rmSync, writeFileSync } from 'node:fs';
import { readFile, rm, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { openOwnFile } from '../host/own-file.ts';
import { LockstepError } from '../model/errors.ts';
import type { PostgresAccount } from './account.ts';
import type { PostgresBinaries } from './binaries.ts';
import type { LackingSetting } from './control-file.ts';
import { replaceFile } from './data-folder.ts';
import { INSUFFICIENT_SETTINGS, lackingInFiles } from './follower-minimums.ts';
import type { KernelWatchdogDevice } from './watchdog/kernel-watchdog.ts';
import { endLeftover, killProcesses, listProcesses } from './watchdog/leftover.ts';
import { machineClock } from '../clock/machine-clock.ts';
import { askIsInRecovery } from './probe.ts';
import { ServerLog } from './server-log.ts';
import { ONLY_SYSTEM_NAMES, SUPERUSER } from './settings.ts';
import { isTransientStartFailure, startFailure } from './start-failure.ts';
import { isSuspended } from './watchdog/suspension.ts';
import { SCRAM_ONLY } from '../wire/core/auth-guard.ts';
import { GuardedClient } from '../wire/guarded-client.ts';

export interface PostgresServerOptions {
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly dataDir: string;
  readonly logPath: string;
  readonly host: string;
  readonly port: number;
  readonly superuserPassword: string;
  /**
   * Called when PostgreSQL had started and ended without {@link PostgresServer.stop}. `wasKilled`: by its
   * watchdog, for a deadline or because it was told to; else it ended by itself.
   */
  readonly onUnexpectedExit: (reason: string, wasKilled: boolean) => void;
  /** Called when the watchdog froze PostgreSQL, with the reason, and with null when it let it go on. */
  readonly onFrozen?: (reason: string | null) => void;
  /** What the watchdog arms while PostgreSQL may write; null or missing for none. */
  readonly kernelWatchdog?: KernelWatchdogDevice | null;
  /** Called when the kernel watchdog, which is not required, cannot be used, and with what its log says of damage. */
  readonly onProblem?: (problem: string) => void;
}

/** When the watchdog freezes PostgreSQL, and when it kills it, on the machine's monotonic clock. */
export interface Deadlines {
  readonly freezeAtMs: number;
  readonly killAtMs: number;
}

type StopMode = 'fast' | 'immediate';

const START_TIMEOUT_MS = 60_000;
const TRANSIENT_FAILURE_LIMIT_MS = 10_000;
/** How long the watchdog may take to kill PostgreSQL before the agent does it, and ends the watchdog. */
const WATCHDOG_PATIENCE_MS = 2_000;

/** One PostgreSQL on this machine, run in the foreground below a watchdog. Calls must not overlap. */
export class PostgresServer {
  readonly #options: PostgresServerOptions;
  #watchdog: ChildProcess | null = null;
  #pid: number | null = null;
  #exited: Promise<string> = Promise.resolve('');
  #isExitExpected = true;
  #deadlines: Deadlines | null = null;
  #binaries: PostgresBinaries;
  #isFrozen = false;
  #raised: readonly LackingSetting[] = [];

  constructor(options: PostgresServerOptions) {
    this.#options = options;
    this.#binaries = options.binaries;
  }

  /** The postmaster's process id, null when it does not run. */
  get pid(): number | null {
    return this.#pid;
  }

  get isRunning(): boolean {
    return this.#pid !== null;
  }

  /** By its watchdog, as the agent last heard. */
  get isFrozen(): boolean {
    return this.#isFrozen && this.isRunning;
  }

  /** The postmaster is stopped by a signal, of its watchdog or of somebody else. */
  get isSuspended(): boolean {
    return this.#pid !== null && isSuspended(this.#pid);
  }

  /** What its own files have too low to replay its log, and it was started with `least` of instead (I5). */
  get raised(): readonly LackingSetting[] {
    return this.#raised;
  }

  /** Takes effect with the next start. */
  useBinaries(binaries: PostgresBinaries): void {
    this.#binaries = binaries;
  }

  /**
   * Starts as a follower (standby.signal) of whoever the settings name, and resolves when it accepts
   * connections. Ends a left-over PostgreSQL of the same data folder first. Where its files have a setting below
   * what its log was written with, the command line gets it, which overrules them all; see {@link raised}. Throws
   * POSTGRES_FAILED with PostgreSQL's own last words, CONFIG_INVALID when its log is no file of this user's own.
   */
  async startAsFollower(): Promise<void> {
    await this.#startWith('standby.signal');
  }

  /**
   * As {@link startAsFollower}, but it reads its log only up to the target that the settings name, and then begins a
   * timeline of its own; resolves when it accepts connections, which may be before that.
   */
  async startUntilTarget(): Promise<void> {
    await this.#startWith('recovery.signal');
  }

  /** Starts a server that follows nobody and takes writes; otherwise as {@link startAsFollower}. */
  async startAlone(): Promise<void> {
    await this.#startWith(null);
  }

  async #startWith(signalFile: 'standby.signal' | 'recovery.signal' | null): Promise<void> {
    const { dataDir, account } = this.#options;
    await this.#clearTheWay();
    for (const name of ['standby.signal', 'recovery.signal']) {
      if (name === signalFile) await replaceFile(join(dataDir, name), '', account);
      else await rm(join(dataDir, name), { force: true });
    }
    await rm(join(dataDir, 'promote'), { force: true });
    await this.#start();
  }

  async #clearTheWay(): Promise<void> {
    await this.#untilWatchdogEnded();
    await endLeftover(this.#options.dataDir);
  }

  async #start(): Promise<void> {
    const { logPath } = this.#options;
    closeSync(openOwnFile(logPath, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT));
    const startedAtMs = machineClock.nowMs();
    this.#raised = [];
    for (;;) {
      const logStart = await stat(logPath).then(
        (found) => found.size,
        () => 0,
      );
      this.#spawn();
      if (await this.#waitUntilReady(startedAtMs + START_TIMEOUT_MS)) {
        this.#isExitExpected = false;
        return;
      }
      const log = await readFile(logPath).catch(() => Buffer.alloc(0));
      // It may have been put aside meanwhile.
      const words = log.subarray(log.length < logStart ? 0 : logStart).toString('utf8');
      await this.stop('immediate');
      if (INSUFFICIENT_SETTINGS.test(words) && (await this.#raiseSettings())) continue;
      if (
        !isTransientStartFailure(words) ||
        machineClock.nowMs() > startedAtMs + TRANSIENT_FAILURE_LIMIT_MS
      ) {
        throw startFailure(words, this.#options);
      }
      await machineClock.sleep(100);
    }
  }

  /** Its log may ask for more on its way, so that this may be needed again; false when there is nothing to raise. */
  async #raiseSettings(): Promise<boolean> {
    const { account, dataDir } = this.#options;
    const lacking = await lackingInFiles({ binaries: this.#binaries, account, dataDir });
    const isMore = JSON.stringify(lacking) !== JSON.stringify(this.#raised);
    this.#raised = lacking;
    return isMore && lacking.length > 0;
  }

  /**
   * Leaves recovery and starts a new timeline; resolves when it accepts writes. Creates the promote file
   * and signals, because pg_promote() polls only every 100 ms. `isInRecovery` asks this PostgreSQL, on a connection
   * that stands; without it one is made.
   */
  async promote(timeoutMs: number, isInRecovery?: () => Promise<boolean>): Promise<void> {
    const { dataDir } = this.#options;
    // The deadlines may have been given to an earlier watchdog: a follower that starts anew has none.
    this.setDeadlines(this.#deadlines);
    const signalFile = join(dataDir, 'promote');
    // At once: clients wait for a promotion, and each turn of the loop costs one more wait for the processor.
    rmSync(signalFile, { force: true });
    // A link that was planted there is not followed; only its presence counts, and no crash has to be survived.
    writeFileSync(signalFile, '', { flag: 'wx', mode: 0o600 });
    this.#signal('SIGUSR1');
    if (isInRecovery !== undefined) return this.#untilPromoted(isInRecovery, timeoutMs);
    const client = await this.connect();
    try {
      await this.#untilPromoted(() => askIsInRecovery(client), timeoutMs);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async #untilPromoted(isInRecovery: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    const { dataDir } = this.#options;
    const deadline = machineClock.nowMs() + timeoutMs;
    while (machineClock.nowMs() < deadline) {
      if (!(await isInRecovery())) return;
      await machineClock.sleep(2);
    }
    throw new LockstepError(
      'POSTGRES_FAILED',
      `PostgreSQL in ${dataDir} did not finish its promotion in ${timeoutMs} ms.`,
      {
        outcome: 'unknown',
        details: { dataDir, timeoutMs },
      },
    );
  }

  /** Makes PostgreSQL read its settings again. */
  reload(): void {
    this.#signal('SIGHUP');
  }

  /** `fast` ends sessions and ships the whole log to the followers first; `immediate` is a crash. */
  async stop(mode: StopMode, timeoutMs = 10_000): Promise<void> {
    if (this.#watchdog === null) return;
    this.#isExitExpected = true;
    if (mode === 'fast') {
      this.#signal('SIGINT');
      if (await this.#hasExitedWithin(timeoutMs)) return;
    }
    this.kill('the agent stops it');
    await this.#untilWatchdogEnded();
  }

  /** Moves both deadlines; null takes them away. */
  setDeadlines(deadlines: Deadlines | null): void {
    this.#deadlines = deadlines;
    // JSON has no infinity.
    const finite = (ms: number): number => Math.min(ms, Number.MAX_SAFE_INTEGER);
    this.#tellWatchdog({
      deadlines: deadlines && {
        freezeAtMs: finite(deadlines.freezeAtMs),
        killAtMs: finite(deadlines.killAtMs),
      },
    });
  }

  /** Sends every process of PostgreSQL its end, also suspended ones, and does not wait for it. */
  kill(reason: string): void {
    this.#tellWatchdog({ kill: reason });
  }

  /**
   * Ends a PostgreSQL that may not react: resolves when each of its processes has been sent SIGKILL. From then
   * on none of them runs, also while one is stuck in a dead disk and cannot end.
   */
  async endByForce(): Promise<void> {
    this.kill('it does not write any more');
    const killed = new Set<number>();
    for (;;) {
      const alive = listProcesses(this.#options.dataDir).filter((pid) => !killed.has(pid));
      if (alive.length === 0) return;
      killProcesses(alive);
      for (const pid of alive) killed.add(pid);
      await machineClock.sleep(2);
    }
  }

  /** A new connection as superuser, to the database `postgres` unless another is named. */
  async connect(database = 'postgres'): Promise<pg.Client> {
    const { host, port, superuserPassword } = this.#options;
    const client = new GuardedClient({
      requireAuth: SCRAM_ONLY,
      host,
      port,
      user: SUPERUSER,
      password: superuserPassword,
      database,
      ...(database === 'postgres' ? {} : { options: ONLY_SYSTEM_NAMES }),
      application_name: 'lockstep agent',
      connectionTimeoutMillis: 3_000,
    });
    client.on('error', () => undefined);
    await client.connect();
    // The agent's own statements must not wait for a follower.
    await client.query('SET synchronous_commit = local');
    return client;
  }

  #tellWatchdog(line: { readonly deadlines: Deadlines | null } | { readonly kill: string }): void {
    const input = this.#watchdog?.stdin;
    if (input?.writable === true) input.write(`${JSON.stringify(line)}\n`);
  }

  /** A watchdog outlives its PostgreSQL by moments; one that does not end in time is ended, with what is left. */
  async #untilWatchdogEnded(): Promise<void> {
    if (this.#watchdog === null || (await this.#hasExitedWithin(WATCHDOG_PATIENCE_MS))) return;
    killProcesses(listProcesses(this.#options.dataDir));
    this.#watchdog?.kill('SIGKILL');
    await this.#exited;
  }

  async #hasExitedWithin(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const callOff = machineClock.after(timeoutMs, () => resolve(false));
      void this.#exited.then(() => resolve(true)).finally(callOff);
    });
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#pid === null) return;
    try {
      process.kill(this.#pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }

  #spawn(): void {
    const { account, dataDir, logPath } = this.#options;
    const command = {
      program: join(this.#binaries.binDir, 'postgres'),
      dataDir,
      logPath,
      kernelWatchdog: this.#options.kernelWatchdog ?? null,
      settings: this.#raised.map(({ name, least }) => `${name}=${least}`),
      ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
    };
    const script = fileURLToPath(new URL(`./watchdog/watchdog${extname(import.meta.url)}`, import.meta.url));
    const watchdog = spawn(process.execPath, [script, JSON.stringify(command)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      // A session of its own: the terminal's Ctrl-C and Ctrl-Z are the agent's to answer, else Ctrl-Z would
      // suspend agent and watchdog, and leave the backends writing.
      detached: true,
    });
    watchdog.stdin.on('error', () => undefined);
    this.#watchdog = watchdog;
    this.#isExitExpected = true;
    this.#isFrozen = false;
    let reason = 'the watchdog ended';
    let wasKilled = false;
    const serverLog = new ServerLog(logPath, (problem) => this.#options.onProblem?.(problem));
    createInterface({ input: watchdog.stdout }).on('line', (line) => {
      const report = JSON.parse(line) as {
        pid?: number;
        killed?: string;
        frozen?: string;
        thawed?: true;
        problem?: string;
        exit?: { code: number | null; signal: string | null };
      };
      if (report.pid !== undefined) this.#pid = report.pid;
      // Its number may soon belong to another process.
      if (report.exit !== undefined) this.#pid = null;
      if (report.frozen !== undefined || report.thawed !== undefined) {
        this.#isFrozen = report.frozen !== undefined;
        this.#options.onFrozen?.(report.frozen ?? null);
      }
      if (report.problem !== undefined) this.#options.onProblem?.(report.problem);
      if (report.killed !== undefined) {
        wasKilled = true;
        reason = `the watchdog killed it: ${report.killed}`;
      } else if (report.exit !== undefined && !wasKilled) {
        reason = `it ended with ${report.exit.signal ?? `code ${report.exit.code}`}`;
      }
    });
    this.#exited = new Promise((resolve) => {
      watchdog.on('close', () => {
        serverLog.close();
        const orphan = this.#pid;
        this.#watchdog = null;
        this.#pid = null;
        // The watchdog itself may have been killed: its PostgreSQL must not go on without one.
        if (orphan !== null) killProcesses(listProcesses(this.#options.dataDir));
        resolve(reason);
        if (!this.#isExitExpected) this.#options.onUnexpectedExit(reason, wasKilled);
      });
    });
  }

  async #waitUntilReady(deadline: number): Promise<boolean> {
    while (this.#watchdog !== null && machineClock.nowMs() < deadline) {
      // Its own pid file, not a connection: another server may answer on this port.
      const lines = (
        await readFile(join(this.#options.dataDir, 'postmaster.pid'), 'utf8').catch(() => '')
      ).split('\n');
      if (Number(lines[0]) === this.#pid && lines[7]?.trim() === 'ready' && this.isRunning) return true;
      await machineClock.sleep(15);
    }
    return false;
  }
}
