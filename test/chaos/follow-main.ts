// `npm run chaos:follow -- --rounds 200`: kills a follow, its source and its target; exits with 1 on a violation.
import { parseArgs } from 'node:util';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { runFollowChaos } from './follow-chaos.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    postgres: { type: 'string', default: 'auto' },
    json: { type: 'boolean', default: false },
  },
});
const binaries = await reachableBinaries(await findPostgres(values.postgres), await resolveAccount());
const result = await runFollowChaos({
  binaries,
  rounds: Number(values.rounds),
  seed: Number(values.seed),
  progress: (line) => void process.stderr.write(`${line}\n`),
});
const { rounds, faults, transactions, violations } = result;
process.stdout.write(
  values.json
    ? `${JSON.stringify(result, null, 2)}\n`
    : `${rounds} rounds (${JSON.stringify(faults)}), ${transactions} transactions, ${violations.length} violations\n${violations.join('\n')}\n`,
);
if (violations.length > 0) process.exitCode = 1;
