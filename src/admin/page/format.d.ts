/** At most three significant digits; `–` when unknown. */
export function formatBytes(bytes: number | null): string;
export function formatDuration(milliseconds: number | null): string;
export function formatRate(bytesPerSecond: number | null): string;
/** Hours, minutes and seconds of the reader's own clock. */
export function formatClock(at: number): string;
