/** Codes with which a server that is down, starting, stopping or full refuses a connection. */
const TRANSIENT_CODES = new Set(['57P01', '57P02', '57P03', '57P05', '53300', '']);

/** Whether a failed attempt to connect may succeed later or elsewhere. Wrong passwords never do. */
export function isTransient(code: string): boolean {
  return TRANSIENT_CODES.has(code) || code.startsWith('08') || /^E[A-Z_]+$/.test(code);
}
