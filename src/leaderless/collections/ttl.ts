import type { WriteLevel } from '../core/levels.ts';
import { refusal } from './kind.ts';
import type { WriteOptions } from './kind.ts';

/** How long a value lives after it was written or touched: ms, or a number with `s`, `m`, `h` or `d`, such as `7d`. */
export type Ttl = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

/** For collections whose values may end. */
export interface TtlOptions {
  readonly ttl?: Ttl;
}

/** Options of a call that writes values which may end. */
export interface LifeOptions extends WriteOptions<WriteLevel> {
  /** In place of the collection's. */
  readonly ttl?: Ttl;
}

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
/** The longest life. */
export const MOST_MS: number = 10 * 366 * UNITS.d;

/** In ms; null for a value that never ends. Throws VALUE_REFUSED. */
export function parseTtl(ttl: Ttl | undefined): number | null {
  if (ttl === undefined) return null;
  const found = typeof ttl === 'number' ? null : /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(ttl);
  const ms = typeof ttl === 'number' ? ttl : Number(found?.[1]) * UNITS[found?.[2] as keyof typeof UNITS];
  if (!(ms >= 1 && ms <= MOST_MS))
    throw refusal(
      `${String(ttl)} is no ttl; pass ms above 0, or a text such as "30m" or "7d", up to ten years.`,
    );
  return Math.floor(ms);
}
