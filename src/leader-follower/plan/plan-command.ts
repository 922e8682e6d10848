import { z } from 'zod';
import { LockstepError } from '../../model/errors.ts';
import type { PlanCommand } from './core/plan.ts';

const schema: z.ZodType<PlanCommand> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('pause'), reason: z.string().max(200).nullable() }),
  z.strictObject({ kind: z.literal('resume') }),
  z.strictObject({ kind: z.literal('schedule'), at: z.string().max(100), to: z.string().nullable() }),
  z.strictObject({ kind: z.literal('cancel') }),
  z.strictObject({ kind: z.literal('set'), settings: z.record(z.string(), z.string()) }),
  z.strictObject({ kind: z.literal('unset'), names: z.array(z.string()).min(1) }),
]);

/** Checks what came over the network. Throws CONFIG_INVALID. */
export function parsePlanCommand(value: unknown): PlanCommand {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new LockstepError(
    'CONFIG_INVALID',
    `This is no change of the plan: ${issue?.message ?? 'unknown'}${issue?.path.length ? ` at "${issue.path.join('.')}"` : ''}. Use the commands of "lockstep --help", of the same release as the agents.`,
  );
}
