import { readFile, writeFile } from 'node:fs/promises';
import { quoteText } from '../../../bench/kept-result.ts';
import { FAULT_MS, POLICIES } from './table.ts';
import type { Cell } from './table.ts';

const KEPT = new URL('../../../bench/results/policies.json', import.meta.url);
const DOCS = new URL('../../../docs/followers.md', import.meta.url);

interface KeptCell extends Cell {
  readonly when: string;
}

/** A Markdown table, which is also readable as it is. */
export function renderCells(cells: readonly Cell[]): string {
  return [
    `Faults last ${FAULT_MS / 1_000} s.`,
    '',
    '| policy | fault | promise | longest pause | lost | as promised |',
    '| --- | --- | --- | --- | --- | --- |',
    ...cells.map(
      ({ policy, fault, pauseMs, promise, lost, isKept }) =>
        `| ${policy} | ${fault} | ${promise} | ${pauseMs} ms | ${lost} | ${isKept ? 'yes' : 'NO'} |`,
    ),
  ].join('\n');
}

/** Puts them in place of those that were kept of the same policies, and the whole table into the documentation. */
export async function keepCells(cells: readonly Cell[]): Promise<void> {
  const when = new Date().toISOString();
  const before = JSON.parse(await readFile(KEPT, 'utf8').catch(() => '[]')) as readonly KeptCell[];
  const measured = cells.map((cell) => ({ ...cell, when }));
  const kept = POLICIES.flatMap(({ name }) => {
    const own = measured.filter(({ policy }) => policy === name);
    return own.length > 0 ? own : before.filter(({ policy }) => policy === name);
  });
  await writeFile(KEPT, `${JSON.stringify(kept, null, 2)}\n`);
  const days = kept.map((cell) => cell.when.slice(0, 10)).toSorted();
  const unmeasured = POLICIES.map(({ name }) => name).filter((name) =>
    kept.every((cell) => cell.policy !== name),
  );
  const rest = unmeasured.length === 0 ? '' : `\n\nNot measured yet: ${unmeasured.join('; ')}.`;
  const table = `Measured ${days.at(0)}${days.at(0) === days.at(-1) ? '' : ` to ${days.at(-1)}`}. ${renderCells(kept)}${rest}`;
  await writeFile(DOCS, quoteText(await readFile(DOCS, 'utf8'), 'policies', table));
}
