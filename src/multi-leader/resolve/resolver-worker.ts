// The thread in which a definition's resolvers run: one that never returns is ended with it.
import { isDeepStrictEqual } from 'node:util';
import { parentPort, workerData } from 'node:worker_threads';
import { pathToFileURL } from 'node:url';
import type { Answer } from '../core/resolve-rule.ts';
import type { Image } from '../core/image.ts';
import { findResolver, parseDefinition } from '../definition.ts';
import { callPurely } from './pure-call.ts';
import type { RowConflict, RowDecision } from './row-conflict.ts';
import type { AskedQuestion, HeardAnswer } from './resolver-runner.ts';
import { imageOf, valuesOf } from './row-values.ts';
import type { ValueRow } from './row-values.ts';

/** What goes on in this thread after that is unknown. */
class PromiseReturned extends TypeError {}

const path = workerData as string;
const module = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
const definition = parseDefinition(module.default, path);

parentPort?.on('message', (asked: AskedQuestion) => parentPort?.postMessage(answer(asked), []));
parentPort?.postMessage('ready', []);

function answer(asked: AskedQuestion): HeardAnswer {
  try {
    const decide = findResolver(definition, asked.table);
    if (decide === null) throw new TypeError(`the definition has no resolver for ${asked.table}`);
    // Twice, with rows of its own each time: an answer that is not the same again would be chance.
    const [first, second] = [run(decide, asked), run(decide, asked)];
    if (!isDeepStrictEqual(first, second)) throw new TypeError('it gives another answer for the same rows');
    return { answer: first, isSpoiled: false };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { answer: { kind: 'parked', reason, isFault: true }, isSpoiled: error instanceof PromiseReturned };
  }
}

function run(decide: (conflict: RowConflict) => RowDecision, asked: AskedQuestion): Answer {
  const { columns, question, table } = asked;
  const [base, a, b] = [question.base, question.a, question.b].map((image) => valuesOf(image, columns));
  const merged = valuesOf(question.merged, columns);
  const decision: unknown = callPurely(() =>
    decide({
      table,
      kind: question.kind,
      base: base ?? null,
      a: a ?? null,
      b: b ?? null,
      keep: (row) => ({ kind: 'keep', row }),
      merge: (some = {}) => ({ kind: 'merge', columns: some }),
      park: (reason = 'the resolver leaves it to a person') => ({ kind: 'park', reason }),
    }),
  );
  const { kind, row, columns: some, reason } = readDecision(decision);
  if (kind === 'park') return { kind: 'parked', reason: String(reason), isFault: false };
  const wanted = kind === 'keep' ? (row ?? null) : merged === null ? null : { ...merged, ...some };
  if (wanted === null) return { kind: 'row', row: null };
  // Of a row that was given back as it came, its own texts first.
  const own = [question.a, question.b].filter((_, index) => wanted === [a, b][index]);
  const known = [...own, question.b, question.a, question.merged, question.base];
  return {
    kind: 'row',
    row: checkedImage(
      wanted,
      asked,
      known.filter((image) => image !== null),
    ),
  };
}

function readDecision(decision: unknown): {
  readonly kind: unknown;
  readonly row?: ValueRow | null;
  readonly columns?: ValueRow;
  readonly reason?: unknown;
} {
  if (decision instanceof Promise) {
    decision.catch(() => undefined);
    throw new PromiseReturned('it returned a promise; it must decide at once');
  }
  const found = decision as { readonly kind?: unknown } | null | undefined;
  if (found?.kind !== 'keep' && found?.kind !== 'merge' && found?.kind !== 'park')
    throw new TypeError('it returned nothing that keep, merge or park gave');
  return found as { readonly kind: unknown };
}

function checkedImage(wanted: ValueRow, { columns, key }: AskedQuestion, known: readonly Image[]): Image {
  const image = imageOf(wanted, columns, known);
  if (key.some((position) => image[position] !== known[0]?.[position]))
    throw new TypeError('the row that it keeps has another primary key');
  return image;
}
