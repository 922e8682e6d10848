/** Why a view must not be read on a follower, by what it hides. */
export type Hazard = 'volatile' | 'server-specific' | 'session';

/**
 * What the leader's catalog tells about names that a statement may use. Schemas are not told apart: a name
 * counts as harmless only when everything of that name is, so that no `search_path` needs to be known.
 */
export interface CatalogNames {
  /** Functions of users and extensions whose every overload is IMMUTABLE or STABLE. */
  readonly stableFunctions: ReadonlySet<string>;
  /** Functions and procedures of which an overload is not: also where a built-in one has the same name. */
  readonly volatileFunctions: ReadonlySet<string>;
  /** Views that hide such functions, sequences, and volatile functions that read like a column (`row.f`). */
  readonly hazards: ReadonlyMap<string, Hazard>;
}

/** One row of the question to the catalog. */
export interface CatalogRow {
  readonly kind: 'stable-function' | 'volatile-function' | Hazard;
  readonly name: string;
}

export const NOTHING_KNOWN: CatalogNames = {
  stableFunctions: new Set(),
  volatileFunctions: new Set(),
  hazards: new Map(),
};

/** The graver of two hazards of one name counts: state left in a connection, then the wrong server. */
const GRAVITY: Readonly<Record<Hazard, number>> = { volatile: 0, 'server-specific': 1, session: 2 };

export function readCatalog(rows: readonly CatalogRow[]): CatalogNames {
  const stableFunctions = new Set<string>();
  const volatileFunctions = new Set<string>();
  const hazards = new Map<string, Hazard>();
  for (const { kind, name } of rows) {
    if (kind === 'stable-function') stableFunctions.add(name);
    else if (kind === 'volatile-function') volatileFunctions.add(name);
    else {
      const other = hazards.get(name);
      if (other === undefined || GRAVITY[kind] > GRAVITY[other]) hazards.set(name, kind);
    }
  }
  return { stableFunctions, volatileFunctions, hazards };
}

/** Until the catalog is read again, nothing that it vouched for is trusted; its warnings stay. */
export function distrust(names: CatalogNames): CatalogNames {
  return { ...names, stableFunctions: NOTHING_KNOWN.stableFunctions };
}

export function isSameCatalog(one: CatalogNames, other: CatalogNames): boolean {
  return (
    isEqual(one.stableFunctions, other.stableFunctions) &&
    isEqual(one.volatileFunctions, other.volatileFunctions) &&
    one.hazards.size === other.hazards.size &&
    [...one.hazards].every(([name, hazard]) => other.hazards.get(name) === hazard)
  );
}

function isEqual(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return one.size === other.size && [...one].every((name) => other.has(name));
}
