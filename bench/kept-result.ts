import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { renderTable } from './result.ts';
import type { BenchResult } from './result.ts';

const DOCS = new URL('../docs/benchmarks.md', import.meta.url);

function resultUrl(capability: string): URL {
  return new URL(`./results/${capability}.json`, import.meta.url);
}

/**
 * Keeps a full run in bench/results, and its table in docs/benchmarks.md; of one that measured a part (`isPart`) its rows, in
 * place of those that the kept run has, or after them. What takes long is measured part by part so.
 */
export async function keepResult(capability: string, measured: BenchResult, isPart: boolean): Promise<void> {
  const kept = await readFile(resultUrl(capability), 'utf8').then(
    (text) => JSON.parse(text) as BenchResult,
    () => null,
  );
  const result = isPart && kept !== null ? replaceRows(kept, measured) : measured;
  await mkdir(new URL('.', resultUrl(capability)), { recursive: true });
  await writeFile(resultUrl(capability), `${JSON.stringify(result, null, 2)}\n`);
  const docs = await readFile(DOCS, 'utf8');
  await writeFile(DOCS, quoteResult(docs, capability, result));
}

/** The kept result with the rows that were measured again, which say when. */
export function replaceRows(kept: BenchResult, part: BenchResult): BenchResult {
  const again = new Map(part.rows.map((row) => [row.metric, { ...row, again: part.when }]));
  const added = [...again.values()].filter(({ metric }) => !kept.rows.some((row) => row.metric === metric));
  return { ...kept, rows: [...kept.rows.map((row) => again.get(row.metric) ?? row), ...added] };
}

/** The document with the text between the marks of `name`. Throws when the marks are missing. */
export function quoteText(document: string, name: string, text: string): string {
  const [start, end] = [`<!-- results: ${name} -->`, `<!-- end of results: ${name} -->`];
  const [from, to] = [document.indexOf(start), document.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`The document has no place for the results of ${name}.`);
  return `${document.slice(0, from + start.length)}\n\n${text}\n\n${document.slice(to)}`;
}

/** The document with the result's table between the capability's marks. Throws when the marks are missing. */
export function quoteResult(document: string, capability: string, result: BenchResult): string {
  const notes = result.rows.flatMap(({ metric, note, again }) => {
    const parts = [again === undefined ? null : `measured again, on its own, ${again.slice(0, 10)}`, note];
    const text = parts.filter((part) => part !== null).join('; ');
    return text === '' ? [] : [`- \`${metric}\`: ${text}`];
  });
  const lines = [`Measured ${result.when.slice(0, 10)} on ${result.machine}.`, '', renderTable(result.rows)];
  if (notes.length > 0) lines.push('', ...notes);
  return quoteText(document, capability, lines.join('\n'));
}
