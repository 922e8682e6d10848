import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { quoteText } from '../../../bench/kept-result.ts';
import { MISTAKES } from './mistakes.ts';
import { runNight } from './night.ts';
import type { Night, Undone } from './night.ts';

const USAGE = `Usage: npm run mistakes -- [options]

Makes mistakes on a cluster with the shop's full data while orders come in, brings everything back with "lockstep rescue",
and prints how long that took from the first command on. Afterwards every row and every definition is compared.

  --only words      only the mistakes with these words: ${MISTAKES.map(({ name }) => name).join('; ')}
  --postgres which  auto, system, embedded or a bin folder (default auto)
  --keep            keeps the table in bench/results/mistakes.json and docs/rescue.md, one for each version and user
  --json            one JSON document on standard output

Exit code: 0 when everything came back within a minute each, 1 when not.
`;

/** A person who waits for it has this long, from the first command on. */
const LIMIT_MS = 60_000;
const KEPT = new URL('../../../bench/results/mistakes.json', import.meta.url);
const DOCS = new URL('../../../docs/rescue.md', import.meta.url);

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    postgres: { type: 'string', default: 'auto' },
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function seconds(ms: number | undefined): string {
  return ms === undefined ? '–' : (ms / 1_000).toFixed(1);
}

function describe({ mistake, rows, stepsMs, restoredMs, broken, note }: Undone): string {
  const steps = ['list', 'open', 'diff', 'restore', 'close'].map((step) => seconds(stepsMs[step]));
  const verdict = broken.length > 0 ? `NO: ${broken.join('; ')}` : note === null ? 'yes' : `yes; ${note}`;
  return `| ${[`\`${mistake}\``, rows, ...steps, seconds(restoredMs), verdict].join(' | ')} |`;
}

const COLUMNS = [
  'mistake',
  'rows',
  'list',
  'open',
  'diff',
  'restore',
  'close',
  'until it was back',
  'everything as before',
];

function render({ version, source, undone, orders, accounts, lost }: Night): string {
  return [
    `PostgreSQL ${version} (${source}), ${who()}; ${orders} orders and ${accounts} accounts were acknowledged meanwhile, ${lost} of them lost. In seconds:`,
    '',
    `| ${COLUMNS.join(' | ')} |`,
    `| ${COLUMNS.map(() => '---').join(' | ')} |`,
    ...undone.map(describe),
  ].join('\n');
}

function who(): string {
  return process.getuid?.() === 0 ? 'as root' : 'as an ordinary user';
}

/** In place of the table of the same version and user. */
async function keep(night: Night): Promise<void> {
  const name = `${night.version} ${night.source} ${who()}`;
  const before = JSON.parse(await readFile(KEPT, 'utf8').catch(() => '{}')) as Readonly<
    Record<string, string>
  >;
  const tables = { ...before, [name]: render(night) };
  await writeFile(KEPT, `${JSON.stringify(tables, null, 2)}\n`);
  const text = Object.keys(tables)
    .toSorted()
    .map((key) => tables[key])
    .join('\n\n');
  await writeFile(DOCS, quoteText(await readFile(DOCS, 'utf8'), 'mistakes', text));
}

async function run(): Promise<number> {
  const tell = (line: string): void => void process.stderr.write(`${line}\n`);
  const chosen = MISTAKES.filter(({ name }) => name.includes(values.only));
  const night = await runNight(chosen, values.postgres, tell);
  const isGood =
    night.undone.length > 0 &&
    night.undone.every(({ broken, restoredMs }) => broken.length === 0 && restoredMs < LIMIT_MS);
  if (values.keep) await keep(night);
  process.stdout.write(values.json ? `${JSON.stringify({ ...night, isGood })}\n` : `${render(night)}\n`);
  return isGood && night.lost === 0 ? 0 : 1;
}

if (values.help) process.stdout.write(USAGE);
else process.exitCode = await run();
