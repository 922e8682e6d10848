import { LockstepError } from '../../model/errors.ts';
import type { TableShape } from '../tables/shape.ts';

/** Throws CONFIG_INVALID with a sentence for each table with which a region cannot join. */
export function checkTables(
  donor: string,
  theirs: ReadonlyMap<string, TableShape>,
  own: ReadonlyMap<string, TableShape>,
): void {
  const names = new Set([...theirs.keys(), ...own.keys()]);
  const problems = [...names].flatMap((name) => {
    const problem = findProblem(donor, theirs.get(name), own.get(name));
    return problem === null ? [] : [`${name} ${problem}`];
  });
  if (problems.length === 0) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Bring these tables in order, and give the command again: ${problems.join('; ')}. Nothing was done.`,
    { details: { problems } },
  );
}

function findProblem(
  donor: string,
  theirs: TableShape | undefined,
  own: TableShape | undefined,
): string | null {
  if (own === undefined) return `is missing in the new region; create it as in ${donor}`;
  if (theirs === undefined) return `is missing in ${donor}`;
  if (describe(theirs) !== describe(own))
    return `has other columns, or in another order, or another key than in ${donor}; create it anew as there`;
  if (theirs.priority !== null)
    return 'has regionPriority: which region decides about a row changes with the number of regions, and regions cannot join such tables yet';
  if (theirs.resolves)
    return 'has a resolver: which region asks it about a row changes with the number of regions, and regions cannot join such tables yet';
  if (theirs.references.length > 0 || theirs.parentOf !== 'none')
    return 'is named in foreignKeys, and regions cannot join such tables yet';
  return null;
}

function describe({ columns, key, unique, held }: TableShape): string {
  return JSON.stringify([
    columns.map(({ name, typeName, isGenerated }) => [name, typeName, isGenerated]),
    key,
    unique.map((positions) => positions.join()).toSorted(),
    held,
  ]);
}
