import type { CatalogNames, Hazard } from './catalog-names.ts';
import { READ_ONLY_FUNCTIONS, SESSION_FUNCTIONS } from './functions.ts';

/**
 * What a statement does to routing. `read`: surely only reads, may go to a follower. `leader-read`: only
 * reads, but means the leader. `write`: may write, or is unknown. `session`: leaves something behind in the
 * connection. `begin`, `commit`, `rollback` delimit a transaction.
 */
export type StatementKind = 'read' | 'leader-read' | 'write' | 'session' | 'begin' | 'commit' | 'rollback';

/** A judgement of a statement, or of one word of it. */
export interface Verdict {
  readonly kind: StatementKind;
  /** Why, in a few words, for people. */
  readonly reason: string;
}

export const READS_ONLY: Verdict = { kind: 'read', reason: 'read only' };

/** Whether nothing speaks against a follower but a function that may write, or of which nothing is known. */
export function isUndecided({ kind, reason }: Verdict): boolean {
  return kind === 'write' && (reason.startsWith('unknown function') || reason.startsWith('volatile '));
}

/** What leaves state in the connection outweighs what surely writes, and that what is merely unknown. */
export function graver(verdict: Verdict, found: Verdict): Verdict {
  if (verdict.kind === 'session') return verdict;
  if (found.kind === 'session' || verdict.kind === 'read') return found;
  return isUndecided(verdict) && !isUndecided(found) ? found : verdict;
}

/** Judges a function call; null when it only reads. `schema` is null where the name stands alone. */
export function judgeFunction(schema: string | null, name: string, known: CatalogNames): Verdict | null {
  if (SESSION_FUNCTIONS.has(name)) return { kind: 'session', reason: `${name}()` };
  const isInCatalog = schema === 'pg_catalog';
  if (READ_ONLY_FUNCTIONS.has(name)) {
    if (isInCatalog || (schema === null && !known.volatileFunctions.has(name))) return null;
  }
  if (isSilentInTheWrongPlace(name)) return { kind: 'write', reason: `server-specific ${name}()` };
  if (isInCatalog) return { kind: 'write', reason: `unknown function ${name}()` };
  if (known.volatileFunctions.has(name)) return { kind: 'write', reason: `volatile function ${name}()` };
  if (known.stableFunctions.has(name)) return null;
  return { kind: 'write', reason: `unknown function ${name}()` };
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
  if (name === 'pg_temp') return { kind: 'session', reason: 'temporary object' };
  return { kind: 'write', reason: `server-specific ${name}` };
}

function judgeHazard(name: string, hazard: Hazard): Verdict {
  if (hazard === 'session') return { kind: 'session', reason: `view ${name}` };
  return {
    kind: 'write',
    reason: hazard === 'volatile' ? `volatile view ${name}` : `server-specific ${name}`,
  };
}
