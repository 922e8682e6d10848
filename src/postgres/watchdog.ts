/**
 * The process between an agent and its PostgreSQL, so that the database never outlives the right to write:
 * it kills PostgreSQL at the deadline that the agent last gave, and at once when the agent is gone. It does
 * so also when the agent hangs or is suspended. Lines on standard input: `{"deadlineMs": number | null}` on
 * the monotonic clock of the machine. Lines on standard output: `{"pid"}`, then `{"exit"}` once.
 */
import { spawn, spawnSync } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { monotonicMs } from './monotonic-clock.ts';

interface Command {
  readonly program: string;
  readonly dataDir: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly logPath: string;
}

/** How often the deadline is looked at; also bounds how late a woken watchdog acts. */
const CHECK_INTERVAL_MS = 20;
/** How long the postmaster may take for its own end; it accepts nobody meanwhile. */
const POSTMASTER_PATIENCE_MS = 500;

const command = JSON.parse(process.argv[2] ?? '{}') as Command;
const log = openSync(command.logPath, 'a', 0o600);
// Where util-linux offers it, the kernel ends PostgreSQL should this process be killed together with its agent.
const deathSignal = ['--pdeathsig', 'QUIT'];
const hasDeathSignal = spawnSync('setpriv', [...deathSignal, 'true']).status === 0;
const words = [
  ...(hasDeathSignal ? ['setpriv', ...deathSignal] : []),
  command.program,
  '-D',
  command.dataDir,
];
const server = spawn(words[0] ?? '', words.slice(1), {
  // There from its first moment, so that a search by working folder finds it.
  cwd: command.dataDir,
  stdio: ['ignore', log, log],
  ...(command.uid === undefined ? {} : { uid: command.uid }),
  ...(command.gid === undefined ? {} : { gid: command.gid }),
});
let deadlineMs: number | null = null;

function report(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/**
 * The backends get SIGKILL at once, which reaches suspended ones too: one may acknowledge after its postmaster
 * died. The postmaster gets a moment to give back its shared memory, which outlives a killed one.
 */
function killServer(reason: string): void {
  const { pid } = server;
  if (pid === undefined || server.exitCode !== null) return;
  const backends = listChildren(pid);
  send(pid, 'SIGQUIT');
  for (const backend of backends) send(backend, 'SIGKILL');
  setTimeout(() => send(pid, 'SIGKILL'), POSTMASTER_PATIENCE_MS);
  report({ killed: reason });
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It was gone before.
  }
}

function listChildren(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

server.on('spawn', () => report({ pid: server.pid }));
server.on('error', (error) => {
  report({ exit: { code: null, signal: null, error: error.message } });
  process.exit(1);
});
server.on('exit', (code, signal) => {
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
input.on('line', (line) => {
  deadlineMs = (JSON.parse(line) as { deadlineMs: number | null }).deadlineMs;
});
input.on('close', () => killServer('the agent is gone'));
setInterval(() => {
  if (deadlineMs !== null && monotonicMs() >= deadlineMs) {
    deadlineMs = null;
    killServer('the lease ran out');
  }
}, CHECK_INTERVAL_MS);
