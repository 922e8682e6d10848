import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { renderTable } from './result.ts';
import type { BenchResult } from './result.ts';

const DOCS = new URL('../docs/benchmarks.md', import.meta.url);

function resultUrl(capability: string): URL {
  return new URL(`./results/${capability}.json`, import.meta.url);
}

/** Keeps a full run in bench/results, and its table in docs/benchmarks.md. */
export async function keepResult(capability: string, result: BenchResult): Promise<void> {
  await mkdir(new URL('.', resultUrl(capability)), { recursive: true });
  await writeFile(resultUrl(capability), `${JSON.stringify(result, null, 2)}\n`);
  const docs = await readFile(DOCS, 'utf8');
  await writeFile(DOCS, quoteResult(docs, capability, result));
}

/** The document with the result's table between the capability's marks. Throws when the marks are missing. */
export function quoteResult(document: string, capability: string, result: BenchResult): string {
  const [start, end] = [`<!-- results: ${capability} -->`, `<!-- end of results: ${capability} -->`];
  const [from, to] = [document.indexOf(start), document.indexOf(end)];
  if (from < 0 || to < from)
    throw new Error(`docs/benchmarks.md has no place for the results of ${capability}.`);
  const notes = result.rows.flatMap(({ metric, note }) =>
    note === null ? [] : [`- \`${metric}\`: ${note}`],
  );
  const lines = [`Measured ${result.when.slice(0, 10)} on ${result.machine}.`, '', renderTable(result.rows)];
  if (notes.length > 0) lines.push('', ...notes);
  return `${document.slice(0, from + start.length)}\n\n${lines.join('\n')}\n\n${document.slice(to)}`;
}
