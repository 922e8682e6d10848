/** At most three significant digits; `–` when unknown. */
export function formatBytes(bytes: number | null): string;
export function formatDuration(milliseconds: number | null): string;
/** What is told of a node's lag. */
interface LaggingNode {
  readonly kind: string;
  readonly lagMs: number | null;
  readonly delayMs?: number;
  readonly besidesMs?: number | null;
}
/** How far a node is behind without meaning to, in milliseconds. */
export function unmeantLag(node: LaggingNode): number | null;
/** `3 ms`; of a delayed node `10 min + 3 ms`: on purpose, and besides. */
export function lagText(node: LaggingNode): string;
export function formatRate(bytesPerSecond: number | null): string;
/** Hours, minutes and seconds of the reader's own clock. */
export function formatClock(at: number): string;
