import { Hono } from 'hono';
import { z } from 'zod';
import { LockstepError } from '../model/errors.ts';
import { guardCommands } from './commands.ts';
import type { AdminSource } from './source.ts';
import type { AdminRescue } from './rescue-source.ts';

const node = z.string().max(100).exactOptional();
const COMMAND = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.enum(['status', 'close', 'diff']), node }),
  z.strictObject({ kind: z.literal('list'), sinceMs: z.int().min(1_000).max(2_147_483_647), node }),
  z.strictObject({ kind: z.literal('open'), xid: z.int().min(3).max(4_294_967_295), node }),
  z.strictObject({
    kind: z.literal('restore'),
    tables: z.array(z.string().min(1).max(300)).min(1).max(100),
    keepsNewer: z.boolean(),
    isTrial: z.boolean(),
    node,
  }),
]);
type Command = z.infer<typeof COMMAND>;

/** The one route of the rescue's page. It shows keys of rows and writes to the leader, so that all of it needs the secret. */
export function createRescueRoutes(source: AdminSource, rescue: AdminRescue): Hono {
  const routes = new Hono();
  guardCommands(routes, source);
  routes.post('/', async (c) => c.json({ answer: await run(rescue, parseCommand(await c.req.text())) }));
  return routes;
}

function run(rescue: AdminRescue, command: Command): Promise<unknown> {
  switch (command.kind) {
    case 'status':
      return rescue.status(command.node);
    case 'close':
      return rescue.close(command.node);
    case 'diff':
      return rescue.diff(command.node);
    case 'list':
      return rescue.list(command.sinceMs, command.node);
    case 'open':
      return rescue.open(command.xid, command.node);
    case 'restore':
      return rescue.restore(command, command.node);
    default:
      return command satisfies never;
  }
}

function parseCommand(text: string): Command {
  try {
    return COMMAND.parse(JSON.parse(text));
  } catch (cause) {
    throw new LockstepError('CONFIG_INVALID', 'This is no command of a rescue; nothing was changed.', {
      cause,
    });
  }
}
