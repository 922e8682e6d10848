import { LockstepError } from './errors.ts';

/**
 * A position in the write-ahead log, in bytes. Comparable with `<` and `-` on one timeline only: the
 * same number on two timelines names two different histories.
 * Source: PostgreSQL documentation, "pg_lsn Type".
 */
export type Lsn = bigint & { readonly __brand: 'Lsn' };

const LSN_TEXT = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;

/** Parses PostgreSQL's `X/Y` text. Throws CONFIG_INVALID for anything else. */
export function parseLsn(text: string): Lsn {
  const match = LSN_TEXT.exec(text);
  if (!match) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${text}" is not an LSN; expected two hex numbers like 0/16B3748.`,
      {
        details: { text },
      },
    );
  }
  return ((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)) as Lsn;
}

/** Formats an LSN the way PostgreSQL prints it. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}

/** The further of two positions on the same timeline. */
export function maxLsn(a: Lsn, b: Lsn): Lsn {
  return a >= b ? a : b;
}

/** How many bytes `behind` lacks to reach `ahead`; 0 when it is at or past it. Both on one timeline. */
export function lagBytes(ahead: Lsn, behind: Lsn): number {
  return ahead > behind ? Number(ahead - behind) : 0;
}
