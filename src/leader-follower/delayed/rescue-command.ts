import { z } from 'zod';
import { LockstepError } from '../../model/errors.ts';

/** What comes before the mistake: a transaction, a position in the log, or a time. */
export type RescueBefore =
  | { readonly kind: 'xid'; readonly xid: number }
  | { readonly kind: 'lsn'; readonly lsn: string }
  | { readonly kind: 'time'; readonly atMs: number };

/** What `POST /v1/rescue` takes. */
export type RescueCommand =
  | { readonly kind: 'list'; readonly sinceMs: number | null }
  | { readonly kind: 'open'; readonly before: RescueBefore }
  | { readonly kind: 'close' };

const before: z.ZodType<RescueBefore> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('xid'), xid: z.int().min(3).max(4_294_967_295) }),
  z.strictObject({ kind: z.literal('lsn'), lsn: z.string().regex(/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/) }),
  z.strictObject({ kind: z.literal('time'), atMs: z.number().int() }),
]);

const schema: z.ZodType<RescueCommand> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('list'), sinceMs: z.number().min(0).nullable() }),
  z.strictObject({ kind: z.literal('open'), before }),
  z.strictObject({ kind: z.literal('close') }),
]);

/** Checks what came over the network. Throws CONFIG_INVALID. */
export function parseRescueCommand(value: unknown): RescueCommand {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new LockstepError(
    'CONFIG_INVALID',
    `This is no command of a rescue: ${issue?.message ?? 'unknown'}${issue?.path.length ? ` at "${issue.path.join('.')}"` : ''}. Nothing was changed; use "lockstep rescue", of the same release as the agents.`,
  );
}
