import { promisify } from 'node:util';
import createPgStore from 'connect-pg-simple';
import session from 'express-session';
import type { SessionData } from 'express-session';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import type { Recipes } from './recipes.ts';

/** A library that writes a number under a name and reads it back, knowing of no session. */
export interface WritingLibrary {
  readonly pool: LockstepPool;
  write(name: string, count: number): Promise<unknown>;
  read(name: string): Promise<number | undefined>;
  /** Moves one from one piece to another in a transaction of the library's, where it has them. */
  move?(from: string, to: string): Promise<unknown>;
  close(): Promise<unknown>;
}

interface Opening {
  readonly recipes: Recipes;
  readonly url: string;
}

/** The recipes of docs/orms.md, as they are. */
function fromRecipe(name: string): (opening: Opening) => Promise<WritingLibrary> {
  return async ({ recipes, url }) => {
    const recipe = await recipes.open(name, url, 'unaware');
    return {
      pool: recipe.pool,
      write: (piece, stock) => (stock === 1 ? recipe.add(piece, stock) : recipe.restock(piece, stock)),
      read: (piece) => recipe.stockOf(piece),
      move: (from, to) => recipe.move(from, to, 1),
      close: () => recipe.close(),
    };
  };
}

/** The session store of an Express app: what a login writes, the next request must find. */
async function openSessionStore({ url }: Opening): Promise<WritingLibrary> {
  const pool = connect(url);
  const Store = createPgStore(session);
  const store = new Store({ pool, pruneSessionInterval: false });
  const set = promisify(store.set.bind(store) as (id: string, data: unknown, done: () => void) => void);
  const get = promisify(
    store.get.bind(store) as (id: string, done: (error: unknown, data?: SessionData) => void) => void,
  );
  return {
    pool,
    write: (name, count) => set(name, { cookie: { maxAge: 60_000 }, count }),
    read: async (name) => ((await get(name)) as { count?: number } | undefined)?.count,
    close: async () => {
      await store.close();
      await pool.end();
    },
  };
}

/** Each with nothing but its pool, or its client, taken from Lockstep. */
export const WRITING_LIBRARIES: Readonly<Record<string, (opening: Opening) => Promise<WritingLibrary>>> = {
  drizzle: fromRecipe('drizzle'),
  kysely: fromRecipe('kysely'),
  prisma: fromRecipe('prisma'),
  knex: fromRecipe('knex'),
  typeorm: fromRecipe('typeorm'),
  sequelize: fromRecipe('sequelize'),
  'connect-pg-simple': openSessionStore,
};
