import type { VersionedValue } from '../../consensus/acceptor.ts';
import type { Lineage } from './lineage.ts';

/** What a slot's consensus register holds as its value. */
export interface SlotValue {
  /** JSON text; null when there is none. */
  readonly value: string | null;
  readonly lineage: Lineage;
}

const NONE: SlotValue = { value: null, lineage: '' };

export function toVersionedValue(version: number, value: string | null, lineage: Lineage): VersionedValue {
  return { version, value: { value, lineage } satisfies SlotValue };
}

/** The slot's value in a consensus register; an acceptor that never accepted has none. */
export function fromProposal(register: VersionedValue): SlotValue {
  return (register.value as SlotValue | undefined) ?? NONE;
}
