import type pg from 'pg';
import { isSameImage } from '../core/image.ts';
import type { Image } from '../core/image.ts';
import { resolveRow } from '../core/resolve-rule.ts';
import type { Answer, Answered, Question, ResolvedRow } from '../core/resolve-rule.ts';
import { namedRow, readImages, writeImage, writtenKey } from '../merge/journal-store.ts';
import { tellDecision } from '../own/decisions.ts';
import type { Decision } from '../own/decisions.ts';
import { encodeKeyRow, encodeRows } from '../tables/row-codec.ts';
import type { TableShape } from '../tables/shape.ts';
import { statementsFor } from '../tables/statements.ts';
import { forgetOpenConflict, readOpenConflicts } from './open-conflicts.ts';
import type { OpenConflict } from './open-conflicts.ts';
import type { RunnerAnswer } from './resolver-runner.ts';

export interface ConflictResolverOptions {
  /** In a session without an origin: what was decided is a change like any other, later than those it is about. */
  readonly client: pg.Client;
  readonly shapes: ReadonlyMap<string, TableShape>;
  readonly region: number;
  readonly promiseKey: Buffer;
  readonly ask: (shape: TableShape, question: Question) => Promise<RunnerAnswer>;
}

const AT_ONCE = 200;
/** Somebody writes the row again and again while its resolver is asked: then it is held meanwhile. */
const TRIES_WITHOUT_LOCK = 5;
/** A value out of range, or one that a constraint refuses. */
const REFUSED = /^2[23]/;
const SAVEPOINT = 'lockstep_resolve';

/** Asks about the conflicts that this region referees, and writes what is answered, each in a transaction of its own. */
export class ConflictResolver {
  readonly #options: ConflictResolverOptions;
  /** Why conflicts were parked last, by table. */
  readonly #troubles = new Map<string, string>();

  constructor(options: ConflictResolverOptions) {
    this.#options = options;
  }

  /** What is wrong with the app's resolvers; null while all is well. */
  get trouble(): string | null {
    if (this.#troubles.size === 0) return null;
    const all = [...this.#troubles].map(([table, reason]) => `${table}: ${reason}`);
    return `a resolver cannot be used, and its conflicts are parked (lockstep regions conflicts): ${all.join('; ')}`;
  }

  /** A table whose resolver had to be ended lets the others go first. */
  async resolveAll(): Promise<void> {
    for (const shape of this.#options.shapes.values()) {
      if (!shape.resolves) continue;
      for (const open of await readOpenConflicts(this.#options.client, shape, AT_ONCE))
        if (await this.#resolve(shape, open)) break;
    }
  }

  /** Returns whether the resolver had to be ended. */
  async #resolve(shape: TableShape, open: OpenConflict): Promise<boolean> {
    const { client } = this.#options;
    const keyRows = encodeRows(shape, [encodeKeyRow(shape, open.key)]);
    const read = async (): Promise<Image | null> => (await readImages(client, shape, keyRows)).get(1) ?? null;
    for (let round = 1; ; round++) {
      let wasEnded = false;
      const decide = async (here: Image | null): Promise<ResolvedRow> => {
        const asked = await this.#ask(shape, open, here);
        wasEnded ||= asked.wasEnded;
        return asked.resolved;
      };
      const expected = round > TRIES_WITHOUT_LOCK ? undefined : await read();
      const early = expected === undefined ? null : await decide(expected);
      await client.query('BEGIN');
      try {
        // The app's triggers fired for the writes that it is about.
        await client.query('SET LOCAL session_replication_role = replica');
        await client.query(statementsFor(shape).lock, [keyRows]);
        const here = await read();
        const resolved = early !== null && isSameImage(here, expected ?? null) ? early : null;
        if (resolved !== null || early === null) {
          const done = resolved ?? (await decide(here));
          const isWritten = await this.#carryOut(shape, open, { keyRows, here, ...done });
          if (isWritten) {
            await client.query('COMMIT');
            return wasEnded;
          }
        }
        await client.query('ROLLBACK');
      } catch (error) {
        await client.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    }
  }

  async #ask(
    shape: TableShape,
    { base, operations }: OpenConflict,
    here: Image | null,
  ): Promise<{ readonly resolved: ResolvedRow; readonly wasEnded: boolean }> {
    const steps = resolveRow(base, operations, shape.merge ?? [], here);
    let wasEnded = false;
    for (let step = steps.next(); ;) {
      if (step.done === true) return { resolved: step.value, wasEnded };
      const asked = await this.#options.ask(shape, step.value);
      wasEnded ||= asked.wasEnded;
      if (asked.answer.kind === 'row') this.#troubles.delete(shape.name);
      else if (asked.answer.isFault) this.#troubles.set(shape.name, asked.answer.reason);
      step = steps.next(asked.answer);
    }
  }

  /** False when somebody was first to make the row. */
  async #carryOut(
    shape: TableShape,
    open: OpenConflict,
    {
      keyRows,
      here,
      wanted,
      answered,
    }: ResolvedRow & { readonly keyRows: Buffer; readonly here: Image | null },
  ): Promise<boolean> {
    const { client } = this.#options;
    let refused: string | null = null;
    await client.query(`SAVEPOINT ${SAVEPOINT}`);
    try {
      if (!(await writeImage(client, shape, keyRows, { here, wanted }))) return false;
    } catch (error) {
      const { code, message } = error as pg.DatabaseError;
      if (!REFUSED.test(code ?? '')) throw error;
      await client.query(`ROLLBACK TO SAVEPOINT ${SAVEPOINT}`);
      refused = `what it decided cannot be written: ${message}`;
      this.#troubles.set(shape.name, refused);
    }
    for (const [index, one] of answered.entries())
      await this.#tell(shape, open, index, refused === null ? one : { ...one, answer: parked(refused) });
    await forgetOpenConflict(client, open);
    return true;
  }

  async #tell(shape: TableShape, open: OpenConflict, index: number, one: Answered): Promise<void> {
    const { client, region, promiseKey } = this.#options;
    const { question, answer, earlier, later, result } = one;
    const named = (image: Image | null): Decision['before'] =>
      image === null ? null : namedRow(shape, image);
    const last = later ?? open.operations.at(-1)?.version;
    const decision: Decision = {
      table: shape.name,
      key: writtenKey(shape, question.b ?? question.a ?? question.base ?? []),
      kind: question.kind,
      decision: answer.kind === 'parked' ? 'parked' : 'resolved',
      reason: answer.kind === 'parked' ? answer.reason : null,
      earlier: earlier && { timeUs: earlier.timeUs, region: earlier.region },
      // Beside the entry that every region makes of the same writes, which has a place in the log here.
      later: {
        timeUs: last?.timeUs ?? 0,
        region: later?.region ?? region,
        lsn: `${BigInt(open.id).toString(16)}/${index.toString(16)}`,
      },
      before: named(question.a),
      seen: named(question.base),
      written: named(question.b),
      result: named(result),
    };
    await tellDecision(client, decision, promiseKey);
  }
}

function parked(reason: string): Answer {
  return { kind: 'parked', reason, isFault: true };
}
