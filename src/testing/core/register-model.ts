import type { SequentialModel } from './linearizability.ts';

/** A compare-and-set key as its callers see it. Each value is written once. */
export type RegisterOperation =
  | { readonly f: 'get'; readonly value: string | null }
  /** `found`: what stood there when it was not applied; undefined when it was. */
  | { readonly f: 'create'; readonly to: string; readonly found?: string | null }
  | { readonly f: 'cas'; readonly from: string; readonly to: string; readonly found?: string | null }
  /** Appends to the text whatever it is. */
  | { readonly f: 'append'; readonly tag: string; readonly value: string | null }
  | { readonly f: 'delete'; readonly isApplied: boolean };

const BY_F: {
  readonly [F in RegisterOperation['f']]: (
    state: string | null,
    operation: Extract<RegisterOperation, { f: F }>,
    isKnown: boolean,
  ) => { readonly state: string | null } | null;
} = {
  get: (state, { value }, isKnown) => (!isKnown || state === value ? { state } : null),
  create: (state, { to, found }, isKnown) => conditional(state, state === null, to, found, isKnown),
  cas: (state, { from, to, found }, isKnown) => conditional(state, state === from, to, found, isKnown),
  append: (state, { tag, value }, isKnown) => {
    const next = state === null ? tag : `${state} ${tag}`;
    return !isKnown || next === value ? { state: next } : null;
  },
  delete: (state, { isApplied }, isKnown) =>
    !isKnown || isApplied === (state !== null) ? { state: null } : null,
};

function conditional(
  state: string | null,
  holds: boolean,
  to: string,
  found: string | null | undefined,
  isKnown: boolean,
): { readonly state: string | null } | null {
  if (!isKnown) return { state: holds ? to : state };
  if (found === undefined) return holds ? { state: to } : null;
  return !holds && found === state ? { state } : null;
}

interface RegisterState {
  readonly state: string | null;
}

/** One key of a compare-and-set collection. */
export const REGISTER_MODEL: SequentialModel<RegisterState, RegisterOperation> = {
  initial: { state: null },
  step: ({ state }, operation, isKnown) => {
    const step = BY_F[operation.f] as (
      state: string | null,
      operation: RegisterOperation,
      isKnown: boolean,
    ) => RegisterState | null;
    return step(state, operation, isKnown);
  },
  keyOf: ({ state }) => state ?? '\u0000',
};
