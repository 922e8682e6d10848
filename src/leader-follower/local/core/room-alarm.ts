/** Some segments of the log: below that much room PostgreSQL is about to stop. */
export const LOW_BYTES: number = 64 * 1_048_576;
/** Well past it, so that a disk at the edge is not told of again and again. */
const WELL_BYTES = 2 * LOW_BYTES;

export type Room = 'well' | 'low';

/** Whether the disk has room, given how it was before; unknown room changes nothing. */
export function judgeRoom(before: Room, freeBytes: number | null): Room {
  if (freeBytes === null) return before;
  if (freeBytes < LOW_BYTES) return 'low';
  return freeBytes >= WELL_BYTES ? 'well' : before;
}

/** What people are told while the disk of this folder is about to be full, or is; null while there is room. */
export function lackOfRoom(folder: string, freeBytes: number | null): string | null {
  if (freeBytes === null || freeBytes >= LOW_BYTES) return null;
  return `free some space on the disk of ${folder}: ${Math.floor(freeBytes / 1_048_576)} MB are left, and PostgreSQL stops when there are none`;
}

/** What people are told of a failure. Where a disk is full the remedy comes first: Node.js and PostgreSQL name the folder at best. */
export function failureWords(failure: string, folder: string): string {
  const isFull = /no space left on device/i.test(failure);
  return isFull ? `free some space on the disk of ${folder}: ${failure}` : failure;
}
