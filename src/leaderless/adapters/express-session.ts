/** `lockstep/leaderless/express-session`: sessions of express-session and @fastify/session in a map collection. */
import { randomBytes } from 'node:crypto';
import type { MapCollection } from '../collections/map.ts';
import { MOST_MS } from '../collections/ttl.ts';
import type { LifeOptions } from '../collections/ttl.ts';

/** A session's fields; each is written and merged by itself. */
export type SessionFields = Readonly<Record<string, unknown>>;

type Done = (error?: unknown) => void;
type Found = (error: unknown, session?: SessionFields | null) => void;

/** What both libraries ask of a store. */
export interface SessionStore {
  get(id: string, done: Found): void;
  set(id: string, session: SessionFields, done?: Done): void;
  destroy(id: string, done?: Done): void;
  touch(id: string, session: SessionFields, done?: Done): void;
}

/** The base class of express-session's stores, `session.Store`. */
export type StoreClass<S extends object> = abstract new () => S;

/** Fields as they were loaded, as JSON: what differs from that is what the request changed. */
type Loaded = ReadonlyMap<string, string>;

/**
 * A store for express-session. Pass its `session.Store`, and a collection such as
 * `q.collection('sessions', map(), { ttl: '7d' })`: a session ends when its cookie does, whoever still sends that; one whose cookie
 * has no end lives as long as the `ttl` says, from the last request on.
 *
 * Of each request only the fields that it changed are written, so that requests of one session that run at once do not
 * overwrite each other's. Two that change the same field leave the later one's. What a request saves after another one
 * destroyed the session does not bring that back.
 */
export function createExpressStore<S extends object>(
  Store: StoreClass<S>,
  sessions: MapCollection<SessionFields>,
): S & SessionStore {
  const loaded = new WeakMap<object, Loaded>();
  // Its methods are those of express-session; the types of a class that comes as a value cannot say so.
  const Base = Store as unknown as new () => { createSession(request: unknown, fields: object): object };
  class QuorumStore extends Base implements SessionStore {
    /** express-session turns what `get` found into the request's session here. */
    override createSession(request: unknown, fields: object): object {
      const session = super.createSession(request, fields);
      loaded.set(session, snapshotOf(session as SessionFields));
      return session;
    }

    get(id: string, done: Found): void {
      settle(find(sessions, id), done);
    }

    set(id: string, session: SessionFields, done?: Done): void {
      const now = snapshotOf(session);
      const before = loaded.get(session);
      settle(
        save(sessions, id, before ?? new Map(), now).then(() => void loaded.set(session, now)),
        done,
      );
    }

    destroy(id: string, done?: Done): void {
      settle(sessions.delete(id), done);
    }

    touch(id: string, session: SessionFields, done?: Done): void {
      settle(prolong(sessions, id, session), done);
    }
  }
  return new QuorumStore() as unknown as S & SessionStore;
}

/** A field that @fastify/session carries along, and that is never stored: it tells which state a request loaded. */
const LOADED_AS = 'lockstepLoadedAs';
const MAX_KEPT = 10_000;

/**
 * The same for @fastify/session: `{ store: createFastifyStore(sessions) }`. Its sessions carry a field `lockstepLoadedAs` while a
 * request runs. Of a request that saves after 10,000 others have loaded theirs, all fields are written.
 */
export function createFastifyStore(sessions: MapCollection<SessionFields>): SessionStore {
  const kept = new Map<string, Loaded>();
  const keep = (name: string, loaded: Loaded): void => {
    kept.set(name, loaded);
    if (kept.size <= MAX_KEPT) return;
    const [oldest] = kept.keys();
    if (oldest !== undefined) kept.delete(oldest);
  };
  return {
    get(id, done) {
      const found = find(sessions, id).then((fields) => {
        if (fields === null) return null;
        const name = randomBytes(9).toString('base64url');
        keep(name, snapshotOf(fields));
        return { ...fields, [LOADED_AS]: name };
      });
      settle(found, done);
    },
    set(id, session, done) {
      const now = snapshotOf(session);
      const name = session[LOADED_AS];
      const before = typeof name === 'string' ? kept.get(name) : undefined;
      const saved = save(sessions, id, before ?? new Map(), now).then(() => {
        if (typeof name === 'string') keep(name, now);
      });
      settle(saved, done);
    },
    destroy(id, done) {
      settle(sessions.delete(id), done);
    },
    touch(id, session, done) {
      settle(prolong(sessions, id, session), done);
    },
  };
}

