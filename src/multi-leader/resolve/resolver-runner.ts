import { once } from 'node:events';
import { extname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { LockstepError } from '../../model/errors.ts';
import type { Answer, Question } from '../core/resolve-rule.ts';
import type { TableShape } from '../tables/shape.ts';
import type { ValueColumn } from './row-values.ts';

/** What the resolvers' thread is told. */
export interface AskedQuestion {
  readonly table: string;
  readonly columns: readonly ValueColumn[];
  /** Positions in `columns`. */
  readonly key: readonly number[];
  readonly question: Question;
}

/** What the resolvers' thread says. */
export interface HeardAnswer {
  readonly answer: Answer;
  /** The thread cannot be used any more. */
  readonly isSpoiled: boolean;
}

/** An answer, and whether the thread had to be ended for it. */
export interface RunnerAnswer {
  readonly answer: Answer;
  readonly wasEnded: boolean;
}

/** Of one question, which is asked twice. */
const ANSWER_LIMIT_MS = 2_000;
const LOAD_LIMIT_MS = 30_000;
const MEMORY_MB = 256;

/** Asks the resolvers of a definition's file, in a thread of their own that is ended when one does not return. */
export class ResolverRunner {
  readonly #path: string;
  readonly #limitMs: number;
  #worker: Worker | null = null;

  constructor(path: string, limitMs: number = ANSWER_LIMIT_MS) {
    this.#path = path;
    this.#limitMs = limitMs;
  }

  /** One at a time. Throws CONFIG_INVALID when the file cannot be loaded; whatever the resolver does is an answer. */
  async ask(shape: TableShape, question: Question): Promise<RunnerAnswer> {
    const worker = (this.#worker ??= await this.#start());
    const asked: AskedQuestion = {
      table: shape.name,
      columns: shape.columns.map(({ name, typeOid, typeName }) => ({ name, typeOid, typeName })),
      key: shape.key,
      question,
    };
    const said = listen(worker, this.#limitMs);
    worker.postMessage(asked, []);
    const heard = await said;
    const { answer, isSpoiled }: HeardAnswer =
      typeof heard === 'string'
        ? { answer: { kind: 'parked', reason: heard, isFault: true }, isSpoiled: true }
        : (heard as HeardAnswer);
    if (isSpoiled) await this.close();
    return { answer, wasEnded: isSpoiled };
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  async #start(): Promise<Worker> {
    const script = new URL(`./resolver-worker${extname(import.meta.url)}`, import.meta.url);
    const worker = new Worker(script, {
      workerData: this.#path,
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB },
      stdout: true,
      stderr: true,
    });
    worker.on('error', () => undefined);
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = null;
    });
    // Standard output is the region's own.
    for (const stream of [worker.stdout, worker.stderr])
      stream.on('data', (chunk: Buffer) => process.stderr.write(chunk));
    const heard = await listen(worker, LOAD_LIMIT_MS);
    if (heard === 'ready') return worker;
    await worker.terminate();
    throw new LockstepError('CONFIG_INVALID', `The resolvers in ${this.#path} cannot be loaded: ${heard}.`);
  }
}

/** The next message, or a sentence's end that says why there is none. */
async function listen(worker: Worker, limitMs: number): Promise<unknown> {
  const over = new AbortController();
  const { signal } = over;
  const failed = (error: Error): string => `it failed: ${error.message}`;
  try {
    return await Promise.race([
      once(worker, 'message', { signal }).then(([message]: unknown[]) => message, failed),
      once(worker, 'exit', { signal }).then(() => 'it ended its thread', failed),
      delay(limitMs, undefined, { signal }).then(() => `it did not return within ${limitMs / 1_000} s`),
    ]);
  } finally {
    over.abort();
  }
}
