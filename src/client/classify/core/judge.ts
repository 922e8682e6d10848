import type { CatalogNames, Hazard } from './catalog-names.ts';
import { READ_ONLY_FUNCTIONS, SESSION_FUNCTIONS } from './functions.ts';

/**
 * What a statement does to routing. `read`: surely only reads, may go to a follower. `leader-read`: only
 * reads, but means the leader. `write`: may write, or is unknown. `session`: leaves something behind in the
 * connection. `begin`, `commit`, `rollback` delimit a transaction.
 */
export type StatementKind = 'read' | 'leader-read' | 'write' | 'session' | 'begin' | 'commit' | 'rollback';

/**
 * What routing needs to know of a statement beyond its kind. `unknown-call`, `volatile-call`: a query against
 * which nothing speaks but a function or view of which nothing is known, or that may write. `own-server`: what
 * it tells or does depends on the server that runs it. `row-change`: changes or locks rows, which any
 * transaction may do. `savepoint`: sets, leaves or goes back to a place in the transaction around it.
 */
export type StatementForm =
  | 'query'
  | 'unknown-call'
  | 'volatile-call'
  | 'own-server'
  | 'row-change'
  | 'copy'
  | 'set'
  | 'prepare-transaction'
  | 'savepoint'
  | 'listen'
  | 'empty'
  | 'other';

/** A judgement of a statement, or of one word of it. */
export interface Verdict {
  readonly kind: StatementKind;
  readonly form: StatementForm;
  /** Why, in a few words, for people; nothing is decided by it. */
  readonly reason: string;
}

export const READS_ONLY: Verdict = { kind: 'read', form: 'query', reason: 'read only' };

const ROW_CHANGES = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE']);

export const ROW_LOCKS: Verdict = { kind: 'write', form: 'row-change', reason: 'row locks' };

/** The verdict on what is a write by its command, such as INSERT or TRUNCATE. */
export function judgeCommand(command: string): Verdict {
  const form = ROW_CHANGES.has(command) ? 'row-change' : command === 'COPY' ? 'copy' : 'other';
  return { kind: 'write', form, reason: command };
}

/** Whether nothing speaks against a follower but a function that may write, or of which nothing is known. */
export function isUndecided({ form }: Pick<Verdict, 'form'>): boolean {
  return form === 'unknown-call' || form === 'volatile-call';
}

/** What leaves state in the connection outweighs what surely writes, and that what is merely unknown. */
export function graver(verdict: Verdict, found: Verdict): Verdict {
  if (verdict.kind === 'session') return verdict;
  if (found.kind === 'session' || verdict.kind === 'read') return found;
  return isUndecided(verdict) && !isUndecided(found) ? found : verdict;
}

/** Judges a function call; null when it only reads. `schema` is null where the name stands alone. */
export function judgeFunction(schema: string | null, name: string, known: CatalogNames): Verdict | null {
  if (SESSION_FUNCTIONS.has(name)) return leavesState(`${name}()`);
  const isInCatalog = schema === 'pg_catalog';
  if (READ_ONLY_FUNCTIONS.has(name)) {
    if (isInCatalog || (schema === null && !known.volatileFunctions.has(name))) return null;
  }
  if (isSilentInTheWrongPlace(name)) return ownServer(`${name}()`);
  if (isInCatalog) return unknownCall(name);
  if (known.volatileFunctions.has(name)) return volatileCall(`function ${name}()`);
  return known.stableFunctions.has(name) ? null : unknownCall(name);
}

export function unknownCall(name: string): Verdict {
  return { kind: 'write', form: 'unknown-call', reason: `unknown function ${name}()` };
}

function volatileCall(what: string): Verdict {
  return { kind: 'write', form: 'volatile-call', reason: `volatile ${what}` };
}

function ownServer(what: string): Verdict {
  return { kind: 'write', form: 'own-server', reason: `server-specific ${what}` };
}

/** The verdict on what leaves something behind in the connection. */
export function leavesState(reason: string): Verdict {
  return { kind: 'session', form: 'other', reason };
}

const SEQUENCE_FUNCTIONS = new Set(['nextval', 'currval', 'lastval', 'setval']);

/** Functions that a follower executes without complaint, though the caller means the leader. */
function isSilentInTheWrongPlace(name: string): boolean {
  return (
    name.startsWith('pg_') ||
    name.startsWith('dblink') ||
    name.startsWith('txid_') ||
    name.startsWith('lo_') ||
    SEQUENCE_FUNCTIONS.has(name)
  );
}

/**
 * Judges a name that is not called. Views such as pg_stat_activity, pg_locks and pg_settings describe the
 * server that answers, so on a follower they would silently describe the wrong one; catalogs are rarely
 * worth a follower. What is temporary belongs to one connection.
 */
export function judgeName(name: string, known: CatalogNames): Verdict | null {
  const hazard = known.hazards.get(name);
  if (hazard !== undefined) return judgeHazard(name, hazard);
  if (!name.startsWith('pg_') || name === 'pg_catalog') return null;
  if (name === 'pg_temp') return TEMPORARY_OBJECT;
  return ownServer(name);
}

export const TEMPORARY_OBJECT: Verdict = leavesState('temporary object');

function judgeHazard(name: string, hazard: Hazard): Verdict {
  if (hazard === 'session') return leavesState(`view ${name}`);
  return hazard === 'volatile' ? volatileCall(`view ${name}`) : ownServer(name);
}
