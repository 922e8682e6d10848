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
