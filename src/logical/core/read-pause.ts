/** Reading on every packet costs a processor more than the packets' content. */
const COALESCE_MS = 1;
/** Nobody waits for a part of a transaction; what fills the network meanwhile costs the server less than a packet for each row. */
const LARGE_MS = 8;
const SMALL_READ_BYTES = 16_384;

/** How the stream stands after something was read of it. */
export interface ReadState {
  /** How much was read at once. */
  readonly bytes: number;
  /** What was received before and has not been handed on. */
  readonly waitingBytes: number;
  /** Amid a large transaction: of one in progress, within a stretch. */
  readonly isInLarge: boolean;
}

/** For how long to let more arrive, to be read at once; null where more waits already. */
export function pauseAfterRead({ bytes, waitingBytes, isInLarge }: ReadState): number | null {
  if (bytes >= SMALL_READ_BYTES) return null;
  if (!isInLarge) return COALESCE_MS;
  // What came during a pause is handed on in pieces as small as packets, and a pause after each would take far longer than the rows.
  return waitingBytes > 0 ? null : LARGE_MS;
}
