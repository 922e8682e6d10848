import type { Command } from 'commander';
import { compareTables } from '../../logical/compare/compare.ts';
import type { TableComparison } from '../../logical/compare/compare.ts';
import { parseTables } from '../../logical/tables.ts';
import { fromOption, hideArguments, needUrl, toOption } from './ends.ts';
import { toPlainText } from '../screen/text-width.ts';

const SHOWN = 10;
const EXIT_DIFFERENT = 1;

interface CompareFlags {
  readonly from?: string;
  readonly to?: string;
  readonly tables: string;
  readonly name: string;
  readonly repair: boolean;
  readonly json: boolean;
}

/** `compare`: whether two databases have the same rows, while both are written to. */
export function addCompareCommand(program: Command): void {
  program
    .command('compare')
    .description('compare tables of two databases, row by row where they differ; both may be written to')
    .addOption(fromOption('what is right: postgresql://user:password@host:port/database'))
    .addOption(toOption('what is compared with it'))
    .requiredOption('--tables <names>', "such as 'orders,shop.products'")
    .option('--name <name>', 'the follow between the two, which is waited for', 'main')
    .option('--repair', "make the target's rows those of the source", false)
    .option('--json', 'print one JSON document', false)
    .action(runCompare);
}

async function runCompare(flags: CompareFlags): Promise<void> {
  hideArguments('compare');
  const startedAtMs = performance.now();
  const tables = await compareTables({
    from: needUrl(flags.from, '--from'),
    to: needUrl(flags.to, '--to'),
    tables: parseTables(flags.tables),
    follow: flags.name,
    repairs: flags.repair,
    onProgress: (table, rows) => {
      if (process.stderr.isTTY)
        process.stderr.write(`\r\u001b[K${toPlainText(table)}: ${rows.toLocaleString('en-US')} rows`);
    },
  });
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  const seconds = (performance.now() - startedAtMs) / 1_000;
  if (flags.json) process.stdout.write(`${JSON.stringify({ seconds, tables }, null, 2)}\n`);
  else process.stdout.write(`${tables.map(renderTable).join('\n')}\n${seconds.toFixed(1)} s\n`);
  const left = tables.some(
    ({ differences, repaired, undecided }) => differences.length > repaired || undecided > 0,
  );
  if (left) process.exitCode = EXIT_DIFFERENT;
}

/** For people. */
export function renderTable({ table, rows, differences, undecided, repaired }: TableComparison): string {
  const count = rows.toLocaleString('en-US');
  if (differences.length === 0 && undecided === 0) return `${toPlainText(table)}: ${count} rows, the same`;
  const parts = [
    `${differences.length} differ`,
    ...(repaired > 0 ? [`${repaired} repaired`] : []),
    ...(undecided > 0 ? [`${undecided} were written all the time`] : []),
  ];
  const shown = differences
    .slice(0, SHOWN)
    .map(({ kind, key }) => `  ${kind}: ${toPlainText(key.join(', '))}`);
  const rest = differences.length > SHOWN ? [`  and ${differences.length - SHOWN} more; --json has all`] : [];
  return [`${toPlainText(table)}: ${count} rows, ${parts.join(', ')}`, ...shown, ...rest].join('\n');
}
