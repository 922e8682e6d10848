import { createHash, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import type { Queryable, ShopSession } from './database.ts';

export interface Account {
  readonly id: number;
  readonly email: string;
  readonly name: string;
}

/** How long a visitor stays signed in. */
export const SIGN_IN_DAYS = 30;

const SCRYPT = { N: 16_384, r: 8, p: 1, keyBytes: 32 };

/** Creates an account; null when the address is taken. Commits synchronously: a person must not sign up twice. */
export async function createAccount(
  session: ShopSession,
  request: { readonly email: string; readonly name: string; readonly password: string },
): Promise<Account | null> {
  const passwordHash = await hashPassword(request.password);
  const { rows } = await session.query<{ id: string; email: string; name: string }>({
    text: `INSERT INTO accounts (email, name, password_hash) VALUES (lower($1), $2, $3)
           ON CONFLICT (email) DO NOTHING RETURNING id, email, name`,
    values: [request.email, request.name, passwordHash],
    durability: 'sync',
  });
  return rows[0] === undefined ? null : { ...rows[0], id: Number(rows[0].id) };
}

/** The account with this address and password, or null. Takes as long when the address is unknown. */
export async function findByPassword(
  db: Queryable,
  email: string,
  password: string,
): Promise<Account | null> {
  const { rows } = await db.query<{ id: string; email: string; name: string; password_hash: string }>({
    text: 'SELECT id, email, name, password_hash FROM accounts WHERE email = lower($1)',
    values: [email],
  });
  const row = rows[0];
  const isRight = await verifyPassword(password, row?.password_hash ?? UNKNOWN_ACCOUNT_HASH);
  return row === undefined || !isRight ? null : { id: Number(row.id), email: row.email, name: row.name };
}

/** Signs in and returns the secret for the cookie. Only its hash is stored. */
export async function signIn(session: ShopSession, accountId: number): Promise<string> {
  const secret = randomBytes(24).toString('base64url');
  await session.query({
    text: 'INSERT INTO sign_ins (token_hash, account_id, expires_at) VALUES ($1, $2, now() + make_interval(days => $3))',
    values: [hashSecret(secret), accountId, SIGN_IN_DAYS],
    durability: 'async',
  });
  return secret;
}

export async function signOut(session: ShopSession, secret: string): Promise<void> {
  await session.query({
    text: 'DELETE FROM sign_ins WHERE token_hash = $1',
    values: [hashSecret(secret)],
    durability: 'sync',
  });
}

export async function findBySecret(db: Queryable, secret: string): Promise<Account | null> {
  const { rows } = await db.query<{ id: string; email: string; name: string }>({
    text: `SELECT a.id, a.email, a.name FROM sign_ins s JOIN accounts a ON a.id = s.account_id
           WHERE s.token_hash = $1 AND s.expires_at > now()`,
    values: [hashSecret(secret)],
  });
  return rows[0] === undefined ? null : { ...rows[0], id: Number(rows[0].id) };
}

function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** `scrypt$N$r$p$salt$key`, so that the cost can be raised without breaking old passwords. */
export async function hashPassword(password: string): Promise<string> {
  const { N, r, p, keyBytes } = SCRYPT;
  const salt = randomBytes(16);
  const key = await deriveKey(password, salt, keyBytes, { N, r, p });
  return ['scrypt', N, r, p, salt.toString('base64'), key.toString('base64')].join('$');
}

export async function verifyPassword(password: string, stored: string): Promise<boolean> {
  const [scheme, N, r, p, salt = '', key = ''] = stored.split('$');
  if (scheme !== 'scrypt') return false;
  const expected = Buffer.from(key, 'base64');
  const cost = { N: Number(N), r: Number(r), p: Number(p) };
  const actual = await deriveKey(password, Buffer.from(salt, 'base64'), expected.length, cost);
  return timingSafeEqual(actual, expected);
}

const UNKNOWN_ACCOUNT_HASH = `scrypt$${SCRYPT.N}$${SCRYPT.r}$${SCRYPT.p}$${Buffer.alloc(16).toString('base64')}$${Buffer.alloc(SCRYPT.keyBytes).toString('base64')}`;

function deriveKey(
  password: string,
  salt: Buffer,
  keyBytes: number,
  cost: { readonly N: number; readonly r: number; readonly p: number },
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFKC'), salt, keyBytes, cost, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}
