/**
 * The process between an agent and its PostgreSQL, so that the database never outlives the right to write (I8):
 * it freezes PostgreSQL at one deadline that the agent gave last and lets it go on when that is moved, kills
 * it at the other, and at once when the agent is gone. It does so also when the agent hangs or is suspended.
 * Lines on standard input: `{"deadlines": {"freezeAtMs", "killAtMs"} | null}` on the monotonic clock of the
 * machine, or `{"kill": reason}`. Lines on standard output: `{"pid"}`, `{"frozen"}` or `{"killed"}` with the
 * reason, `{"thawed"}`, `{"problem"}` with the kernel watchdog, then `{"exit"}` once.
 */
import { spawn, spawnSync } from 'node:child_process';
import { constants, existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { openOwnFile } from '../../host/own-file.ts';
import { KernelWatchdog } from './kernel-watchdog.ts';
import type { KernelWatchdogDevice } from './kernel-watchdog.ts';
import { killProcesses, listProcesses } from './leftover.ts';
import { machineClock } from '../../clock/machine-clock.ts';
import { Freeze, send, WATCHDOG_INTERVAL_MS } from './suspension.ts';

interface Command {
  readonly program: string;
  readonly dataDir: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly logPath: string;
  /** `name=value`, over what its files have. */
  readonly settings: readonly string[];
  readonly kernelWatchdog: KernelWatchdogDevice | null;
}

/** What a line from the agent says. */
interface Line {
  readonly deadlines?: Deadlines | null;
  readonly kill?: string;
}

interface Deadlines {
  readonly freezeAtMs: number;
  readonly killAtMs: number;
}

/** How long the postmaster may take for its own end; it accepts nobody meanwhile. */
const POSTMASTER_PATIENCE_MS = 500;

const UNSUPPORTED = 'too few members support this leader';

const command = JSON.parse(process.argv[2] ?? '{}') as Command;
const log = openOwnFile(command.logPath, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT);
// Where util-linux offers it, the kernel ends PostgreSQL should this process be killed together with its agent.
const deathSignal = ['--pdeathsig', 'QUIT'];
const hasDeathSignal = spawnSync('setpriv', [...deathSignal, 'true']).status === 0;
const words = [
  ...(hasDeathSignal ? ['setpriv', ...deathSignal] : []),
  command.program,
  '-D',
  command.dataDir,
  ...command.settings.flatMap((setting) => ['-c', setting]),
];
const server = spawn(words[0] ?? '', words.slice(1), {
  // There from its first moment, so that a search by working folder finds it.
  cwd: command.dataDir,
  stdio: ['ignore', log, log],
  ...(command.uid === undefined ? {} : { uid: command.uid }),
  ...(command.gid === undefined ? {} : { gid: command.gid }),
});
let deadlines: Deadlines | null = null;
const freeze = new Freeze();
let isFrozen = false;
const device = command.kernelWatchdog;
const kernelWatchdog = device === null ? null : new KernelWatchdog(device);
/** Without a list of the backends they cannot be stopped together, so PostgreSQL is killed instead. */
const canFreeze = existsSync('/proc/self/task');

function report(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/**
 * The backends get SIGKILL at once, which reaches suspended ones too: one may acknowledge after its postmaster
 * died. The postmaster gets a moment to give back its shared memory, which outlives a killed one; suspended,
 * it would not read the signal.
 */
function killServer(reason: string): void {
  const { pid } = server;
  deadlines = null;
  if (pid === undefined || server.exitCode !== null) return;
  // Suspended it starts no backend that would be missed.
  send(pid, 'SIGSTOP');
  send(pid, 'SIGQUIT');
  for (const backend of listChildren(pid)) send(backend, 'SIGKILL');
  send(pid, 'SIGCONT');
  setTimeout(() => {
    send(pid, 'SIGKILL');
    killProcesses(listProcesses(command.dataDir));
  }, POSTMASTER_PATIENCE_MS);
  report({ killed: reason });
}

/** Nothing is acknowledged from here on, nothing is lost, and a moment later it may go on as if nothing had been. */
function freezeServer(): void {
  const { pid } = server;
  if (pid === undefined || server.exitCode !== null) return;
  isFrozen = true;
  freeze.stop([pid]);
  // A signal takes effect a moment after it was sent: a backend forked in between is in the second list.
  for (let round = 0; round < 2; round++) freeze.stop(listChildren(pid));
  report({ frozen: UNSUPPORTED });
}

function thawServer(): void {
  if (server.pid === undefined) return;
  isFrozen = false;
  freeze.end();
  report({ thawed: true });
}

function enforceDeadlines(): void {
  if (deadlines === null) return;
  const nowMs = machineClock.nowMs();
  if (nowMs >= deadlines.killAtMs) killServer('the lease ran out');
  else if (isFrozen) {
    if (nowMs < deadlines.freezeAtMs) thawServer();
    else if (server.pid !== undefined) freeze.stop([server.pid, ...listChildren(server.pid)]);
  } else if (nowMs >= deadlines.freezeAtMs) {
    if (canFreeze) freezeServer();
    else killServer(UNSUPPORTED);
  }
}

/** After the deadlines were enforced: what is frozen or killed cannot write, and needs no reset. */
function stepKernelWatchdog(): void {
  try {
    kernelWatchdog?.step(machineClock.nowMs(), isFrozen ? null : (deadlines?.killAtMs ?? null));
  } catch (error) {
    const reason = `the kernel watchdog cannot be used: ${(error as Error).message}`;
    if (device?.isRequired === true) killServer(reason);
    else report({ problem: reason });
  }
}

/** Where the device is required, PostgreSQL is frozen before its right gets shorter than the device's timeout. */
function withinDevice(given: Deadlines | null): Deadlines | null {
  if (given === null || device?.isRequired !== true) return given;
  return { ...given, freezeAtMs: Math.min(given.freezeAtMs, given.killAtMs - device.timeoutMs) };
}

function listChildren(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/**
 * On a busy machine, or one that wakes, this process is to run before a backend does: whoever is elected counts on
 * PostgreSQL being frozen in time. Real-time, because each backend is a session of its own, among which Linux shares
 * the processor out first, whatever their niceness. Not everybody may ask for that: docs/internals/failover.md. Only
 * once PostgreSQL was started, which would get it too.
 */
function runFirst(): void {
  const words = ['--fifo', '--reset-on-fork', '--pid', '1', String(process.pid)];
  spawn('chrt', words, { stdio: 'ignore' }).on('error', () => undefined);
}

runFirst();
server.on('spawn', () => report({ pid: server.pid }));
server.on('error', (error) => {
  report({ exit: { code: null, signal: null, error: error.message } });
  process.exit(1);
});
server.on('exit', (code, signal) => {
  // A backend may outlive its postmaster by moments, and acknowledge in them.
  killProcesses(listProcesses(command.dataDir));
  kernelWatchdog?.disarm();
  report({ exit: { code, signal } });
  process.exit(0);
});
// Its end would leave PostgreSQL alone.
process.on('uncaughtException', (error) => killServer(`the watchdog failed: ${error.message}`));
process.on('SIGHUP', () => undefined);
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.stdout.on('error', () => undefined);

const input = createInterface({ input: process.stdin });
input.on('line', (text) => {
  const line = JSON.parse(text) as Line;
  if (line.kill !== undefined) return killServer(line.kill);
  deadlines = withinDevice(line.deadlines ?? null);
  if (deadlines !== null) enforceDeadlines();
  else if (isFrozen) thawServer();
});
input.on('close', () => killServer('the agent is gone'));
setInterval(() => {
  enforceDeadlines();
  stepKernelWatchdog();
}, WATCHDOG_INTERVAL_MS);
