import { parseArgs } from 'node:util';
import { FAULT_MS, POLICIES, runPolicy } from './table.ts';
import type { Cell } from './table.ts';

const USAGE = `Usage: npm run policies -- [--policy words] [--json]

Breaks followers and the leader of real three-node clusters under each policy, and prints the longest pause of writes and
what was lost. --policy: only those with these words in their name, of
${POLICIES.map(({ name }) => `  ${name}`).join('\n')}

Exit code: 0 when each policy did as it promises and no synchronous commit was lost, 1 when not.
`;

const { values } = parseArgs({
  options: {
    policy: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function describe({ policy, fault, pauseMs, promise, isKept }: Cell): string {
  return `| ${policy} | ${fault} | ${promise} | ${pauseMs} ms | ${isKept ? 'yes' : 'NO'} |`;
}

async function run(): Promise<number> {
  const chosen = POLICIES.filter(({ name }) => name.includes(values.policy));
  const cells: Cell[] = [];
  const lines: string[] = [];
  let isKept = chosen.length > 0;
  for (const policy of chosen) {
    const result = await runPolicy(policy, (line) => process.stderr.write(`${line}\n`));
    cells.push(...result.cells);
    lines.push(`${policy.name}: ${result.acknowledged} acknowledged, ${result.lost} lost`);
    isKept &&= (policy.level === 'local' || result.lost === 0) && result.cells.every((cell) => cell.isKept);
  }
  const table = [
    `Faults last ${FAULT_MS / 1_000} s.`,
    '| policy | fault | promise | longest pause | as promised |',
    '| --- | --- | --- | --- | --- |',
    ...cells.map(describe),
    ...lines,
  ];
  process.stdout.write(
    values.json ? `${JSON.stringify({ cells, lines, isKept })}\n` : `${table.join('\n')}\n`,
  );
  return isKept ? 0 : 1;
}

if (values.help) process.stdout.write(USAGE);
else process.exitCode = await run();
