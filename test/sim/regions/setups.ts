import type { Setup } from './run.ts';

/** More keys than values, which come back: rows take them from each other. */
export const UNIQUE: Setup = { hasUniqueValues: true, valueCount: 3, keys: 4, transactions: 5 };

export const TRUNCATES: Setup = { hasTruncates: true, keys: 3, transactions: 5 };

export const FAMILIES: Setup = { orphanRule: 'restore-parent', transactions: 5, isUpdateOnly: false };

export const RESOLVER: Setup = { mode: 'merge', resolver: 'unites', hasDeletes: false };

/** Each region writes a row once, in another order than their priority. */
export const PRIORITY: Setup = {
  mode: 'merge',
  hasDeletes: false,
  transactions: 1,
  priorities: [[2, 0, 1], null, null],
};

/** The last region joins the others while they write. */
export const JOINS: Setup = { joins: true, transactions: 5 };

/** Every one must converge with every seed. */
export const SETUPS: Readonly<Record<string, Setup>> = {
  'three-regions': { crashes: 3 },
  'four-regions-one-key': { regions: 4, keys: 1, transactions: 3, crashes: 2 },
  'stamped-by-the-clock': { rules: { stamp: 'clock' }, crashes: 2 },
  'clock-checked-before-commit': { rules: { clockIsChecked: 'before-commit' } },
  'no-fast-path': { rules: { hasFastPath: false } },
  'equal-times': { hasEqualTimes: true },
  'clock-steps-back': { clockSteps: 2, rules: { rewritesBehindItself: 'own-past' }, mayGoBack: true },
  'values-come-back': { valueCount: 2 },
  'appliers-on-one-key': { rules: { oneApplierPerKey: false }, crashes: 2 },
  'unique-values': { ...UNIQUE, crashes: 2 },
  truncates: { ...TRUNCATES, crashes: 2 },
  'truncates-and-unique-values': { ...UNIQUE, hasTruncates: true },
  'parents-come-back': { ...FAMILIES, crashes: 2 },
  'orphans-are-deleted': { ...FAMILIES, orphanRule: 'delete-orphan', crashes: 2 },
  merge: { mode: 'merge', crashes: 3 },
  'merge-four-regions-one-key': { mode: 'merge', regions: 4, keys: 1, transactions: 3 },
  resolver: { ...RESOLVER, crashes: 2 },
  'resolver-and-deletes': { ...RESOLVER, hasDeletes: true },
  'resolver-that-never-gives-the-same-twice': {
    ...RESOLVER,
    resolver: 'grows',
    regions: 4,
    keys: 1,
    transactions: 3,
  },
  priority: { ...PRIORITY, crashes: 2 },
  escrow: { isEscrow: true },
  'a-region-joins': { ...JOINS, crashes: 2 },
  'a-fourth-region-joins': { ...JOINS, regions: 4, keys: 3, skew: 60 },
  'a-region-joins-and-merges': { ...JOINS, mode: 'merge', crashes: 2 },
  'a-region-joins-with-unique-values': { ...UNIQUE, joins: true, crashes: 2 },
  'a-region-joins-and-tables-are-emptied': { ...TRUNCATES, joins: true },
  'priority-and-deletes': { ...PRIORITY, hasDeletes: true, transactions: 4 },
};
