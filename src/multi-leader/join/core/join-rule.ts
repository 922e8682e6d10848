import { versionOf } from '../../core/row-rule.ts';
import type { PresentRow } from '../../core/row-rule.ts';
import type { Version } from '../../core/version.ts';

/**
 * Which version a region that joins has to note for a row that it copies; null where none is needed. It gets nothing at or
 * below `settledUs`, so that a row of before needs no record: whatever comes is later. Of a table with further unique values
 * the versions are needed however old they are.
 */
export function versionToNote(
  row: PresentRow,
  copied: { readonly donor: number; readonly settledUs: number; readonly keepsAll: boolean },
): Version | null {
  const version = versionOf(row, copied.donor);
  return version !== null && (copied.keepsAll || version.timeUs >= copied.settledUs) ? version : null;
}

/**
 * Whether the donor has applied what each region's log held before its slot for the newcomer was made: the slots do not have
 * it, so that the copy must.
 */
export function hasPassed(
  points: ReadonlyMap<number, bigint>,
  applied: ReadonlyMap<number, bigint>,
): boolean {
  return [...points].every(([region, point]) => (applied.get(region) ?? 0n) >= point);
}

/**
 * Whether a region that was started with these names may forget anything: not while another one joins, whose copy may need
 * it, and not once another one has joined that it does not know of.
 */
export function mayForgetAnything(
  started: readonly string[],
  members: { readonly names: readonly string[]; readonly joining: string | null },
): boolean {
  return members.joining === null && members.names.join() === started.join();
}
