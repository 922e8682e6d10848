/** Codes with which a server that is down, starting, stopping or full refuses a connection. */
const TRANSIENT_CODES = new Set(['57P01', '57P02', '57P03', '57P05', '53300', '']);

/** A disk that is full, or fails: another server has another one. */
const DISK_CODES = new Set(['53100', '58030']);

/** Whether a failed attempt to connect may succeed later or elsewhere. Wrong passwords never do. */
export function isTransient(code: string): boolean {
  return TRANSIENT_CODES.has(code) || isDiskTrouble(code) || code.startsWith('08') || /^E[A-Z_]+$/.test(code);
}

/** Whether a server cannot do something because of its own disk. */
export function isDiskTrouble(code: string): boolean {
  return DISK_CODES.has(code);
}
