/**
 * Whether a history of calls on one object could have happened one after another. Source: G. Lowe, "Testing for linearizability", 2017
 * (the search of J. Wing and C. Gong, with a cache of what was tried).
 */

/** One call, as the caller saw it. Times only need to be in order. */
export interface TimedCall<Operation> {
  readonly operation: Operation;
  readonly invokedAt: number;
  /** Null when nobody knows what became of it: it may take effect at any time after its invocation, or never. */
  readonly returnedAt: number | null;
}

/** What one call does to the object's state. */
export interface SequentialModel<State, Operation> {
  readonly initial: State;
  /** The state after the call, or null when it could not have been answered so in this state. */
  readonly step: (state: State, operation: Operation, isKnown: boolean) => State | null;
  /** Equal for equal states. */
  readonly keyOf: (state: State) => string;
}

interface Entry<Operation> {
  readonly call: number;
  readonly operation: Operation;
  readonly isReturn: boolean;
  readonly isKnown: boolean;
  readonly at: number;
  previous: Entry<Operation> | null;
  next: Entry<Operation> | null;
  /** Of a call: its return. */
  match: Entry<Operation> | null;
}

/** Takes a call and its return out of the list. */
function lift<T>(entry: Entry<T>): void {
  for (const each of [entry, entry.match]) {
    if (each === null) continue;
    if (each.previous !== null) each.previous.next = each.next;
    if (each.next !== null) each.next.previous = each.previous;
  }
}

function unlift<T>(entry: Entry<T>): void {
  for (const each of [entry.match, entry]) {
    if (each === null) continue;
    if (each.previous !== null) each.previous.next = each;
    if (each.next !== null) each.next.previous = each;
  }
}

function listOf<T>(calls: readonly TimedCall<T>[]): Entry<T> {
  const entries = calls.flatMap(({ operation, invokedAt, returnedAt }, call): Entry<T>[] => {
    const shared = { call, operation, isKnown: returnedAt !== null, previous: null, next: null };
    const end: Entry<T> = {
      ...shared,
      isReturn: true,
      at: returnedAt ?? Number.POSITIVE_INFINITY,
      match: null,
    };
    return [{ ...shared, isReturn: false, at: invokedAt, match: end }, end];
  });
  // At one time, calls come before returns: they overlap.
  entries.sort((a, b) => (a.at === b.at ? Number(a.isReturn) - Number(b.isReturn) : a.at - b.at));
  const head: Entry<T> = { ...(entries[0] as Entry<T>), call: -1, previous: null, next: null, match: null };
  let last = head;
  for (const entry of entries) {
    last.next = entry;
    entry.previous = last;
    last = entry;
  }
  return head;
}

/**
 * Null when the calls fit one order that keeps to their times; else the call at which every attempt ended. Takes time that is
 * exponential in how many calls overlap.
 */
export function findNonlinearizable<State, Operation>(
  calls: readonly TimedCall<Operation>[],
  model: SequentialModel<State, Operation>,
): TimedCall<Operation> | null {
  const known = calls.filter(({ returnedAt }) => returnedAt !== null).length;
  if (known === 0) return null;
  const head = listOf(calls);
  const tried = new Set<string>();
  const done: { readonly entry: Entry<Operation>; readonly state: State }[] = [];
  const linearized = new Uint8Array(calls.length);
  let state = model.initial;
  let left = known;
  let stuckAt = -1;
  let entry = head.next;
  while (left > 0 && entry !== null) {
    if (!entry.isReturn) {
      const next = model.step(state, entry.operation, entry.isKnown);
      if (next !== null) {
        linearized[entry.call] = 1;
        const configuration = `${Buffer.from(linearized).toString('latin1')}${model.keyOf(next)}`;
        if (!tried.has(configuration)) {
          tried.add(configuration);
          done.push({ entry, state });
          state = next;
          if (entry.isKnown) left -= 1;
          lift(entry);
          entry = head.next;
          continue;
        }
        linearized[entry.call] = 0;
      }
      entry = entry.next;
      continue;
    }
    // Each call that is still in front of this return was tried.
    stuckAt = entry.call;
    const back = done.pop();
    if (back === undefined) return calls[stuckAt] ?? null;
    state = back.state;
    linearized[back.entry.call] = 0;
    if (back.entry.isKnown) left += 1;
    unlift(back.entry);
    entry = back.entry.next;
  }
  return null;
}
