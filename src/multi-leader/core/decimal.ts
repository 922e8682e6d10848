const DECIMAL = /^([+-]?)(\d+)(?:\.(\d+))?$/;

/** `base + (to - from)`, exact; null when one of them is no plain decimal number. */
export function addDifference(base: string, from: string, to: string): string | null {
  const numbers = [base, from, to].map((text) => DECIMAL.exec(text));
  const scale = Math.max(...numbers.map((match) => match?.[3]?.length ?? 0));
  const [start, old, next] = numbers.map((match) => (match === null ? null : scaled(match, scale)));
  if (start == null || old == null || next == null) return null;
  return format(start + next - old, scale);
}

/** Negative when `a` is the smaller one; null when one of them is no plain decimal number. */
export function compareDecimals(a: string, b: string): number | null {
  const [one, other] = [DECIMAL.exec(a), DECIMAL.exec(b)];
  if (one === null || other === null) return null;
  const scale = Math.max(one[3]?.length ?? 0, other[3]?.length ?? 0);
  const difference = scaled(one, scale) - scaled(other, scale);
  return difference === 0n ? 0 : difference < 0n ? -1 : 1;
}

function scaled([, sign, whole = '0', fraction = '']: RegExpExecArray, scale: number): bigint {
  const digits = BigInt(whole + fraction.padEnd(scale, '0'));
  return sign === '-' ? -digits : digits;
}

function format(value: bigint, scale: number): string {
  if (scale === 0) return value.toString();
  const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, '0');
  return `${value < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}
