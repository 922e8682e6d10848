import { resolve } from 'node:path';
import { applyOperation } from '../../multi-leader/core/merge.ts';
import { isSameImage } from '../../multi-leader/core/image.ts';
import type { Image } from '../../multi-leader/core/image.ts';
import { resultOf } from '../../multi-leader/core/resolve-rule.ts';
import type { Question } from '../../multi-leader/core/resolve-rule.ts';
import { namedRow } from '../../multi-leader/merge/journal-store.ts';
import { ResolverRunner } from '../../multi-leader/resolve/resolver-runner.ts';
import { openSession } from '../../multi-leader/sessions.ts';
import { readShapes } from '../../multi-leader/tables/shape.ts';
import type { TableShape } from '../../multi-leader/tables/shape.ts';
import { LockstepError } from '../../model/errors.ts';
import { toPlainText } from '../screen/text-width.ts';
import { readConflicts } from './conflicts-command.ts';
import type { ConflictsOptions, LoggedConflict, LoggedRow } from './conflicts-command.ts';
import { findRegion, loadDefinition, presentRegions, readRegions } from './regions-folder.ts';

/** A logged conflict, and what the definition that is tried makes of it; an entry of `lockstep regions test --json`. */
export interface ReplayedConflict {
  readonly table: string;
  readonly key: string;
  readonly kind: string;
  readonly decision: 'merged' | 'resolved' | 'parked';
  readonly reason: string | null;
  /** The resolver failed, or does not keep to its rules. */
  readonly isFault: boolean;
  readonly logged: LoggedRow;
  readonly replayed: LoggedRow;
  readonly isSame: boolean;
}

export interface Replay {
  readonly definition: string;
  readonly conflicts: readonly ReplayedConflict[];
  /** Of tables whose last write would win whole. */
  readonly skipped: number;
}

/** Decides the logged conflicts again by another definition; nothing is written. */
export async function replayConflicts(
  options: ConflictsOptions & { readonly definition: string | null },
): Promise<Replay> {
  const config = await readRegions(options.state);
  const path = options.definition ?? config.definition;
  if (path === null)
    throw new LockstepError(
      'CONFIG_INVALID',
      'Name the file of the definition to try: these regions have none.',
    );
  const definition = await loadDefinition(path);
  const place = options.region === null ? presentRegions(config)[0] : findRegion(config, options.region);
  const client = await openSession(place?.url ?? '', 'replay');
  const runner = new ResolverRunner(resolve(path));
  try {
    const shapes = await readShapes(client, definition);
    const conflicts: ReplayedConflict[] = [];
    let skipped = 0;
    for (const conflict of withoutRepeats(await readConflicts(options))) {
      const shape = shapes.get(conflict.table);
      if (shape === undefined || shape.merge === null) skipped++;
      else conflicts.push(await replay(shape, conflict, runner));
    }
    return { definition: path, conflicts, skipped };
  } finally {
    await runner.close();
    await client.end().catch(() => undefined);
  }
}

/** What a resolver was asked is logged beside what every region logs of the same writes, and so are other decisions. */
function withoutRepeats(conflicts: readonly LoggedConflict[]): LoggedConflict[] {
  const asked = ({ decision }: LoggedConflict): boolean => decision === 'resolved' || decision === 'parked';
  const nameOf = ({ table, key, seen, written }: LoggedConflict): string =>
    JSON.stringify([table, key, seen, written]);
  const known = new Set(conflicts.filter(asked).map(nameOf));
  return conflicts.filter(
    (one) =>
      asked(one) || (['merged', 'later-wins', 'same'].includes(one.decision) && !known.has(nameOf(one))),
  );
}

async function replay(
  shape: TableShape,
  conflict: LoggedConflict,
  runner: ResolverRunner,
): Promise<ReplayedConflict> {
  const { table, key, kind, before, seen, written, result } = conflict;
  const [a, base, b, logged] = [before, seen, written, result].map((row) => imageOf(shape, row));
  const rules = shape.merge ?? [];
  const version = { timeUs: 0, region: 0, lsn: 0n };
  const merged = applyOperation(a ?? null, { version, old: base ?? null, row: b ?? null }, rules);
  const question: Question = { kind, base: base ?? null, a: a ?? null, b: b ?? null, merged };
  const answer = shape.resolves ? (await runner.ask(shape, question)).answer : null;
  const replayed = answer === null ? merged : resultOf(question, answer, rules);
  const isParked = answer?.kind === 'parked';
  return {
    table,
    key,
    kind,
    decision: answer === null ? 'merged' : isParked ? 'parked' : 'resolved',
    reason: isParked ? answer.reason : null,
    isFault: isParked && answer.isFault,
    logged: result,
    replayed: replayed === null ? null : namedRow(shape, replayed),
    isSame: isSameImage(replayed, logged ?? null),
  };
}

function imageOf(shape: TableShape, row: LoggedRow): Image | null {
  return row === null ? null : shape.columns.map(({ name }) => row[name] ?? null);
}

/** A line for each table, and a paragraph for each conflict that comes out otherwise or is parked. */
export function renderReplay({ definition, conflicts, skipped }: Replay): string {
  const lines: string[] = [];
  for (const [table, all] of Map.groupBy(conflicts, (conflict) => conflict.table)) {
    const parked = all.filter(({ decision }) => decision === 'parked').length;
    const same = all.filter(({ decision, isSame }) => isSame && decision !== 'parked').length;
    lines.push(
      `${table}: ${all.length} conflicts; ${same} as they came out, ${all.length - same - parked} otherwise, ${parked} parked`,
    );
    for (const one of all) if (!one.isSame || one.decision === 'parked') lines.push(...describe(one));
  }
  if (skipped > 0) lines.push(`${skipped} of tables that ${definition} does not name were left out.`);
  if (conflicts.length === 0) lines.push('No conflicts are logged that this definition would decide.');
  // Values are the app's users', and may hold what a terminal obeys.
  return lines.map(toPlainText).join('\n');
}

function describe({ key, kind, reason, logged, replayed }: ReplayedConflict): string[] {
  const show = (row: LoggedRow, name: string): string => (row === null ? '(no row)' : (row[name] ?? 'NULL'));
  const names = new Set([logged, replayed].flatMap((row) => Object.keys(row ?? {})));
  return [
    `  ${key}  ${kind}${reason === null ? '' : `: parked, ${reason}`}`,
    ...[...names]
      .filter((name) => show(logged, name) !== show(replayed, name))
      .map((name) => `    ${name}: was ${show(logged, name)}, would be ${show(replayed, name)}`),
  ];
}
