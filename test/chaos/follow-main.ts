// `npm run chaos:follow -- --rounds 200`: kills a follow, its source and its target; with `--failovers 50`, the leaders of two
// clusters instead (`--side source` or `target`: of one of them). Exits with 1 on a violation.
import { parseArgs } from 'node:util';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { runFollowChaos } from './follow-chaos.ts';
import { runFollowFailovers } from './follow-failovers.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    failovers: { type: 'string' },
    side: { type: 'string' },
    seed: { type: 'string', default: '1' },
    postgres: { type: 'string', default: 'auto' },
    json: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
const progress = (line: string): void => void process.stderr.write(`${line}\n`);
const print = (result: { readonly violations: readonly string[] }, line: string): void => {
  process.stdout.write(
    values.json ? `${JSON.stringify(result, null, 2)}\n` : `${line}\n${result.violations.join('\n')}\n`,
  );
  if (result.violations.length > 0) process.exitCode = 1;
};
if (values.failovers === undefined) {
  const binaries = await reachableBinaries(await findPostgres(values.postgres), await resolveAccount());
  const result = await runFollowChaos({ binaries, rounds: Number(values.rounds), seed, progress });
  const { rounds, faults, transactions, violations } = result;
  print(
    result,
    `${rounds} rounds (${JSON.stringify(faults)}), ${transactions} transactions, ${violations.length} violations`,
  );
} else {
  const { postgres } = values;
  const side = values.side === 'source' || values.side === 'target' ? values.side : null;
  const failovers = Number(values.failovers);
  const result = await runFollowFailovers({ failovers, seed, side, postgres, progress });
  const { keptSlots, refills, transactions, violations } = result;
  print(
    result,
    `failovers: ${result.failovers.source} of the source, ${result.failovers.target} of the target; ${keptSlots} slots kept, ${refills.length} refills, ${transactions} transactions, ${violations.length} violations\n${refills.join('\n')}`,
  );
}
