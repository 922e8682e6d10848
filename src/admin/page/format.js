const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/**
 * @param {number | null} bytes
 * @returns {string} at most three significant digits, `–` when unknown
 */
export function formatBytes(bytes) {
  if (bytes === null) return '–';
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${digits(value, unit === 0)} ${UNITS[unit]}`;
}

/**
 * @param {number | null} milliseconds
 * @returns {string}
 */
export function formatDuration(milliseconds) {
  if (milliseconds === null) return '–';
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${digits(seconds, false)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/**
 * How far a node is behind without meaning to, in milliseconds.
 * @param {{ kind: string, lagMs: number | null, besidesMs?: number | null }} node
 */
export function unmeantLag(node) {
  return node.kind === 'delayed' ? (node.besidesMs ?? null) : node.lagMs;
}

/**
 * `3 ms`; of a delayed node `10 min + 3 ms`: on purpose, and besides.
 * @param {{ kind: string, lagMs: number | null, delayMs?: number, besidesMs?: number | null }} node
 */
export function lagText(node) {
  const unmeant = formatDuration(unmeantLag(node));
  return node.kind === 'delayed' ? `${formatDuration(node.delayMs ?? null)} + ${unmeant}` : unmeant;
}

/**
 * @param {number | null} bytesPerSecond
 * @returns {string}
 */
export function formatRate(bytesPerSecond) {
  return bytesPerSecond === null ? '–' : `${formatBytes(bytesPerSecond)}/s`;
}

/**
 * @param {number} at milliseconds since the epoch
 * @returns {string} hours, minutes and seconds of the reader's own clock
 */
export function formatClock(at) {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

/**
 * @param {number} value
 * @param {boolean} isWhole
 * @returns {string}
 */
function digits(value, isWhole) {
  if (isWhole || value >= 100) return String(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/\.?0+$/, '');
}
