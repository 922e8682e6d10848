import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { RoundReport } from './closed-loop.ts';

/** Who runs in a contest. */
export interface ContestantPlan {
  readonly key: string;
  /** For the reader: "Lockstep", "pg.Pool". */
  readonly name: string;
  /** URL of a module that exports `createWorkload(options)`. */
  readonly workload: string;
  readonly options: unknown;
  /** Why it cannot run at all, for example because a program is not installed. */
  readonly missing?: string;
}

export type Order =
  | { readonly kind: 'prepare'; readonly workload: string; readonly options: unknown }
  | { readonly kind: 'round'; readonly durationMs: number }
  | { readonly kind: 'end' };

export type Reply =
  | { readonly kind: 'done' }
  | {
      readonly kind: 'report';
      readonly report: RoundReport;
      readonly cpuMs: number;
      readonly memoryMb: number;
    }
  | { readonly kind: 'failed'; readonly name: string; readonly message: string };

/** One round, and what the contestant's own process used for it. */
export interface Round extends RoundReport {
  readonly cpuMs: number;
  readonly memoryMb: number;
}

/** Thrown where what is to be measured is not there: the row says so. */
export class Unsupported extends Error {
  override readonly name = 'Unsupported';
}

const END_PATIENCE_MS = 3_000;

/** A contestant in a process of its own, so that nobody's garbage or compiled code touches another's. */
export class Contestant implements AsyncDisposable {
  readonly plan: ContestantPlan;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;

  private constructor(plan: ContestantPlan) {
    this.plan = plan;
    const script = fileURLToPath(new URL('./contestant-process.ts', import.meta.url));
    this.#child = fork(script, { stdio: ['ignore', 2, 'inherit', 'ipc'], serialization: 'json' });
    this.#exited = new Promise((resolve) => this.#child.once('exit', () => resolve()));
  }

  /** Throws {@link Unsupported} with the workload's words. */
  static async start(plan: ContestantPlan): Promise<Contestant> {
    if (plan.missing !== undefined) throw new Unsupported(plan.missing);
    const contestant = new Contestant(plan);
    try {
      await contestant.#order({ kind: 'prepare', workload: plan.workload, options: plan.options });
      return contestant;
    } catch (error) {
      await contestant[Symbol.asyncDispose]();
      throw error;
    }
  }

  async round(durationMs: number): Promise<Round> {
    const reply = await this.#order({ kind: 'round', durationMs });
    if (reply.kind !== 'report') throw new Error(`${this.plan.name} ran a round without a report.`);
    return { ...reply.report, cpuMs: reply.cpuMs, memoryMb: reply.memoryMb };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_PATIENCE_MS);
    await this.#order({ kind: 'end' }).catch(() => undefined);
    this.#child.kill();
    await this.#exited;
    clearTimeout(timer);
  }

  #order(order: Order): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null, signal: string | null): void => {
        this.#child.off('message', onReply);
        reject(new Error(`The process of ${this.plan.name} ended with ${signal ?? `code ${code}`}.`));
      };
      const onReply = (reply: Reply): void => {
        this.#child.off('exit', onExit);
        if (reply.kind !== 'failed') resolve(reply);
        else if (reply.name === 'Unsupported') reject(new Unsupported(reply.message));
        else reject(new Error(`${this.plan.name}: ${reply.message}`));
      };
      this.#child.once('exit', onExit);
      this.#child.once('message', onReply);
      this.#child.send(order, (error) => {
        if (error !== null) reject(error);
      });
    });
  }
}
