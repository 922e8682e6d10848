/** A region's part of one number, as far as it is known here. */
export interface Share {
  readonly region: number;
  readonly held: bigint;
}

/** A part that a region gives to another one. */
export interface Grant {
  readonly to: number;
  readonly amount: bigint;
}

/**
 * What a region gives of its part to those whose part is less than half of an equal one. It gives only what it has above
 * an equal part, so that nothing goes back and forth; `others` are those that can be reached, as they were heard last.
 * Nobody ever sells what he does not hold, whatever this decides: it only moves what is held.
 */
export function decideGrants(held: bigint, min: bigint, others: readonly Share[]): Grant[] {
  const total = others.reduce((sum, other) => sum + other.held - min, held - min);
  const equal = total / BigInt(others.length + 1);
  let surplus = held - min - equal;
  const grants: Grant[] = [];
  for (const other of others.toSorted((a, b) => Number(a.held - b.held) || a.region - b.region)) {
    const has = other.held - min;
    if (has * 2n >= equal) continue;
    const amount = surplus < equal - has ? surplus : equal - has;
    if (amount <= 0n) break;
    grants.push({ to: other.region, amount });
    surplus -= amount;
  }
  return grants;
}
