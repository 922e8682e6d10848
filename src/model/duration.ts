import { LockstepError } from './errors.ts';

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * Milliseconds of a text like `500ms`, `30s`, `10min`, `1h` or `2d`; `what` names the setting in the error. Throws
 * CONFIG_INVALID for anything else.
 */
export function parseDuration(text: string, what: string): number {
  const match = /^(\d{1,10})\s*(ms|s|m|min|h|d)$/.exec(text.trim());
  if (match === null) {
    const digits = /^\d{1,10}$/.exec(text.trim())?.[0];
    const remedy =
      digits === undefined
        ? 'write a number with a unit, like 30s, 10min, 1h or 2d.'
        : `write its unit: ${digits}s, ${digits}min or ${digits}h.`;
    throw new LockstepError('CONFIG_INVALID', `"${text}" is no duration for ${what}; ${remedy}`, {
      details: { text },
    });
  }
  return Number(match[1]) * (UNITS[match[2] ?? ''] ?? 0);
}

/** The shortest text that {@link parseDuration} reads back, e.g. `10min`. `ms` is a whole number. */
export function formatDelay(ms: number): string {
  for (const unit of ['d', 'h', 'min', 's'] as const) {
    const size = UNITS[unit] ?? 1;
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}
