import { spawn } from 'node:child_process';
import { Sequence } from '../model/sequence.ts';

const PROGRAM = 'systemd-notify';
/** In the time that systemd waits for a sign of life, so many are sent. */
const SIGNS_A_TIMEOUT = 3;
const LONGEST_MS = 10_000;

export interface SystemdOptions {
  /** Of this process; its variables for the service manager are taken out of it, so that children do not have them. */
  readonly environment: NodeJS.ProcessEnv;
  /** Called once when the service manager cannot be told anything. */
  readonly onProblem: (problem: string) => void;
}

/**
 * Tells the service manager how this process is, where that asks for it (systemd's Type=notify and WatchdogSec=). The
 * messages are datagrams on a Unix socket, which Node.js does not have: systemd's own program sends them, from a process of
 * its own, so that the unit needs NotifyAccess=all. Source: sd_notify(3) and systemd-notify(1).
 */
export class Systemd {
  readonly #socket: string | undefined;
  readonly #onProblem: (problem: string) => void;
  readonly #sent = new Sequence();
  #status = '';
  #isBroken = false;
  #isGivingSign = false;
  readonly #timer: NodeJS.Timeout | null;

  constructor({ environment, onProblem }: SystemdOptions) {
    this.#socket = environment['NOTIFY_SOCKET'];
    this.#onProblem = onProblem;
    const forMs = signsOfLifeWithin(environment);
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete environment[name];
    // From this process' own loop: when that hangs, the service manager ends it.
    this.#timer =
      this.#socket === undefined || forMs === null
        ? null
        : setInterval(() => this.#giveSign(), forMs / SIGNS_A_TIMEOUT);
    this.#timer?.unref();
  }

  /** It does what it is for; what waits for this service may start. */
  ready(): Promise<void> {
    return this.#send('READY=1');
  }

  /** One line for people, as `systemctl status` shows it. */
  status(text: string): void {
    if (text === this.#status) return;
    this.#status = text;
    void this.#send(`STATUS=${text.replaceAll('\n', ' ')}`);
  }

  stopping(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    return this.#send('STOPPING=1');
  }

  /** A machine that is slow to start processes must not gather them. */
  #giveSign(): void {
    if (this.#isGivingSign) return;
    this.#isGivingSign = true;
    void this.#send('WATCHDOG=1').then(() => (this.#isGivingSign = false));
  }

  /** In order, one after the other. Never rejects. */
  #send(message: string): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) return Promise.resolve();
    return this.#sent.run(async () => {
      const failure = this.#isBroken ? null : await notify(socket, message);
      if (failure === null) return;
      this.#isBroken = true;
      this.#onProblem(
        `Use Type=exec, or install systemd-notify: the service manager waits for word, which cannot be sent (${failure})`,
      );
    });
  }
}

/** Null where no signs of life are waited for, or those of another process. */
function signsOfLifeWithin(environment: NodeJS.ProcessEnv): number | null {
  const { WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = environment;
  if (microseconds === undefined || (pid !== undefined && Number(pid) !== process.pid)) return null;
  const forMs = Number(microseconds) / 1_000;
  return Number.isFinite(forMs) && forMs > 0 ? forMs : null;
}

/** Why it could not be sent; null when it was. */
function notify(socket: string, message: string): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn(PROGRAM, [message], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, NOTIFY_SOCKET: socket },
      timeout: LONGEST_MS,
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) =>
      resolve(code === 0 ? null : said.trim() || `${PROGRAM} ended with ${signal ?? `code ${code}`}`),
    );
  });
}
