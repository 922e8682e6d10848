import { parseArgs } from 'node:util';
import { keepCells, renderCells } from './kept-cells.ts';
import { POLICIES, runPolicy } from './table.ts';
import type { Cell } from './table.ts';

const USAGE = `Usage: npm run policies -- [--policy words] [--keep] [--json]

Breaks followers and the leader of real clusters of three hosts under each policy, and prints the longest pause of writes
and what was lost. Needs root, on Linux, for network namespaces. --policy: only those with these words in their name, of
${POLICIES.map(({ name }) => `  ${name}`).join('\n')}
--keep: put the rows into bench/results/policies.json and docs/followers.md, in place of those of the same policies.

Exit code: 0 when each policy did as it promises and no synchronous commit was lost, 1 when not, 2 when it could not be run.
`;

const { values } = parseArgs({
  options: {
    policy: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

async function run(): Promise<number> {
  const tell = (line: string): void => void process.stderr.write(`${line}\n`);
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    tell('not run: needs root, on Linux, for network namespaces and mounts');
    return 2;
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
  const chosen = POLICIES.filter(({ name }) => name.includes(values.policy));
  const cells: Cell[] = [];
  for (const policy of chosen) cells.push(...(await runPolicy(policy, tell, stop.signal)));
  const isKept = cells.length > 0 && cells.every((cell) => cell.isKept);
  if (values.keep) await keepCells(cells);
  process.stdout.write(values.json ? `${JSON.stringify({ cells, isKept })}\n` : `${renderCells(cells)}\n`);
  return isKept ? 0 : 1;
}

if (values.help) process.stdout.write(USAGE);
else process.exitCode = await run();