/** When the cookie ends, in ms since 1970. A field of its own: it alone is written with each request, and is no session without a cookie. */
const ENDS_AT = 'lockstepEndsAt';

interface StoredCookie {
  readonly originalMaxAge?: number | null;
  readonly expires?: string | null;
}

/** Null also for what is left when a request saved after another one destroyed the session: without a cookie it is none. */
async function find(sessions: MapCollection<SessionFields>, id: string): Promise<SessionFields | null> {
  const { value } = await sessions.get(id);
  const { [ENDS_AT]: endsAtMs, ...fields } = value ?? {};
  const cookie = fields['cookie'] as StoredCookie | undefined;
  if (cookie === undefined) return null;
  // Its end ends like the other fields, and may have come nearer than theirs.
  if (typeof endsAtMs !== 'number') return typeof cookie.originalMaxAge === 'number' ? null : fields;
  if (endsAtMs <= Date.now()) return null;
  return { ...fields, cookie: { ...cookie, expires: new Date(endsAtMs).toISOString() } };
}

async function save(
  sessions: MapCollection<SessionFields>,
  id: string,
  before: Loaded,
  now: Loaded,
): Promise<void> {
  const patch: Record<string, unknown> = {};
  for (const [field, text] of now) if (before.get(field) !== text) patch[field] = JSON.parse(text);
  for (const field of before.keys()) if (!now.has(field)) patch[field] = undefined;
  if (Object.keys(patch).length === 0) return;
  const life = lifeUntil(JSON.parse(now.get(ENDS_AT) ?? 'null') as number | null);
  const saved = sessions.set(id, patch, life);
  // The fields that did not change live as long as those that did.
  await Promise.all([saved, ...(before.size > 0 ? [sessions.touch(id, life)] : [])]);
}

async function prolong(
  sessions: MapCollection<SessionFields>,
  id: string,
  session: SessionFields,
): Promise<void> {
  const endsAtMs = endOf(JSON.parse(JSON.stringify(session['cookie'] ?? {})) as StoredCookie);
  const life = lifeUntil(endsAtMs);
  const told = endsAtMs === null ? [] : [sessions.set(id, { [ENDS_AT]: endsAtMs }, life)];
  await Promise.all([...told, sessions.touch(id, life)]);
}

/** In ms since 1970; null for a cookie without an end. */
function endOf({ expires, originalMaxAge }: StoredCookie): number | null {
  const endsAtMs = typeof expires === 'string' ? Date.parse(expires) : Number.NaN;
  if (Number.isFinite(endsAtMs)) return endsAtMs;
  return typeof originalMaxAge === 'number' ? Math.floor(Date.now() + originalMaxAge) : null;
}

/** What ended already must not be refused: it is written with the shortest life there is. */
function lifeUntil(endsAtMs: number | null): LifeOptions {
  return endsAtMs === null ? {} : { ttl: Math.min(MOST_MS, Math.max(1, endsAtMs - Date.now())) };
}

function snapshotOf(session: SessionFields): Loaded {
  // As JSON sees the session itself: its own methods and what `toJSON` leaves out are no fields.
  const plain = JSON.parse(JSON.stringify(session)) as SessionFields;
  const fields = Object.entries(plain).filter(([field]) => ![LOADED_AS, ENDS_AT, ''].includes(field));
  const endsAtMs = endOf((plain['cookie'] ?? {}) as StoredCookie);
  return new Map([
    ...fields.map(([field, value]): [string, string] => [
      field,
      JSON.stringify(field === 'cookie' ? { ...(value as object), expires: undefined } : value),
    ]),
    ...(endsAtMs === null ? [] : [[ENDS_AT, String(endsAtMs)] as [string, string]]),
  ]);
}

function settle<T>(work: Promise<T>, done: ((error: unknown, value?: T) => void) | Done | undefined): void {
  const tell = done as ((error: unknown, value?: T) => void) | undefined;
  work.then(
    // Out of the promise, so that an error of the callback is the app's and not taken for a failed call.
    (value) => setImmediate(() => tell?.(null, value)),
    (error: unknown) => setImmediate(() => tell?.(error)),
  );
}
