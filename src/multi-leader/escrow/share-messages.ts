import { z } from 'zod';
import { openMessage, sealMessage } from '../own/sealed-messages.ts';

/** The prefix of the message by which a region gives a part to another one, in the transaction that takes it off its own. */
export const GRANT = 'lockstep.grant';
/** The prefix of the message by which a region says how much it holds. */
export const HELD = 'lockstep.held';

/** Of which number: a column of a row. */
export interface HeldColumn {
  readonly table: string;
  /** As changes name it. */
  readonly key: string;
  readonly column: string;
}

export interface GrantMessage extends HeldColumn {
  readonly to: number;
  readonly amount: string;
}

export interface HeldMessage extends HeldColumn {
  readonly held: string;
}

const Whole: z.ZodType<string> = z.string().regex(/^-?\d{1,19}$/);
const Column = { table: z.string(), key: z.string(), column: z.string() };
const GrantMessage: z.ZodType<GrantMessage> = z.object({ ...Column, to: z.number().int(), amount: Whole });
const HeldMessage: z.ZodType<HeldMessage> = z.object({ ...Column, held: Whole });

export function formatGrant(grant: GrantMessage, key: Buffer): string {
  return sealMessage(GRANT, JSON.stringify(grant), key);
}

export function formatHeld(held: HeldMessage, key: Buffer): string {
  return sealMessage(HELD, JSON.stringify(held), key);
}

/** Null for a message that the region itself did not write. */
export function readGrant(message: Buffer, key: Buffer): GrantMessage | null {
  const content = openMessage(GRANT, message, key);
  return content === null ? null : GrantMessage.parse(JSON.parse(content));
}

export function readHeld(message: Buffer, key: Buffer): HeldMessage | null {
  const content = openMessage(HELD, message, key);
  return content === null ? null : HeldMessage.parse(JSON.parse(content));
}
